"""`hf-zsar sample`: a few videos that stand for all of a store."""

from __future__ import annotations

import argparse

from . import common
from .dedup import add_output_arguments


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "sample",
        help="a diverse sample of a store",
        description="Print videos that cover a store, each as unlike those before it as can be: what to label first.",
    )
    parser.add_argument("store", metavar="STORE", help="folder written by hf-zsar embed --out")
    parser.add_argument("--k", type=common.positive, required=True, metavar="K", help="how many")
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar sample`."""
    common.check_device(args.device)
    from hf_zsar.features.asking import StoreReader
    from hf_zsar.features.diversity import diverse_sample

    names = [row.id for row in diverse_sample(StoreReader(args.store), args.k, args.device)]
    if args.json:
        common.print_json(names)
    else:
        print("\n".join(names))
    return 0
