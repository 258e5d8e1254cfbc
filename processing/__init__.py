"""Video reading, frame sampling, prompts and processors; imported as `hf_zsar.processing`."""
