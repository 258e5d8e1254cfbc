"""`hf-zsar find`: when which label happens, for people and for annotation tools."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from . import common
from .classify import attempt, clock, picture_names, seconds


HEADER = "features.json"  # what a store of features has

if TYPE_CHECKING:
    from hf_zsar.features.asking import StoreReader
    from hf_zsar.segments.annotations import VideoSegments

EXAMPLE = """examples:
  hf-zsar find match.mkv --labels "scoring a goal" "taking a corner" --picture match.png --page match.html
  hf-zsar find day/*.mp4 --labels-file labels.txt --format label-studio --output tasks.json
  hf-zsar find lecture.mp4 --labels writing talking --format elan --output lecture.eaf
  hf-zsar find rtsp://camera/1 --labels running --live --allow-devices
  hf-zsar find --read corrected.json --format manifest --output clips/manifest.json   (from one format to another)
"""
FORMAT_NAMES = ("activitynet", "label-studio", "fiftyone", "manifest", "csv", "cvat", "elan", "vtt", "srt")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "find",
        help="find when which label happens",
        description="Find when which label happens: segments with a start, an end and a score.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "videos",
        metavar="VIDEO",
        nargs="*",
        help="file, URL, folder, pattern, or a store of windows (hf-zsar embed --window)",
    )
    common.add_label_arguments(parser)
    common.add_bank_argument(parser)
    common.add_model_arguments(parser)
    group = parser.add_argument_group("segments")
    group.add_argument("--window", type=seconds, metavar="SECONDS", help="what the finest scale looks at (2)")
    group.add_argument("--stride", type=seconds, metavar="SECONDS", help="from score to score (a quarter of --window)")
    group.add_argument("--high", type=float, metavar="SCORE", help="what a segment must reach")
    group.add_argument("--low", type=float, metavar="SCORE", help="what holds as long as it lasts")
    group.add_argument("--min-length", type=seconds, metavar="SECONDS", help="leave out shorter segments")
    group.add_argument("--num-frames", type=common.positive, metavar="N", help="frames of a window")
    group.add_argument(
        "--all-known", action="store_true", help="no part of a video is background: every moment has a label"
    )
    group.add_argument("--multi-label", action="store_true", help="labels may happen at the same time")
    group = parser.add_argument_group("streams")
    group.add_argument(
        "--live", action="store_true", help="the video is a stream that may never end: print as it goes"
    )
    group.add_argument(
        "--allow-devices",
        action="store_true",
        help="open cameras (/dev/video0) and rtsp:// addresses, also private ones",
    )
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print JSON: a list with one record per video")
    group.add_argument(
        "--format", choices=FORMAT_NAMES, help="for which tool --output is written (default: by its suffix)"
    )
    group.add_argument(
        "--output", metavar="FILE", help="file of segments; of formats for one video, one for each video"
    )
    group.add_argument("--picture", metavar="PNG", help="draw thumbnails and a lane for each label")
    group.add_argument("--page", metavar="HTML", help="write a page with the video beside its segments")
    group = parser.add_argument_group("from one format to another")
    group.add_argument(
        "--read", metavar="FILE", action="append", help="take segments from a file of a tool; repeat for more"
    )
    group.add_argument("--fps", type=seconds, metavar="RATE", help="frame rate, for files that count frames")


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar find`."""
    check(args)
    if args.read:
        return convert(args)
    bank = common.read_bank(args)
    labels = common.read_labels(args) if bank is None else list(bank.labels)
    store = store_of(args)
    videos = common.find_videos(args.videos) if store is None else []
    pipe = common.load_pipeline(args)
    options = segment_options(args, labels if bank is None else None, bank)
    if args.live:
        return watch(pipe, videos[0], options, args)
    results: Iterable[Any] = each(pipe, videos, options)
    if store is not None:
        from hf_zsar.segments.stored import stored_segments

        pairs = list(stored_segments(store, pipe, **options))
        videos, results = [video for video, _ in pairs], [segments for _, segments in pairs]
    names = common.shown_names(videos)
    pictures, pages = picture_names(args.picture, names), picture_names(args.page, names)
    found, status = [], 0
    with common.JsonList() if args.json else nullcontext() as out:
        for video, record in zip(videos, common.collect(videos, results, "segments"), strict=True):
            show(record) if out is None else out.add(record)
            if "error" in record:
                status = 1
                continue
            found.append(described(video, record, args))
            drawn = not args.picture or attempt(draw, video, found[-1], pictures[record["video"]])
            written = not args.page or attempt(write_page, video, found[-1], pages[record["video"]])
            status = max(status, int(not (drawn and written)))
    if args.output:
        save(found, args)
    return status


def check(args: argparse.Namespace) -> None:
    """Check the arguments, before anything is read.

    Raises:
        CommandError: options that do not go together, or a file that cannot be written.
    """
    if bool(args.read) == bool(args.videos):
        raise common.CommandError("name the videos, or files of segments with --read")
    common.check_options(args, {"format": "output", "fps": "read", "allow_devices": "live"})
    common.check_options(args, {}, dict.fromkeys(("live", "json", "picture", "page", "labels", "bank"), "read"))
    common.check_options(args, {}, dict.fromkeys(("output", "picture", "page"), "live"))
    if args.read and not args.output:
        raise common.CommandError("--read needs --output")
    if args.live and len(args.videos) != 1:
        raise common.CommandError("--live watches one video")
    args.picture = common.check_picture(args.picture)
    common.check_output(args.page, (".html",))
    common.check_output(args.output)
    if args.output:
        from hf_zsar.segments.formats import format_of

        args.format = args.format or format_of(args.output)
        if args.format is None:
            raise common.CommandError(f"{args.output}: say for which tool with --format: {', '.join(FORMAT_NAMES)}")


def store_of(args: argparse.Namespace) -> StoreReader | None:
    """The store that is asked instead of videos.

    Raises:
        CommandError: options that a store decides about.
    """
    if len(args.videos) != 1 or not os.path.isfile(os.path.join(args.videos[0], HEADER)):
        return None
    for name in ("window", "stride", "num_frames", "live"):
        if getattr(args, name):
            raise common.CommandError(
                f"{args.videos[0]} has its windows already: leave out --{name.replace('_', '-')}"
            )
    from hf_zsar.features.asking import StoreReader

    return StoreReader(args.videos[0])


def segment_options(args: argparse.Namespace, labels: list[str] | None, bank: Any) -> dict[str, Any]:
    """Options of `pipe.segments`, only those that were given."""
    names = ("window", "stride", "high", "low", "min_length", "num_frames", "descriptions")
    options = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    options |= {"candidate_labels": labels} if bank is None else {"label_bank": bank}
    options |= {"hypothesis_template": args.template} if args.template else {}
    options |= {"multi_label": True} if args.multi_label else {}
    return {**options, "unknown": not args.all_known}


def each(pipe: Any, videos: Sequence[str], options: dict[str, Any]) -> Iterator[Any]:
    """The segments of each video, or what is wrong with it."""
    from hf_zsar import VideoReadError

    for video in videos:
        try:
            yield pipe.segments(video, **options)
        except (VideoReadError, FloatingPointError) as error:
            yield error


def watch(pipe: Any, video: str, options: dict[str, Any], args: argparse.Namespace) -> int:
    """Print the segments of a live source as they close: lines of text, or of JSON."""
    from hf_zsar.printing import dump_json
    from hf_zsar.segments.sources import live_source

    source = live_source(video, allow=args.allow_devices, say=common.say)
    try:
        for segment in pipe.segments(source, live=True, **options):
            print(dump_json(segment, common.encoding_of(sys.stdout)) if args.json else line(segment), flush=True)
    finally:
        if latency := getattr(source, "latency", None):
            common.say(f"from frame to answer: {latency.quantile(0.5):.1f} s, 95 %: {latency.quantile(0.95):.1f} s")
    return 0


def show(record: dict[str, Any]) -> None:
    """Print the segments of a video."""
    lines = [record["video"]]
    if "error" in record:
        lines.append("  not searched (see the error)")
    elif not record["segments"]:
        lines.append("  nothing found")
    common.say("\n".join([*lines, *(f"  {line(each)}" for each in record.get("segments", []))]), sys.stdout)


def line(segment: dict[str, Any]) -> str:
    """A segment in words."""
    return f"{clock(segment['start'])} - {clock(segment['end'])}  {segment['label']}  {segment['score']:.3f}"


def described(video: str, record: dict[str, Any], args: argparse.Namespace) -> VideoSegments:
    """The segments of a video with what formats, pictures and pages need to know about it."""
    from hf_zsar.segments.annotations import VideoSegments

    if not (args.output or args.picture or args.page):
        return VideoSegments(record["video"], tuple(record["segments"]))
    from hf_zsar.processing.video_reading import open_video

    with open_video(video) as reader:
        info = reader.info
    size = dict(width=info.width, height=info.height)
    return VideoSegments(record["video"], tuple(record["segments"]), info.duration, info.fps, **size)


def save(found: Sequence[VideoSegments], args: argparse.Namespace) -> None:
    """Write the file of the tool, or one for each video."""
    from hf_zsar.segments.formats import named, write_segments

    if named(args.format).many:
        write_segments(found, args.output, args.format)
        return
    names = picture_names(args.output, [video.video for video in found])
    for video in found:
        write_segments([video], names[video.video], args.format)


def convert(args: argparse.Namespace) -> int:
    """Segments of files -> another format."""
    from hf_zsar.segments.formats import read_segments

    found = [video for path in args.read for video in read_segments(path, fps=args.fps)]
    if not any(video.segments for video in found):
        raise common.CommandError("there are no segments in these files")
    save(found, args)
    common.say(f"{sum(len(video.segments) for video in found)} segments of {len(found)} videos in {args.output}")
    return 0


def draw(video: str, found: VideoSegments, path: str) -> None:
    """Draw the lanes of a video."""
    from hf_zsar.plots.segments import draw_segments

    draw_segments(path, found, video)


def write_page(video: str, found: VideoSegments, path: str) -> None:
    """Write the page of a video."""
    from hf_zsar.segments.page import save_page

    save_page(path, found, video if "://" in video else os.path.abspath(video))
