"""`hf-zsar compare`: whether the difference between two results is more than chance."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from . import common


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "compare",
        help="say whether two results differ by more than chance",
        description="Paired bootstrap of the difference in top-1 of two records that `hf-zsar evaluate --json` wrote.",
    )
    parser.add_argument("first", metavar="A.json")
    parser.add_argument("second", metavar="B.json")
    parser.add_argument("--resamples", type=common.positive, default=10_000, metavar="N", help="default 10000")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the resampling (default 0)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar compare`; 0 whatever the verdict."""
    from hf_zsar.evaluation.comparison import compare
    from hf_zsar.evaluation.records import load_record

    result = compare(load_record(args.first), load_record(args.second), args.resamples, args.seed)
    if args.json:
        common.print_json({**asdict(result), "significant": result.significant})
    else:
        print(result)
    return 0
