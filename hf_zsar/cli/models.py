"""`hf-zsar models`: which published models can be used as they are."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hf_zsar.methods import METHODS

from . import common


if TYPE_CHECKING:
    from hf_zsar.encoders import EncoderSpec


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
        told = [{name: getattr(spec, name) for name in TOLD} for spec in ENCODERS.values()]
        common.print_json([{**each, "methods": _methods_on(ENCODERS[each["model_type"]])} for each in told])
        return 0
    for spec in ENCODERS.values():
        print(f"{spec.name}  [{spec.model_type}]  {spec.license or 'license: see its card'}")
        methods, command = ", ".join(_methods_on(spec)), f"hf-zsar classify VIDEO --model {spec.example}"
        for line in (spec.good_for, spec.figures, methods and f"methods: {methods}", spec.example and command):
            if line:
                print(f"    {line}")
    return 0


def _methods_on(encoder: EncoderSpec) -> list[str]:
    """Names of the methods that can stand on models of a kind."""
    if not encoder.adapter_class().shows_blocks:
        return []
    return [name for name, spec in METHODS.items() if getattr(spec.model_class, "needs_blocks", False)]
