"""`hf-zsar cache`: candidate frames of a data set as JPEG, so that later epochs need not decode videos."""

from __future__ import annotations

import argparse
import sys

from . import common


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "cache",
        help="keep candidate frames of a data set, for faster epochs",
        description="Write a few candidate frames of every video as JPEG into Parquet shards. Use the folder as "
        "data.source of a training recipe. Run again to go on after an interruption.",
    )
    parser.add_argument("source", metavar="SOURCE", help="folder of class folders, manifest or list of videos")
    parser.add_argument("out", metavar="OUT", help="folder of the cache")
    parser.add_argument("--root", metavar="FOLDER", help="where paths of a list start (default: its folder)")
    parser.add_argument(
        "--num-frames", type=common.positive, default=32, metavar="N", help="frames kept of each video (32)"
    )
    parser.add_argument("--short-side", type=common.positive, default=256, metavar="PIXELS", help="of a frame (256)")
    parser.add_argument("--quality", type=common.positive, default=90, metavar="Q", help="of the JPEGs (90)")
    parser.add_argument("--shard-size", type=common.positive, default=512, metavar="N", help="videos in a shard (512)")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="decoding processes")
    parser.add_argument("--skip-broken", action="store_true", help="skip videos that cannot be read, saying so")


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar cache`; 1 if some videos were left out."""
    common.check_output_folder(args.out)
    from hf_zsar.clips.datasets import load_video_dataset
    from hf_zsar.clips.frame_cache import build_frame_cache

    on_missing = "report" if args.skip_broken else "error"
    dataset = load_video_dataset(args.source, root=args.root, on_missing=on_missing)
    skipped = build_frame_cache(
        dataset,
        args.out,
        num_frames=args.num_frames,
        short_side=args.short_side,
        quality=args.quality,
        shard_size=args.shard_size,
        workers=args.workers,
        on_error="skip" if args.skip_broken else "raise",
    )
    for message in skipped:
        common.say(message, sys.stderr)
    print(f"frames of {len(dataset) - len(skipped)} videos are in {args.out}")
    return 1 if skipped else 0
