"""Examples that `export-onnx` writes beside the graphs: read as text, never imported."""
