"""`hf-zsar label`: probabilities of any labels for every row of a store, without looking at the videos again."""

from __future__ import annotations

import argparse

from . import common


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "label",
        help="score all videos of a store against any class names",
        description="Write a Parquet table: a row for each of a store, one column of probabilities a label, which "
        "add up to 1; `label` and `score` are the best. Use the model that made the store.",
        epilog='example:  hf-zsar label features --labels "a bike" cooking --out scores.parquet',
    )
    parser.add_argument("store", metavar="STORE", help="folder written by hf-zsar embed --out")
    common.add_label_arguments(parser)
    common.add_bank_argument(parser)
    common.add_model_arguments(parser)
    parser.add_argument(
        "--top-k", type=common.positive, metavar="K", help="lists of the K best labels, not a column for each label"
    )
    parser.add_argument("--out", metavar="FILE", required=True, help="the table, a .parquet file")


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar label`."""
    common.check_output(args.out, (".parquet",))
    from hf_zsar.features.asking import StoreReader
    from hf_zsar.retrieval import label_store

    bank = common.read_bank(args)
    labels = common.read_labels(args) if bank is None else []
    store = StoreReader(args.store)
    pipe = common.load_pipeline(args)
    if bank is None:
        bank = pipe.label_bank(labels, args.template, args.descriptions)
    rows = label_store(store, pipe.model, bank, args.out, args.top_k)
    common.say(f"{args.out}: {rows:,} rows, {len(bank)} labels")
    return 0
