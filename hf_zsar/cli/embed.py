"""`hf-zsar embed`: features of videos in a store, and of labels in a file, to use again."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from typing import Any

from . import common
from .classify import seconds


EXAMPLE = """examples:
  hf-zsar embed clips/ --out features && hf-zsar search features "riding a bike"
  hf-zsar embed lecture.mp4 --window 10 --stride 5 --out features      one row for every ten seconds
  hf-zsar embed s3://bucket/videos/ shards/*.tar --out features --dry-run
  torchrun --nproc-per-node 4 -m hf_zsar.cli embed clips/ --out features
  hf-zsar embed urls.parquet --out features --engine ray --address auto --num-actors 16 --gpus-per-actor 0.5

SOURCE is a file, a URL, a folder, a pattern; a manifest or table (.json, .jsonl, .csv, .tsv), a list of paths or URLs
(.txt, or .parquet with a column such as "url"); a webdataset shard (.tar); what fsspec opens (s3://bucket/folder/,
gs://..., with its package installed); a data set of videos, datasets://OWNER/NAME/SPLIT.

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
    parser.add_argument("videos", metavar="SOURCE", nargs="*", help="where the videos are, see below")
    common.add_sampling_arguments(parser)
    parser.add_argument("--window", type=seconds, metavar="SECONDS", help="a row for each stretch of this length")
    parser.add_argument("--stride", type=seconds, metavar="SECONDS", help="from one window to the next (--window)")
    parser.add_argument("--batch-size", type=common.positive, default=8, metavar="N", help="videos at a time (8)")
    parser.add_argument("--workers", type=common.positive, default=2, metavar="N", help="decoding threads (2)")
    parser.add_argument(
        "--time-limit", type=seconds, default=120.0, metavar="SECONDS",
        help="give up a video that gives nothing, or no further window, for so long (120)",
    )  # fmt: skip
    common.add_label_arguments(parser)
    common.add_model_arguments(parser)
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--engine", choices=("threads", "ray"), default="threads", help="this machine, or a Ray cluster"
    )
    group.add_argument("--address", help="of the Ray cluster; auto: the one this machine is in (default: a new one)")
    group.add_argument("--num-actors", type=common.positive, metavar="N", help="copies of the model on it (1)")
    group.add_argument("--gpus-per-actor", type=float, metavar="G", help="GPUs of a copy, or a share of one (0)")
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out", metavar="FOLDER", help="store of features: all that the method scores with, one row per video"
    )
    group.add_argument("--dtype", choices=("float16", "float32"), default="float16", help="in the store (float16)")
    group.add_argument("--pooled", action="store_true", help="keep one vector a row, which STDD and DA-STI cannot use")
    group.add_argument("--dry-run", action="store_true", help="encode 20 of the videos and say what all will take")
    group.add_argument("--label-bank", metavar="FILE", help="the text side of the labels")


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar embed`."""
    check(args)
    labels = common.read_labels(args) if args.label_bank else []
    videos = find_sources(args.videos) if args.out else []
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
    common.check_options(args, {**needs, "dry_run": "out", "pooled": "out"}, {"num_views": "window"})
    for name in ("address", "num_actors", "gpus_per_actor"):
        if getattr(args, name) is not None and args.engine != "ray":
            raise common.CommandError(f"--{name.replace('_', '-')} needs --engine ray")
    if args.engine == "ray" and find_spec("ray") is None:
        raise common.CommandError("--engine ray needs Ray: pip install 'hf-zsar[ray]'")
    common.check_output_folder(args.out)
    common.check_output(args.label_bank)
    if args.out:
        check_place(args.out)


def find_sources(arguments: list[str]) -> list[Any]:
    """The videos of the sources, on every process."""
    from hf_zsar.features.processes import Processes
    from hf_zsar.features.sources import video_files

    return Processes.current().from_main(lambda: video_files(arguments, common.find_videos))


def embed_videos(pipe: Any, videos: list[Any], args: argparse.Namespace) -> int:
    """Add the videos that can be read to the store."""
    from hf_zsar.features.encoding import EncodingOptions, VideoEncoder, encode_videos, feature_header, open_store
    from hf_zsar.features.processes import Processes
    from hf_zsar.features.store import ERRORS

    options = EncodingOptions(
        common.sampling_options(args),
        window=args.window,
        stride=args.stride,
        batch_size=args.batch_size,
        num_workers=args.workers,
        time_limit=args.time_limit,
        dtype=args.dtype,
        pooled=args.pooled,
        progress=True,
        say=common.say,
    )
    processes = Processes.current()
    if processes.device is not None and args.device is None:
        pipe.model.to(processes.device)
    header = feature_header(pipe.model, pipe.processor, options, args.model, args.revision)
    if args.dry_run:
        from hf_zsar.features.planning import plan_for

        print(plan_for(VideoEncoder(pipe.model, pipe.processor, options), videos))
        return 0
    store = open_store(args.out, header, processes)
    known = sum(video in store for video in videos)
    if args.engine == "ray":
        broken = with_ray(pipe, videos, store, options, args)
    else:
        broken = encode_videos(pipe.model, pipe.processor, videos, store, options, processes)
    if len(broken) == len(videos):
        raise common.CommandError(f"no video could be read; the reasons are in {args.out}/{ERRORS}")
    if processes.is_main:
        counts = f"{len(videos) - known - len(broken)} videos encoded, {known} were there already"
        common.say(f"{args.out}: {counts}, {len(broken)} could not be read; {len(store)} rows in all")
    return int(bool(broken))


def with_ray(pipe: Any, videos: list[Any], store: Any, options: Any, args: argparse.Namespace) -> dict[str, str]:
    """Encode on a cluster."""
    from dataclasses import replace

    from hf_zsar.features.ray_engine import RayOptions, encode_with_ray
    from hf_zsar.features.rows import RowEncoder

    encoder = RowEncoder(pipe.model, pipe.processor, replace(options, say=None))
    ray = RayOptions(args.address, args.num_actors or 1, args.gpus_per_actor or 0.0)
    return encode_with_ray(encoder, videos, store, ray, common.say)
