"""`hf-zsar explain-transfer`: which seen classes an unseen class is composed of."""

from __future__ import annotations

import argparse
from typing import Any

from . import common


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "explain-transfer",
        help="which seen classes a label is composed of (ResT)",
        description="Show the seen classes out of whose prototypes a ResT model composes the prototype of a label.",
    )
    parser.add_argument(
        "--label", action="append", required=True, metavar="LABEL", help="a class name; repeat for more"
    )
    parser.add_argument(
        "--top-k", type=common.positive, default=10, metavar="N", help="seen classes shown (default 10)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--picture", metavar="FILE", help="write bar charts, one per label (.png, .svg or .pdf)")
    common.add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar explain-transfer`."""
    args.picture = common.check_picture(args.picture)
    pipeline = common.load_pipeline(args)
    bank = pipeline.label_bank(args.label)
    if not (names := pipeline.model.known_classes):
        raise common.CommandError("this model composes no prototypes: only a ResT model with seen classes does")
    parts = {
        label: [
            {"seen_class": names[i], "weight": weight}
            for weight, i in zip(
                *(column.tolist() for column in weights.topk(min(args.top_k, len(names)))), strict=True
            )
            if weight > 0
        ]
        for label, weights in zip(bank.labels, bank["transfer_weights"], strict=True)
    }
    if args.picture:
        from hf_zsar.plots.scores import draw_transfer

        draw_transfer(parts, args.picture)
    if args.json:
        common.print_json(parts)
    else:
        print(_table(parts))
    return 0


def _table(parts: dict[str, list[dict[str, Any]]]) -> str:
    blocks = []
    for label, rows in parts.items():
        lines = [f"  {row['weight']:6.3f}  {row['seen_class']}" for row in rows]
        blocks.append("\n".join([f"{label} is composed of", *lines]))
    return "\n\n".join(blocks)
