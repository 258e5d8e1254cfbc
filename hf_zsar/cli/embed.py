"""`hf-zsar embed`: features of videos in a store, and of labels in a file, to use again."""

from __future__ import annotations

import argparse
from typing import Any

from . import common
from .classify import seconds


EXAMPLE = """examples:
  hf-zsar embed clips/ --out features && hf-zsar search features "riding a bike"
  hf-zsar embed lecture.mp4 --window 10 --stride 5 --out features      one row for every ten seconds
  torchrun --nproc-per-node 4 -m hf_zsar.cli embed clips/ --out features

Features are written as they come. Started again, a killed run continues where it was, and other videos can be
added later: what is in the store is not encoded again, unless its file has changed.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "embed",
        help="features of videos and labels, to use again",
        description="Write the features of videos into a folder (for `hf-zsar search`), of labels into a file.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common.add_video_arguments(parser, nargs="*")
    parser.add_argument("--window", type=seconds, metavar="SECONDS", help="a row for each stretch of this length")
    parser.add_argument("--stride", type=seconds, metavar="SECONDS", help="from one window to the next (--window)")
    parser.add_argument("--batch-size", type=common.positive, default=8, metavar="N", help="videos at a time (8)")
    parser.add_argument("--workers", type=common.positive, default=2, metavar="N", help="decoding threads (2)")
    common.add_label_arguments(parser)
    common.add_model_arguments(parser)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out", metavar="FOLDER", help="store of features: all that the method scores with, one row per video"
    )
    group.add_argument("--label-bank", metavar="FILE", help="the text side of the labels")


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar embed`."""
    check(args)
    labels = common.read_labels(args) if args.label_bank else []
    videos = common.find_videos(args.videos) if args.out else []
    pipe = common.load_pipeline(args)
    if labels:
        bank = pipe.label_bank(labels, args.template, args.descriptions)
        bank.save(args.label_bank)
        common.say(f"{args.label_bank}: {len(bank)} labels")
    return embed_videos(pipe, videos, args) if videos else 0


def check(args: argparse.Namespace) -> None:
    """Check the arguments, before a model is loaded.

    Raises:
        CommandError: options that do not go together, or an output that cannot be written.
        ValueError: the output folder holds something else.
    """
    from hf_zsar.features.store import check_place

    if bool(args.videos) != bool(args.out):
        raise common.CommandError("videos and --out FOLDER belong together")
    if not args.out and not args.label_bank:
        raise common.CommandError("nothing to do: give videos with --out FOLDER, or labels with --label-bank FILE")
    of_labels = ("labels", "labels_file", "preset", "template", "descriptions")
    needs = {"stride": "window", "window": "out", **dict.fromkeys(of_labels, "label_bank")}
    common.check_options(args, needs, {"num_views": "window"})
    common.check_output_folder(args.out)
    common.check_output(args.label_bank)
    if args.out:
        check_place(args.out)


def embed_videos(pipe: Any, paths: list[str], args: argparse.Namespace) -> int:
    """Add the videos that can be read to the store."""
    from hf_zsar.features.encoding import EncodingOptions, encode_videos, feature_header, open_store
    from hf_zsar.features.processes import Processes
    from hf_zsar.features.store import ERRORS, VideoFile, file_signature

    options = EncodingOptions(
        common.sampling_options(args),
        window=args.window,
        stride=args.stride,
        batch_size=args.batch_size,
        num_workers=args.workers,
        progress=True,
        say=common.say,
    )
    processes = Processes.current()
    if processes.device is not None and args.device is None:
        pipe.model.to(processes.device)
    header = feature_header(pipe.model, pipe.processor, options, args.model, args.revision)
    store = open_store(args.out, header, processes)
    videos = processes.from_main(lambda: [VideoFile(path, path, file_signature(path)) for path in paths])
    known = sum(video in store for video in videos)
    broken = encode_videos(pipe.model, pipe.processor, videos, store, options, processes)
    if len(broken) == len(videos):
        raise common.CommandError(f"no video could be read; the reasons are in {args.out}/{ERRORS}")
    if processes.is_main:
        counts = f"{len(videos) - known - len(broken)} videos encoded, {known} were there already"
        common.say(f"{args.out}: {counts}, {len(broken)} could not be read; {len(store)} rows in all")
    return int(bool(broken))
