"""What the sub-commands share: which videos, which labels, which model, and how progress is shown."""

from __future__ import annotations

import argparse
import csv
import glob
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeVar


# What a folder is searched for. A file that is named itself is read whatever its ending.
VIDEO_SUFFIXES = frozenset(
    ".3gp .asf .avi .flv .gif .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .vob .webm .wmv .y4m".split()
)

Item = TypeVar("Item")


class CommandError(Exception):
    """What was asked for cannot be done; the message is for the person at the keyboard."""


def add_video_arguments(parser: argparse.ArgumentParser, nargs: str = "+") -> None:
    """The positional VIDEO arguments, and which of their frames are looked at."""
    parser.add_argument(
        "videos", metavar="VIDEO", nargs=nargs, help="file, URL, folder (searched for videos) or glob pattern"
    )
    add_sampling_arguments(parser)


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Which frames of a video are looked at."""
    group = parser.add_argument_group("frames")
    group.add_argument("--num-frames", type=positive, metavar="N", help="frames per view (default: as the model says)")
    group.add_argument(
        "--num-views", type=positive, metavar="N", help="views in time, averaged (default: as the model says)"
    )


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the candidate labels come from, and what is made of them."""
    group = parser.add_argument_group("labels", "Several sources are joined; at least one is needed.")
    group.add_argument("--labels", nargs="+", default=[], metavar="LABEL", help="class names, any words")
    group.add_argument(
        "--labels-file",
        metavar="FILE",
        help="one label a line (# starts a comment), or a .json list, or a .csv with a column 'name'; - reads stdin",
    )
    group.add_argument("--preset", metavar="DATASET", help="class names of a data set: ucf101, hmdb51, kinetics400...")
    group.add_argument(
        "--template", action="append", metavar="TEXT", help="prompt with {} for the label; repeat for an ensemble"
    )
    group.add_argument("--descriptions", metavar="FILE", help="what the method knows about the labels, JSON")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model, and where it runs."""
    group = parser.add_argument_group("model")
    group.add_argument("--model", metavar="ID_OR_FOLDER", help="default: the embedded CPU-size model, built once")
    group.add_argument("--revision", help="branch, tag or commit of a model on the Hub")
    group.add_argument("--device", help="cpu, cuda, cuda:1, mps... (default: an accelerator if there is one)")
    group.add_argument(
        "--trust-remote-code", action="store_true", help="run code that the model's repository brings along"
    )


def sampling_options(args: argparse.Namespace) -> dict[str, int]:
    """The sampling options that were given, by the names that the pipeline and the processor use."""
    options = {"num_frames": args.num_frames, "num_views": args.num_views}
    return {name: value for name, value in options.items() if value is not None}


def positive(text: str) -> int:
    """An argument type: a whole number above zero."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def find_videos(arguments: Sequence[str]) -> list[str]:
    """Files, URLs, folders and glob patterns -> paths in a fixed order, each once.

    A path that does not exist is kept: it is reported when its turn comes, like any file that cannot be read.

    Raises:
        CommandError: a folder or pattern that holds no video.
    """
    found: dict[str, None] = {}
    for argument in arguments:
        for path in _videos_of(argument):
            found.setdefault(path)
    return list(found)


def _videos_of(argument: str) -> list[str]:
    if "://" in argument or os.path.isfile(argument):
        return [argument]
    if os.path.isdir(argument):
        return _videos_in(argument)
    if not glob.has_magic(argument):
        return [argument]
    matches = sorted(glob.glob(argument, recursive=True))
    if not matches:
        raise CommandError(f"nothing matches {argument!r}")
    return [path for match in matches for path in (_videos_in(match) if os.path.isdir(match) else [match])]


def _videos_in(folder: str) -> list[str]:
    paths = (os.path.join(where, name) for where, _, names in os.walk(folder) for name in names)
    videos = sorted(path for path in paths if os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES)
    if not videos:
        raise CommandError(f"no video in the folder {folder!r} (looked for {', '.join(sorted(VIDEO_SUFFIXES))})")
    return videos


def read_labels(args: argparse.Namespace) -> list[str]:
    """The candidate labels of a command line, in order, each once.

    Raises:
        CommandError: none given, or a labels file that holds none.
        ValueError: no such preset.
    """
    labels = list(args.labels)
    if args.labels_file:
        labels += read_labels_file(args.labels_file)
    if args.preset:
        from hf_zsar.data import load_class_names

        labels += load_class_names(args.preset, display=True)
    if not labels:
        raise CommandError("no labels: give --labels 'riding a bike' cooking, --labels-file FILE or --preset ucf101")
    return list(dict.fromkeys(labels))


def read_labels_file(path: str) -> list[str]:
    """Labels of a text, JSON or CSV file; `-` reads text from standard input.

    Raises:
        CommandError: it cannot be read, or holds no labels in a form that we know.
    """
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read the labels file {path}: {error}") from error
    parse = {".json": _labels_of_json, ".csv": _labels_of_csv}.get(os.path.splitext(path)[1].lower(), _labels_of_text)
    labels = [label.strip() for label in parse(text, path) if label.strip()]
    if not labels:
        raise CommandError(f"the labels file {path} holds no label")
    return labels


def _labels_of_text(text: str, path: str) -> list[str]:
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]


def _labels_of_json(text: str, path: str) -> list[str]:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise CommandError(f"{path} is not JSON: {error}") from error
    if isinstance(data, dict):
        data = data.get("labels", data.get("classes"))
    if not isinstance(data, list) or not all(isinstance(label, str) for label in data):
        raise CommandError(f"{path} must hold a list of strings, by itself or as 'labels' or 'classes'")
    return data


def _labels_of_csv(text: str, path: str) -> list[str]:
    rows = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    if "name" not in (rows.fieldnames or ()):
        raise CommandError(f"{path} has no column 'name' (columns: {rows.fieldnames})")
    return [row["name"] or "" for row in rows]


def load_pipeline(args: argparse.Namespace) -> Any:
    """The zero-shot video classification pipeline of `--model`, or of the embedded default.

    Raises:
        ImportError: the packages of the embedded model are missing.
        OSError: no such model.
    """
    import transformers

    import hf_zsar

    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
    options = {"revision": args.revision, "device": args.device}
    options = {name: value for name, value in options.items() if value is not None}
    if args.model is None or not args.trust_remote_code:
        return hf_zsar.pipeline(args.model, **options)
    return transformers.pipeline("zero-shot-video-classification", model=args.model, trust_remote_code=True, **options)


def progress(items: Sequence[Item], unit: str = "video") -> Iterable[Item]:
    """The items, with a progress bar on a terminal."""
    from tqdm import tqdm

    return tqdm(items, unit=unit, disable=not sys.stderr.isatty() or len(items) < 2, leave=False)


def say(message: str, file: TextIO | None = None) -> None:
    """Text above any progress bar: to the person at the keyboard (standard error), or to another stream."""
    from tqdm import tqdm

    tqdm.write(message, file=file or sys.stderr)


def print_json(value: Any) -> None:
    """JSON on standard output; see `hf_zsar.files.json_text`."""
    from hf_zsar.files import json_text

    print(json_text(value, indent=2))


def collect(videos: Sequence[str], results: Iterable[Any], name: str) -> Iterator[dict[str, Any]]:
    """Results of the videos, in order -> records, with a progress bar; a failure is reported and the rest goes on.

    Args:
        results: one a video; an exception in place of a result says why there is none.
        name: key of the result in the record.

    Yields:
        `video`, then the result under `name` or `error`, and `warnings` where there were some.
    """
    import warnings

    from hf_zsar import VideoReadError, VideoReadWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", VideoReadWarning)
        for video, result in zip(progress(videos), results, strict=True):
            # Decoding runs ahead in threads, so a warning may belong to a later video: it names its own.
            mine = [warning for warning in caught if str(warning.message).startswith(f"{video}: ")]
            caught[:] = [warning for warning in caught if warning not in mine]
            record: dict[str, Any] = {"video": video}
            if isinstance(result, (VideoReadError, FloatingPointError)):
                record["error"] = str(result)
                say(f"error: {result}")
            elif isinstance(result, Exception):
                raise result
            else:
                record[name] = result
            for warning in mine:
                record.setdefault("warnings", []).append(str(warning.message))
                say(f"warning: {warning.message}")
            yield record
    for warning in caught:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def exit_status(records: Sequence[dict[str, Any]]) -> int:
    """0 when every video was done, 1 when some failed."""
    return int(any("error" in record for record in records))
