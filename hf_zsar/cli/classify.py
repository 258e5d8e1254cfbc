"""`hf-zsar classify`: score videos against any class names."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from hf_zsar.processing.urls import is_url, redacted

from . import common


EXAMPLE = """examples:
  hf-zsar classify clip.mp4 --labels "riding a bike" "walking a dog" cooking
  hf-zsar classify holiday/ "more/*.mov" --preset kinetics400 --top-k 3 --json > scores.json
  hf-zsar classify match.mkv --labels-file labels.txt --window 4 --stride 2 --picture match.png
"""

LONGEST_STEM = 120  # bytes


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "classify",
        help="score videos against any class names",
        description="Score videos against any class names. The scores of a video add up to 1 over its labels.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common.add_video_arguments(parser)
    common.add_label_arguments(parser)
    common.add_bank_argument(parser)
    common.add_model_arguments(parser)
    group = parser.add_argument_group("timeline")
    group.add_argument("--window", type=seconds, metavar="SECONDS", help="score windows of this length one by one")
    group.add_argument("--stride", type=seconds, metavar="SECONDS", help="from window to window (default: --window)")
    group = parser.add_argument_group("output")
    common.add_trust_arguments(group)
    group.add_argument("--top-k", type=common.positive, default=5, metavar="K", help="labels shown (default 5)")
    group.add_argument("--json", action="store_true", help="print JSON: a list with one record per video")
    group.add_argument(
        "--picture", metavar="PNG", help="draw frames above the scores; with several videos one file each"
    )
    group.add_argument(
        "--explain",
        metavar="PNG_OR_GIF",
        help="draw what moved the score of the best label: where, when and which words (methods that tell)",
    )


def seconds(text: str) -> float:
    """An argument type: a time span above zero."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a time above zero")
    return value


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar classify`."""
    check(args)
    bank = common.read_bank(args)
    labels = common.read_labels(args) if bank is None else list(bank.labels)
    videos = common.find_videos(args.videos)
    pipe = common.load_pipeline(args)
    if args.explain and "frames" not in pipe.model.explains:
        raise common.CommandError(f"{type(pipe.model).__name__} does not explain itself: leave out --explain")
    if bank is None:
        pipe.label_bank(labels, args.template, args.descriptions)  # what is wrong is said before any decoding
    else:
        pipe.model.check_bank(bank)
        if not args.window:  # whose frames are others anyway
            common.tell_of_sampling(bank, pipe, common.sampling_options(args))
    name = "timeline" if args.window else "scores"
    asked = {"candidate_labels": labels} if bank is None else {"label_bank": bank}
    results = pipe.stream(videos, **asked, on_error="return", **pipeline_options(args, labels))
    names = common.shown_names(videos)
    sources = dict(zip(names, videos, strict=True))
    pictures, explanations = picture_names(args.picture, names), picture_names(args.explain, names)
    status = 0
    with common.JsonList() if args.json else nullcontext() as out:
        for record in common.collect(videos, results, name):
            if isinstance(record.get("scores"), dict):  # with "none of these" beside the labels
                answer = record.pop("scores")
                record |= {"scores": answer.pop("labels"), **answer}
            if out is not None:
                out.add(record)
            else:
                show(record)
            if "error" in record:
                status = 1
                continue
            source = sources[record["video"]]
            if args.picture and not attempt(draw, pipe, source, record, pictures[record["video"]], args):
                status = 1
            if args.explain and not attempt(draw_why, pipe, source, explanations[record["video"]], args, labels):
                status = 1
    return status


def check(args: argparse.Namespace) -> None:
    """Check the arguments, before anything is read.

    Raises:
        CommandError: options that do not go together, or a picture that cannot be written.
    """
    common.check_options(args, {"stride": "window"}, {"num_views": "window"})
    if args.explain and args.window:
        raise common.CommandError("--explain looks at whole videos: leave out --window")
    if args.explain and args.bank:
        raise common.CommandError("--explain knows nothing of examples: leave out --bank")
    args.picture = common.check_picture(args.picture)
    args.explain = common.check_picture(args.explain, [".gif"])
    if args.picture and args.picture == args.explain:
        raise common.CommandError("--picture and --explain would write the same file")


def attempt(write: Callable[..., None], *args: Any) -> bool:
    """Draw a picture, or report why it cannot be drawn; the scores are printed either way."""
    try:
        write(*args)
    except (OSError, ValueError) as error:
        common.say(f"error: no picture: {error}")
        return False
    return True


def pipeline_options(args: argparse.Namespace, labels: list[str]) -> dict[str, Any]:
    """Arguments of the pipeline call, only those that were given."""
    options = {
        "top_k": min(args.top_k, len(labels)),
        "hypothesis_template": args.template,
        "descriptions": args.descriptions,
        "window": args.window,
        "stride": args.stride,
        "unknown": args.unknown or None,
        "false_alarms": args.false_alarms,
        "coverage": args.coverage,
    }
    given = {name: value for name, value in options.items() if value is not None}
    return {**given, **common.sampling_options(args)}


def show(record: dict[str, Any]) -> None:
    """Print the scores of a video as a table."""
    lines = [record["video"]]
    if "error" in record:
        lines.append("  not scored (see the error)")
    if "scores" in record:
        lines += [f"  {line}" for line in score_lines(record["scores"])]
    if "unknown" in record:
        lines.append(f"  none of these  {record['unknown']:.3f}" + "  (unknown)" * record.get("is_unknown", False))
    for part in record.get("timeline", []):
        best = ", ".join(f"{each['label']} {each['score']:.3f}" for each in part["labels"])
        lines.append(f"  {clock(part['start'])} - {clock(part['end'])}  {best}")
    common.say("\n".join(lines), file=sys.stdout)


def score_lines(scores: list[dict[str, Any]]) -> list[str]:
    """A bar chart in text: label, score, bar."""
    width = max(len(each["label"]) for each in scores)
    bar = "█" if common.can_show("█", sys.stdout) else "#"
    return [f"{each['label']:<{width}}  {each['score']:.3f}  {bar * round(30 * each['score'])}" for each in scores]


def clock(time: float) -> str:
    """Seconds as minutes and seconds: `1:02.5`."""
    return f"{int(time // 60)}:{time % 60:04.1f}"


def picture_names(name: str | None, videos: list[str]) -> dict[str, str]:
    """Where the picture of each video goes: `out.png` for one, else `out-<stem>.png`, numbered where stems repeat."""
    if name is None:
        return {}
    base, suffix = os.path.splitext(name)
    if len(videos) == 1:
        return {videos[0]: base + suffix}
    names: dict[str, str] = {}
    for video in videos:
        name = re.split("[?#]", video)[0].rstrip("/") if is_url(video) else video
        of_video = os.path.splitext(os.path.basename(name))[0]
        # Names end at 255 bytes in most file systems, and that of a video may be as long.
        stem = candidate = f"{base}-{os.fsdecode(os.fsencode(of_video)[:LONGEST_STEM])}"
        number = 2
        while candidate + suffix in names.values():
            candidate, number = f"{stem}-{number}", number + 1
        names[video] = candidate + suffix
    return names


def draw_why(pipe: Any, video: str, path: str, args: argparse.Namespace, labels: list[str]) -> None:
    """Write the explanation of a video's best label."""
    from hf_zsar.explanation import explain
    from hf_zsar.plots.explanation import draw_explanation

    options: dict[str, Any] = {"hypothesis_template": args.template, "descriptions": args.descriptions}
    explanation = explain(pipe, video, labels, **options, **common.sampling_options(args))
    draw_explanation(explanation, path, os.path.basename(redacted(video).rstrip("/")))


def draw(pipe: Any, video: str, record: dict[str, Any], path: str, args: argparse.Namespace) -> None:
    """Write the picture of a scored video."""
    from hf_zsar.plots.scores import draw_scores

    clip = pipe.processor.video_processor.sample(video, **common.sampling_options(args))
    draw_scores(path, record, clip.frames, clip.timestamps)
