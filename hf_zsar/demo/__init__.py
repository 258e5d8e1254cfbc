"""The demo: a web page where one drops a video, types labels and sees scores and what they come from.

The files of this folder import only gradio, torch, numpy, PIL and each other, so that a Space can carry copies
of them (see `hf_zsar.hub.space`). `hf-zsar demo` starts it.
"""
