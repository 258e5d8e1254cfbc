"""Models and their configurations; imported as `hf_zsar.modeling`."""
