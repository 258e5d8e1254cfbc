"""`hf-zsar dedup`: videos of a store that look alike."""

from __future__ import annotations

import argparse

from . import common


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "dedup",
        help="near-duplicates in a store",
        description="Print groups of videos whose features are nearly the same, the oldest of each first.",
    )
    parser.add_argument("store", metavar="STORE", help="folder written by hf-zsar embed --out")
    parser.add_argument("--threshold", type=float, default=0.95, metavar="COSINE", help="what counts as near (0.95)")
    add_output_arguments(parser)


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Where it is computed, and how it is printed."""
    parser.add_argument("--device", help="where to compute: cpu (default), cuda, ...")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar dedup`."""
    common.check_device(args.device)
    from hf_zsar.features.asking import StoreReader
    from hf_zsar.features.diversity import near_duplicates

    store = StoreReader(args.store)
    groups = [[row.id for row in rows] for rows in near_duplicates(store, args.threshold, args.device)]
    if args.json:
        common.print_json(groups)
        return 0
    for first, *others in groups:
        print("\n  ".join([first, *others]))
    common.say(f"{sum(map(len, groups)) - len(groups)} of {len(store)} rows repeat another")
    return 0
