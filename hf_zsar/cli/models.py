"""`hf-zsar models`: which published models can be used as they are."""

from __future__ import annotations

import argparse

from . import common


TOLD = ("model_type", "name", "license", "good_for", "figures", "example")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "models",
        help="published models that --model takes as they are",
        description="The kinds of published models that every --model takes, unmodified, by repository id or folder; "
        "figures are their authors' or others', never ours.",
    )
    parser.add_argument("--json", action="store_true", help="as a JSON list")


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar models`."""
    from hf_zsar.encoders import ENCODERS

    if args.json:
        common.print_json([{name: getattr(spec, name) for name in TOLD} for spec in ENCODERS.values()])
        return 0
    for spec in ENCODERS.values():
        print(f"{spec.name}  [{spec.model_type}]  {spec.license or 'license: see its card'}")
        for line in (spec.good_for, spec.figures, spec.example and f"hf-zsar classify VIDEO --model {spec.example}"):
            if line:
                print(f"    {line}")
    return 0
