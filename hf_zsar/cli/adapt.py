"""`hf-zsar adapt`: a few labeled videos instead of training."""

from __future__ import annotations

import argparse
from typing import Any

from . import common


EXAMPLE = """examples:
  hf-zsar adapt my-clips/ --out bank.safetensors        (a folder of class folders, a manifest, CSV or JSONL)
  hf-zsar classify new.mp4 --bank bank.safetensors
  hf-zsar adapt my-clips/ --no-name "state 3" --labels "nobody there" --out bank.safetensors

Strength and sharpness are chosen on the examples alone, each judged by all the others.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "adapt",
        help="a label bank that knows your labeled examples, without training",
        description="Encode labeled videos once, and write a label bank whose scores take them into account.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="FOLDER_OR_MANIFEST", help="labeled videos, in any layout that train takes")
    parser.add_argument("--out", required=True, metavar="FILE", help="bank to write, .safetensors")
    common.add_label_arguments(parser)
    parser.add_argument(
        "--no-name",
        action="append",
        default=[],
        metavar="LABEL",
        help="a label whose name says nothing: known by its examples alone; repeat for more",
    )
    group = parser.add_argument_group("examples")
    group.add_argument(
        "--method", choices=("ridge", "cache", "prototypes", "linear"), default="ridge", help="default: ridge"
    )
    group.add_argument("--strength", type=float, metavar="S", help="of the examples (default: chosen on them)")
    common.add_sampling_arguments(parser)
    common.add_model_arguments(parser)


def labeled_videos(source: str) -> list[tuple[Any, str]]:
    """(video, label) pairs, in any layout that training takes. Raises as `load_video_dataset`."""
    from hf_zsar.data import load_video_dataset

    rows = load_video_dataset(source)
    names = rows.features["label"].names
    return [(row["video"], names[row["label"]]) for row in rows]


def run(args: argparse.Namespace) -> int:
    """Write the bank; see the exit status in `hf_zsar.cli`."""
    common.check_output(args.out, (".safetensors",))
    more = common.read_labels(args) if args.labels or args.labels_file or args.preset else []
    from hf_zsar.adaptation import bank_with_examples

    examples = labeled_videos(args.source)
    unknown = sorted(set(args.no_name) - {label for _, label in examples})
    if unknown:
        raise common.CommandError(f"--no-name {unknown[0]!r}: no example has this label")
    broken = common.Told()
    pipe = common.load_pipeline(args)
    bank = bank_with_examples(
        pipe.model,
        pipe.processor,
        examples,
        more,
        unnamed=args.no_name,
        templates=args.template,
        descriptions=args.descriptions,
        video_options=common.sampling_options(args),
        on_error=broken.tell,
        progress=True,
        method=args.method,
        strength=args.strength,
    )
    bank.save(args.out)
    known, term = bank.examples, bank.examples.chosen
    print(f"{len(known.targets)} examples of {len(known.targets.unique())} of {len(bank)} labels: {args.out}")
    print(f"{args.method}, strength {term.strength:g}" + (", which is none" if not term.strength else ""))
    return int(broken.any)
