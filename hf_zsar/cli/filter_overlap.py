"""`hf-zsar filter-overlap`: the training classes that are not too close to a test class."""

from __future__ import annotations

import argparse
import os
from typing import Any

from . import common


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "filter-overlap",
        help="drop training classes that are too close to a test class",
        description="The rigorous training set: drop every training class whose name is too close to a test class.",
        epilog="A class list is the name of a data set (ucf101, kinetics700, ...) or a file, one class per line.",
    )
    parser.add_argument("--train", required=True, metavar="LIST", help="classes to train on")
    parser.add_argument(
        "--test",
        nargs="+",
        required=True,
        metavar="LIST",
        help="test classes to keep away from",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--word-vectors", metavar="FILE", help="text file of word2vec or GloVe vectors: E2E's rule, mean of the words"
    )
    how.add_argument("--model", metavar="ID_OR_FOLDER", help="a model whose text side embeds the names")
    parser.add_argument(
        "--threshold", type=distance, help="cosine distance below which a class is dropped (default 0.05)"
    )
    parser.add_argument("--out", metavar="FILE", help="write kept and dropped classes as JSON")


def distance(text: str) -> float:
    """An argument type: a cosine distance above zero."""
    value = float(text)
    if not 0 < value <= 2:
        raise argparse.ArgumentTypeError(f"{text} is not a cosine distance above 0 and up to 2")
    return value


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar filter-overlap`."""
    common.check_options(args, {"threshold": "word_vectors model"})
    common.check_output(args.out)
    from hf_zsar.clips.overlap import THRESHOLD, filter_overlap

    train, test = _classes(args.train), [name for source in args.test for name in _classes(source)]
    threshold = THRESHOLD if args.threshold is None else args.threshold
    overlap = filter_overlap(train, test, _embedder(args, [*train, *test]), threshold)
    if args.out:
        overlap.save(args.out)
    for name, (closest, distance) in overlap.dropped.items():
        print(f"dropped  {distance:.4f}  {name}  ~  {closest}")
    print(f"{len(overlap.kept)} of {len(train)} classes kept ({overlap.rule})")
    return 0


def _classes(source: str) -> list[str]:
    from hf_zsar.data import available_class_lists, load_class_names

    if source in available_class_lists():
        return list(load_class_names(source))
    if source != "-" and not os.path.exists(source):
        known = ", ".join(available_class_lists())
        raise common.CommandError(f"{source!r} is neither a file nor a data set; there are: {known}")
    return common.read_labels_file(source)


def _embedder(args: argparse.Namespace, names: list[str]) -> Any:
    if args.word_vectors:
        from hf_zsar.clips.overlap import mean_word_embedder, read_word_vectors
        from hf_zsar.processing.prompts import clean_label

        words = {word for name in names for word in clean_label(name).lower().split()}
        return mean_word_embedder(read_word_vectors(args.word_vectors, words))
    if args.model:
        from hf_zsar.hub.loading import load

        model, processor = load(args.model)
        return lambda labels: model.build_label_bank(processor, labels)["text_embeds"]
    return None
