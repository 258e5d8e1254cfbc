"""What the sub-commands share: which videos, which labels, which model, and how progress is shown."""

from __future__ import annotations

import argparse
import glob
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TextIO, TypeVar

from hf_zsar.clips.folders import VIDEO_SUFFIXES, is_junk
from hf_zsar.clips.folders import find_videos as videos_in_folder
from hf_zsar.clips.tables import lines_of, parse_table
from hf_zsar.files import check_file, check_folder, folder_target
from hf_zsar.printing import dump_json, printable
from hf_zsar.processing.text_files import TextFileError, decode, parse_json, read_text
from hf_zsar.processing.urls import redacted


# What matplotlib draws into.
PICTURE_SUFFIXES = (".png", ".svg", ".pdf", ".jpg", ".jpeg", ".webp")

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
    group.add_argument(
        "--labels",
        nargs="+",
        default=[],
        metavar="LABEL",
        help='class names, any words; one argument may list several with commas: "running, cooking"',
    )
    group.add_argument(
        "--labels-file",
        metavar="FILE",
        help="one label per line (# starts a comment), or a .json list, or a .csv with a column 'name'; - reads stdin",
    )
    group.add_argument("--preset", metavar="DATASET", help="class names of a data set: ucf101, hmdb51, kinetics400...")
    group.add_argument(
        "--template", action="append", metavar="TEXT", help="prompt with {} for the label; repeat for an ensemble"
    )
    group.add_argument("--descriptions", metavar="FILE", help="JSON file of attributes or action graphs")


def add_bank_argument(parser: argparse._ActionsContainer) -> None:
    """A label bank instead of labels."""
    parser.add_argument(
        "--bank", metavar="FILE", help="labels and examples that `hf-zsar adapt` wrote, instead of labels"
    )


def add_trust_arguments(parser: argparse._ActionsContainer) -> None:
    """What is said about how far scores can be trusted."""
    parser.add_argument("--unknown", action="store_true", help="also score that the video shows none of the labels")
    parser.add_argument(
        "--false-alarms",
        type=float,
        metavar="SHARE",
        help="with --unknown: say where it is above the threshold that this share of videos of the labels reaches "
        "(needs a calibrated --bank)",
    )
    parser.add_argument(
        "--coverage",
        type=float,
        metavar="SHARE",
        help="give as many labels as hold the right one for this share of videos (needs a calibrated --bank)",
    )


def read_bank(args: argparse.Namespace) -> Any:
    """The bank of `--bank`; None where it was not given.

    Raises:
        CommandError: it was given with something that decides about labels, too.
        OSError, ValueError: it cannot be read, or is not a label bank.
    """
    if args.bank is None:
        return None
    others = ("labels", "labels_file", "preset", "template", "descriptions")
    given = [name for name in others if getattr(args, name, None)]
    if given:
        raise CommandError(f"--bank has its labels and prompts already: leave out --{given[0].replace('_', '-')}")
    from hf_zsar.modeling.label_bank import LabelBank

    return LabelBank.load(args.bank)


def tell_of_sampling(bank: Any, pipe: Any, options: Mapping[str, Any]) -> None:
    """Warn where a bank is of videos that were sampled in another way."""
    from hf_zsar.adaptation import other_sampling

    if bank is not None and (sentence := other_sampling(bank, pipe.processor, options)):
        say(f"warning: {sentence}")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model, and where it runs."""
    group = parser.add_argument_group("model")
    group.add_argument("--model", metavar="ID_OR_FOLDER", help="default: the small embedded model")
    group.add_argument("--revision", help="branch, tag or commit of a model on the Hub")
    group.add_argument("--device", help="cpu, cuda, cuda:1, mps... (default: an accelerator if there is one)")
    group.add_argument(
        "--trust-remote-code", action="store_true", help="run code that the model's repository brings along"
    )


def sampling_options(args: argparse.Namespace) -> dict[str, Any]:
    """The sampling options that were given, by the names that the pipeline and the processor use."""
    options = {"num_frames": args.num_frames, "num_views": args.num_views}
    return {name: value for name, value in options.items() if value is not None}


def check_options(
    args: argparse.Namespace, needs: Mapping[str, str] | None = None, against: Mapping[str, str] | None = None
) -> None:
    """Refuse options that would change nothing.

    Args:
        needs: option -> those of which one makes it count, by their names in `args`, with blanks between.
        against: option -> those beside which it does not count.

    Raises:
        CommandError: naming both.
    """

    def flags(names: str) -> str:
        return " or ".join(f"--{name.replace('_', '-')}" for name in names.split())

    for name, others in (needs or {}).items():
        if getattr(args, name) and not any(getattr(args, other) for other in others.split()):
            raise CommandError(f"{flags(name)} needs {flags(others)}")
    for name, others in (against or {}).items():
        for other in others.split():
            if getattr(args, name) and getattr(args, other):
                raise CommandError(f"{flags(name)} changes nothing with {flags(other)}: leave one of them out")


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
    # A file that is named itself is read whatever it is called.
    if "://" in argument or os.path.isfile(argument):
        return [argument]
    if os.path.isdir(argument):
        return _videos_in(argument)
    if not glob.has_magic(argument):
        return [argument]
    matches = _matches(argument)
    if not matches:
        raise CommandError(f"nothing matches {argument!r}")
    return [path for match in matches for path in (_videos_in(match) if os.path.isdir(match) else [match])]


def _matches(pattern: str) -> list[str]:
    """Paths that a pattern matches: junk only where the pattern names it, each place once, however it is linked."""
    named = set(pattern.split(os.sep))
    places: dict[tuple[str, str], str] = {}
    for match in sorted(glob.glob(pattern, recursive=True), key=lambda match: (match.count(os.sep), match)):
        if not any(is_junk(part) for part in set(match.split(os.sep)) - named):
            folder, name = os.path.split(match)
            places.setdefault((os.path.realpath(folder), name), match)
    return sorted(places.values())


def _videos_in(folder: str) -> list[str]:
    videos = videos_in_folder(folder)
    if not videos:
        raise CommandError(f"no video in the folder {folder!r} (looked for {', '.join(sorted(VIDEO_SUFFIXES))})")
    return videos


def read_labels(args: argparse.Namespace) -> list[str]:
    """The candidate labels of a command line, in order, each once.

    Raises:
        CommandError: none given, or a labels file that holds none.
        ValueError: no such preset.
    """
    labels = args.labels[0].split(",") if len(args.labels) == 1 else list(args.labels)
    labels = [label.strip() for label in labels if label.strip()]
    if args.labels_file:
        labels += read_labels_file(args.labels_file)
    if args.preset:
        from hf_zsar.data import load_class_names

        labels += load_class_names(args.preset, display=True)
    for label in labels:
        if printable(label) != label:
            raise CommandError(f"the label {printable(label)!r} is not plain text")
    if not labels:
        raise CommandError("no labels: give --labels 'riding a bike' cooking, --labels-file FILE or --preset ucf101")
    return list(dict.fromkeys(labels))


def read_labels_file(path: str) -> list[str]:
    """Labels of a text, JSON or CSV file; `-` reads text from standard input.

    Raises:
        CommandError: it cannot be read, or holds no labels in a form that we know.
    """
    suffix = os.path.splitext(path)[1].lower()
    parse = {".json": _labels_of_json, ".csv": _labels_of_csv, ".tsv": _labels_of_csv}.get(suffix, _labels_of_text)
    try:
        labels = [label.strip() for label in parse(_text_of(path), path) if label.strip()]
    except (OSError, TextFileError) as error:
        raise CommandError(f"cannot read the labels file {path}: {error}") from error
    if not labels:
        raise CommandError(f"the labels file {path} holds no label")
    return labels


def _text_of(path: str) -> str:
    if path != "-":
        return read_text(path)
    if sys.stdin is None:
        raise CommandError("there is no standard input to read labels from")
    binary = getattr(sys.stdin, "buffer", None)
    return decode(binary.read(), "standard input") if binary is not None else sys.stdin.read()


def _labels_of_text(text: str, path: str) -> list[str]:
    return [line for line in lines_of(text) if not line.lstrip().startswith("#")]


def _labels_of_json(text: str, path: str) -> list[str]:
    data = parse_json(text, path)
    if isinstance(data, dict):
        data = data.get("labels", data.get("classes"))
    if not isinstance(data, list) or not all(isinstance(label, str) for label in data):
        raise CommandError(f"{path} must hold a list of strings, by itself or as 'labels' or 'classes'")
    return data


def _labels_of_csv(text: str, path: str) -> list[str]:
    columns, rows = parse_table(text, path)
    if "name" not in columns:
        raise CommandError(f"{path} has no column 'name' (columns: {', '.join(map(repr, columns)) or 'none'})")
    return [row.get("name", "") for _, row in rows]


def load_pipeline(args: argparse.Namespace) -> Any:
    """The zero-shot video classification pipeline of `--model`, or of the embedded default.

    Raises:
        CommandError: no such device.
        ImportError: the packages of the embedded model are missing.
        OSError: no such model.
    """
    check_options(args, {"revision": "model", "trust_remote_code": "model"})
    check_device(args.device)
    import transformers

    import hf_zsar
    from hf_zsar.hub.loading import complete, readable
    from hf_zsar.pipeline_zero_shot_video_classification import ZeroShotVideoClassificationPipeline
    from hf_zsar.registration import TASK

    hush_libraries()
    given = {"revision": args.revision, "device": args.device}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if args.model is None or not args.trust_remote_code:
        return hf_zsar.pipeline(args.model, **options)
    options |= {"model": args.model, "trust_remote_code": True, "pipeline_class": ZeroShotVideoClassificationPipeline}
    with readable(args.model):
        task: Any = TASK  # the types of `transformers.pipeline` know its own tasks only
        return complete(transformers.pipeline(task, **options))


def hush_libraries() -> None:
    """No progress bars of libraries where standard error is not a terminal."""
    import transformers

    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()


def check_device(device: str | None) -> None:
    """
    Raises:
        CommandError: a device that this machine, or this build of PyTorch, does not have.
    """
    if device is None:
        return
    import torch

    try:
        torch.zeros(1, device=int(device) if device.isdigit() else device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().split("\n")[0]
        raise CommandError(f"no device {device!r} here: {reason}") from error


def progress(items: Sequence[Item], unit: str = "video") -> Iterable[Item]:
    """The items, with a progress bar on a terminal."""
    from tqdm import tqdm

    return tqdm(items, unit=unit, disable=not sys.stderr.isatty() or len(items) < 2, leave=False)


def say(message: str, file: TextIO | None = None) -> None:
    """Text above any progress bar: to the person at the keyboard (standard error), or to another stream.

    What the stream cannot show comes out as escapes: a name of a file never ends a run. URLs lose their secrets.
    """
    from tqdm import tqdm

    stream = file or sys.stderr
    message = "\n".join(map(redacted, message.split("\n")))
    tqdm.write(printable(message, encoding_of(stream)), file=stream)


class Told:
    """Says what is wrong with single inputs, and remembers that there was something."""

    any = False

    def tell(self, reason: str) -> None:
        self.any = True
        say(f"error: {reason}")


def encoding_of(stream: TextIO) -> str:
    """The encoding of a stream."""
    return getattr(stream, "encoding", None) or "utf-8"


def can_show(text: str, stream: TextIO) -> bool:
    """Whether a stream can encode all of a text."""
    return printable(text, encoding_of(stream)) == text


def print_json(value: Any, indent: int | None = 2) -> None:
    """A value as strict JSON on standard output, in ASCII where the stream cannot encode all of it.

    Raises:
        ValueError: numbers that JSON does not have.
    """
    print(dump_json(value, encoding_of(sys.stdout), indent=indent))


class JsonList:
    """A JSON list on standard output, item by item: however a run ends, what was printed is whole.

    ```
    with JsonList() as out:
        out.add(record)
    ```
    """

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> JsonList:
        return self

    def add(self, value: Any) -> None:
        """Print one item."""
        text = dump_json(value, encoding_of(sys.stdout), indent=2)
        print("[" if self.count == 0 else ",", text, sep="\n", end="", flush=True)
        self.count += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.count:
            print("\n]")
        elif kind is None:
            print("[]")


def check_output(path: str | None, suffixes: Collection[str] = ()) -> None:
    """Check that a file can be written, before any work is done for it; `None` passes.

    Args:
        suffixes: those that are known, if not all are.

    Raises:
        CommandError: an unknown suffix, no file of that name can be written.
    """
    if path is None:
        return
    if suffixes and not os.path.isdir(path) and os.path.splitext(path)[1].lower() not in suffixes:
        raise CommandError(f"{path}: the name must end in one of {', '.join(suffixes)}")
    with _in_words():
        check_file(path)


def check_output_folder(path: str | None, empty: bool = False) -> None:
    """Check that files can be written into a folder, which need not exist; `None` passes.

    Args:
        empty: it must not hold anything.

    Raises:
        CommandError: it is a file, cannot be written or, with `empty`, holds something.
    """
    if path is None:
        return
    with _in_words():
        if empty:
            folder_target(path)
        check_folder(path)


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(f"cannot write {error.filename}: {error.strerror}") from error


def check_picture(path: str | None, others: Collection[str] = ()) -> str | None:
    """As `check_output`, for a picture; gives the path, with `.png` where it has no ending.

    Args:
        others: suffixes beside `PICTURE_SUFFIXES`.

    Raises:
        CommandError: as `check_output`, or matplotlib is missing.
    """
    if path is None:
        return None
    if find_spec("matplotlib") is None:
        raise CommandError("pictures need matplotlib: pip install 'hf-zsar[plot]'")
    path = path if os.path.splitext(path)[1] or os.path.isdir(path) else f"{path}.png"
    check_output(path, (*PICTURE_SUFFIXES, *others))
    return path


def collect(videos: Sequence[str], results: Iterable[Any], name: str) -> Iterator[dict[str, Any]]:
    """Results of the videos, in order -> records, with a progress bar; a failure is reported and the rest goes on.

    Args:
        videos: as they were given; records call them as [`shown_names`] does.
        results: one a video; an exception in place of a result says why there is none.
        name: key of the result in the record.

    Yields:
        `video`, then the result under `name` or `error`, and `warnings` where there were some.
    """
    import warnings

    from hf_zsar import VideoReadError, VideoReadWarning
    from hf_zsar.processing.video_sources import source_name

    names = shown_names(videos)
    caught: list[warnings.WarningMessage] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", VideoReadWarning)
        show = warnings.showwarning

        def keep(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, VideoReadWarning):
                caught.append(warnings.WarningMessage(message, category, *place, **more))
            else:  # of no video
                show(message, category, *place, **more)

        warnings.showwarning = keep
        for video, shown, result in zip(progress(videos), names, results, strict=True):
            # Decoding runs ahead in threads, so a warning may belong to a later video: it names its own.
            start = f"{source_name(video)}: "
            mine = [warning for warning in caught if str(warning.message).startswith(start)]
            caught[:] = [warning for warning in caught if warning not in mine]
            record: dict[str, Any] = {"video": shown}
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


def shown_names(videos: Sequence[str]) -> list[str]:
    """Names of videos for records and the screen: URLs without their secrets, numbered where these are then equal."""
    names: dict[str, None] = {}
    for video in videos:
        name, number = redacted(video), 2
        while name in names:
            name, number = f"{redacted(video)} ({number})", number + 1
        names[name] = None
    return list(names)
