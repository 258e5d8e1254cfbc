"""`hf-zsar embed`: features of videos, and of labels, as safetensors files to use again."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from . import common


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "embed",
        help="features of videos and labels, as files",
        description="Write the features of videos (for `hf-zsar search`) and of labels as safetensors files.",
    )
    common.add_video_arguments(parser, nargs="*")
    common.add_label_arguments(parser)
    common.add_model_arguments(parser)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out", metavar="FILE", help="features of the videos: all that the method scores with, one row a video"
    )
    group.add_argument("--label-bank", metavar="FILE", help="the text side of the labels")


def run(args: argparse.Namespace) -> int:
    """Embed; see the exit status in `hf_zsar.cli`."""
    if bool(args.videos) != bool(args.out):
        raise common.CommandError("videos and --out FILE belong together")
    if not args.out and not args.label_bank:
        raise common.CommandError("nothing to do: give videos with --out FILE, or labels with --label-bank FILE")
    labels = common.read_labels(args) if args.label_bank else []
    videos = common.find_videos(args.videos) if args.out else []
    pipe = common.load_pipeline(args)
    if labels:
        bank = pipe.label_bank(labels, args.template, args.descriptions)
        bank.save(args.label_bank)
        common.say(f"{args.label_bank}: {len(bank)} labels")
    return embed_videos(pipe, videos, args) if videos else 0


def embed_videos(pipe: Any, videos: list[str], args: argparse.Namespace) -> int:
    """Write the index of the videos that could be read."""
    from hf_zsar.modeling.modeling_zsar import VideoFeatures
    from hf_zsar.retrieval import VideoIndex

    options = common.sampling_options(args)
    records = list(common.collect(videos, features(pipe, videos, options), "features"))
    done = [record for record in records if "features" in record]
    if not done:
        raise common.CommandError("no video could be read, so nothing was written")
    index = VideoIndex(
        videos=tuple(record["video"] for record in done),
        features=VideoFeatures.cat([record["features"] for record in done]),
        fingerprint=str(pipe.model.identity()),
    )
    index.save(args.out)
    common.say(f"{args.out}: {len(index)} videos")
    return common.exit_status(records)


def features(pipe: Any, videos: list[str], options: dict[str, Any]) -> Iterator[Any]:
    """The features of each video, on the CPU, or the error that stands in their way; decoding runs ahead."""
    import torch

    from hf_zsar import VideoReadError
    from hf_zsar.pipeline_zero_shot_video_classification import prefetch

    def decode(video: str) -> Any:
        try:
            return pipe.preprocess(video, **options)["pixel_values_videos"]
        except VideoReadError as error:
            return error

    for pixels in prefetch(decode, videos, workers=2):
        if isinstance(pixels, Exception):
            yield pixels
            continue
        with torch.inference_mode():
            yield pipe.model.encode_videos(pixels.to(pipe.device)).to("cpu")
