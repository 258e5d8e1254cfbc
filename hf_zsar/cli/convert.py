"""`hf-zsar convert`: an official checkpoint file to a folder that `from_pretrained` reads."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from hf_zsar.conversion import SOURCES
from hf_zsar.processing.text_files import TextFileError, parse_json

from . import common


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "convert",
        help="an official checkpoint file to a loadable folder",
        description="Convert an official checkpoint file to a folder that from_pretrained and other commands read.",
        epilog="Pickles are opened for their tensors only; no code in them is run.",
    )
    parser.add_argument("source", metavar="SOURCE", help="the checkpoint file")
    parser.add_argument("out", metavar="OUT", help="a new or empty folder")
    kinds = "; ".join(f"{source.name}: {source.summary}" for source in SOURCES.values())
    parser.add_argument(
        "--from", dest="kind", required=True, choices=tuple(SOURCES), metavar="KIND", help=f"what SOURCE is. {kinds}"
    )
    parser.add_argument(
        "--num-frames",
        type=common.positive,
        metavar="N",
        help="frames it was trained with, where the file does not say",
    )
    parser.add_argument(
        "--tokenizer", metavar="ID_OR_FOLDER", help="tokenizer of the text tower, e.g. openai/clip-vit-base-patch16"
    )
    parser.add_argument(
        "--template", action="append", metavar="TEXT", help="prompt with {} for the label; repeat for an ensemble"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        type=assignment,
        help="set a field of the configuration, whatever the file says; VALUE as in JSON",
    )


def assignment(text: str) -> tuple[str, Any]:
    """An argument type: `field=value`; a value that is not JSON is a string."""
    return assignment_of(text)


def assignment_of(text: str, dotted: bool = False) -> tuple[str, Any]:
    """`field=value`, or `part.field=value` if `dotted`."""
    name, equals, value = text.partition("=")
    if not equals or not all(part.isidentifier() for part in (name.split(".") if dotted else [name])):
        raise argparse.ArgumentTypeError(f"{text!r} is not FIELD=VALUE")
    try:
        return name, parse_json(value, name)
    except TextFileError:
        return name, value


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar convert`."""
    from transformers.utils import logging

    from hf_zsar.conversion import convert_checkpoint
    from hf_zsar.conversion.checkpoint_files import check_target

    check_target(args.out)
    common.check_output_folder(args.out)
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    config = dict(args.set)
    if args.num_frames is not None:
        config["num_frames"] = args.num_frames
    conversion = convert_checkpoint(args.source, args.kind, args.tokenizer, args.template, **config)
    conversion.save(args.out)
    print(conversion.summary())
    print(f"written     {args.out}")
    return 0
