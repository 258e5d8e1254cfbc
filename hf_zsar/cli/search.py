"""`hf-zsar search`: find videos by text in a store that `hf-zsar embed` made."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from . import common


if TYPE_CHECKING:
    from hf_zsar.features.asking import StoreReader
    from hf_zsar.features.shortlist import Shortlist

MANY_ROWS = 1_000_000


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "search",
        help="find videos by text",
        description="Rank the videos of a store by how well they fit a text. Use the model that made the store.",
        epilog='example:  hf-zsar embed clips/ --out features && hf-zsar search features "a bike" --html found.html',
    )
    parser.add_argument("store", metavar="STORE", help="folder written by hf-zsar embed --out")
    parser.add_argument("texts", metavar="TEXT", nargs="+", help="what to look for; each text is searched by itself")
    parser.add_argument(
        "--template", action="append", metavar="TEXT", help="prompt with {} for the text ('{}' takes it as it is)"
    )
    common.add_model_arguments(parser)
    parser.add_argument("--top-k", type=common.positive, default=5, metavar="K", help="videos shown (default 5)")
    parser.add_argument(
        "--candidates", choices=("auto", "all", "faiss"), default="auto",
        help="score all rows, or the 1,000 nearest by FAISS (pip install faiss-cpu); auto: all up to a million rows",
    )  # fmt: skip
    parser.add_argument("--html", metavar="FILE", help="write a page with pictures, and links that play the place")
    parser.add_argument("--json", action="store_true", help="print JSON: a list with one record per text")


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar search`."""
    common.check_output(args.html, (".html", ".htm"))
    if args.candidates == "faiss" and find_spec("faiss") is None:
        raise common.CommandError("--candidates faiss needs FAISS: pip install faiss-cpu")
    from hf_zsar.features.asking import StoreReader
    from hf_zsar.retrieval import search_store

    store = StoreReader(args.store)
    texts = list(dict.fromkeys(args.texts))
    pipe = common.load_pipeline(args)
    bank = pipe.label_bank(texts, args.template)
    found = search_store(store, pipe.model, bank, args.top_k, shortlist_of(store, args.candidates))
    results = {text: [(each.row, each.score) for each in rows] for text, rows in zip(texts, found, strict=True)}
    if args.html:
        from hf_zsar.files import write_text
        from hf_zsar.plots.found_page import found_page

        write_text(args.html, found_page(results, Path(args.html).parent))
        common.say(f"wrote {args.html}")
    if args.json:
        common.print_json(
            [
                {"text": text, "videos": [{"video": row.id, "score": score} for row, score in rows]}
                for text, rows in results.items()
            ]
        )
        return 0
    for text, rows in results.items():
        print(text)
        for row, score in rows:
            print(f"  {score:8.3f}  {row.id}")
    return 0


def shortlist_of(store: StoreReader, candidates: str) -> Shortlist | None:
    """The index to take candidates from; None: all rows are scored."""
    many = len(store) > MANY_ROWS
    if candidates == "all" or (candidates == "auto" and not many):
        return None
    if candidates == "auto" and find_spec("faiss") is None:
        common.say(f"all {len(store):,} rows are scored; with `pip install faiss-cpu` only the nearest are")
        return None
    from hf_zsar.features.shortlist import Shortlist

    return Shortlist.of(store)
