"""`hf-zsar export-onnx`: a model as ONNX files, with what scoring needs."""

from __future__ import annotations

import argparse

from . import common


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "export-onnx",
        help="a model as ONNX files that give probabilities without PyTorch",
        description="Write video.onnx, text.onnx and score.onnx, checked against PyTorch, with the tokenizer, "
        "scoring.json and example.py beside them; nothing is kept if they differ.",
    )
    parser.add_argument("model", metavar="ID_OR_FOLDER", help="the model")
    parser.add_argument("out", metavar="OUT", help="a new or empty folder")


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar export-onnx`."""
    common.check_output_folder(args.out, empty=True)
    from hf_zsar.hub.loading import load
    from hf_zsar.onnx import export_onnx

    model, processor = load(args.model)
    for name, difference in export_onnx(model, processor, args.out).items():
        print(f"{args.out}/{name}.onnx  largest relative difference {difference:.1e}")
    return 0
