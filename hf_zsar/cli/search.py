"""`hf-zsar search`: find videos by text in a store that `hf-zsar embed` made."""

from __future__ import annotations

import argparse

from . import common


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "search",
        help="find videos by text",
        description="Rank the videos of a store by how well they fit a text. Use the model that made the store.",
        epilog='example:  hf-zsar embed clips/ --out features && hf-zsar search features "a bike"',
    )
    parser.add_argument("store", metavar="STORE", help="folder written by hf-zsar embed --out")
    parser.add_argument("texts", metavar="TEXT", nargs="+", help="what to look for; each text is searched by itself")
    parser.add_argument(
        "--template", action="append", metavar="TEXT", help="prompt with {} for the text ('{}' takes it as it is)"
    )
    common.add_model_arguments(parser)
    parser.add_argument("--top-k", type=common.positive, default=5, metavar="K", help="videos shown (default 5)")
    parser.add_argument("--json", action="store_true", help="print JSON: a list with one record per text")


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar search`."""
    from hf_zsar.features.store import FeatureStore
    from hf_zsar.retrieval import search_store

    store = FeatureStore.open(args.store)
    if not store.rows:
        raise common.CommandError(f"{args.store} holds no video")
    texts = list(dict.fromkeys(args.texts))
    pipe = common.load_pipeline(args)
    scores = search_store(store, pipe.model, pipe.label_bank(texts, args.template))
    names, records = [row.id for row in store.rows], []
    for text, row in zip(texts, scores, strict=True):
        best = row.argsort(descending=True, stable=True)[: args.top_k].tolist()
        records.append({"text": text, "videos": [{"video": names[i], "score": row[i].item()} for i in best]})
    if args.json:
        common.print_json(records)
        return 0
    for record in records:
        print(record["text"])
        for each in record["videos"]:
            print(f"  {each['score']:8.3f}  {each['video']}")
    return 0
