"""A demo with a tiny model in a process of its own: `python -m tests.demo.server PORT`."""

from __future__ import annotations

import sys

import hf_zsar
from hf_zsar.demo.app import launch
from tests.tiny_models import tiny_model, tiny_processor


if __name__ == "__main__":
    pipe = hf_zsar.pipeline(tiny_model("rest"), processor=tiny_processor("rest"), device="cpu")
    launch(pipe, port=int(sys.argv[1]), max_mb=2, concurrency=2)
