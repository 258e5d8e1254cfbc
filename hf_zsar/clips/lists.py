"""Which videos of which class a source names: class folders, manifests, tables, and the list files of the field.

Nothing is opened but the list; nothing here imports more than the standard library.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_zsar.printing import printable
from hf_zsar.processing.text_files import TextFileError, read_json, read_text

from .folders import VIDEO_SUFFIXES, find_videos, has_video_suffix, subfolders, warn
from .tables import parse_table, read_json_lines, read_lines


SHARD_SUFFIXES = (".parquet", ".tar")
_FILE_FIELDS = ("file", "video", "path")
_TABLES = (".csv", ".tsv")
# A path may hold blanks: it ends where a video's suffix does.
_SUFFIX = "|".join(re.escape(suffix) for suffix in sorted(VIDEO_SUFFIXES))
_NO_TEXT = re.compile("[\ud800-\udfff]")  # what bytes that are not UTF-8 are read as
_LINE = re.compile(rf"(\S.*?(?:{_SUFFIX}))(?:\s+(.*))?", re.IGNORECASE)


class VideoDatasetError(ValueError):
    """A source that gives no data set; the message names it and says what to do."""


@dataclass(frozen=True)
class LabeledFile:
    """A video by path and the name (or, in some list files, the number) of its class; `name` is as the list has it."""

    path: str
    label: str | int
    name: str


Rows = list[tuple[str, "str | int"]]


def class_folders(root: Path) -> list[LabeledFile]:
    """All videos below `root`, one folder per class, in a fixed order. A class folder without any is named in a
    warning, as are videos that lie in no class folder."""
    root = Path(root)
    files, empty = [], []
    for name in subfolders(root):
        if not is_text(name):
            raise VideoDatasetError(f"{root}: the folder {printable(name)!r} is not a class name: it is not UTF-8.")
        videos = find_videos(root / name)
        files += [LabeledFile(path, name, os.path.relpath(path, root)) for path in videos]
        empty += [] if videos else [name]
    if empty:
        warn(f"{root}: class folders without a video, so without a class", empty, shown=20)
    if loose := [entry.name for entry in os.scandir(root) if has_video_suffix(entry.name) and entry.is_file()]:
        warn(f"{root}: left out, as they lie in no class folder", loose)
    return files


def labeled_files(
    source: str | os.PathLike, root: str | os.PathLike | None = None, splits: Sequence[str] = ("train",)
) -> tuple[list[LabeledFile], list[str] | None]:
    """The files of a folder of class folders, a list or manifest, or a pattern of several lists, each file once.

    Args:
        root: where the files of a list lie; default: beside it.
        splits: as in [`read_list`]; of those that a list has, the first that holds files is taken.

    Returns:
        the files, and the class names if the source has them.

    Raises:
        VideoDatasetError: nothing there, or a list that says nothing.
    """
    path = Path(source)
    if path.is_dir():
        files, names = class_folders(path), None
    else:
        lists = [(each, Path(root) if root else each.parent) for each in matching_lists(path)]
        tried = ([read_list(*each, split) for each in lists] for split in splits)
        found = (parts for parts in tried if any(files for files, _ in parts))
        parts: list[tuple[list[LabeledFile], list[str] | None]] = next(found, [([], None)])
        files, names = [file for part, _ in parts for file in part], parts[0][1]
    if not files and path.is_dir():
        shards = any(each.suffix in SHARD_SUFFIXES for each in path.iterdir())
        hint = " It holds shards, which only training reads." if shards else ""
        raise VideoDatasetError(f"{source} lists no videos in class folders.{hint}")
    if not files:
        raise VideoDatasetError(f"{source} lists no videos.")
    return _once(files, str(source)), names


def matching_lists(path: Path) -> list[Path]:
    """The file itself, else those that a pattern matches; empty when there is neither."""
    if path.is_file():
        return [path]
    return sorted(each for each in path.parent.glob(path.name) if each.is_file()) if "*" in path.name else []


def read_list(path: Path, root: Path, split: str = "train") -> tuple[list[LabeledFile], list[str] | None]:
    """The files of a manifest or list, and the class names if it has them.

    JSON: `{"labels": [...], "clips": [{"file", "label"}]}`, a list of such clips, or ActivityNet's `{"database"}`.
    JSONL, CSV and TSV: rows with `file` (or `video`, `path`) and `label`; Kinetics' CSV with `youtube_id`. Text:
    UCF101's `Class/v_X.avi 1`, HMDB51's `<class>_test_split1.txt` with its flags, and `path [frames] label` as in the
    repositories of the field.

    Args:
        split: of lists that hold several: `"train"`, `"validation"` or `"test"`.

    Raises:
        VideoDatasetError: a row without file or label, with its number; a file that is not text.
    """
    path, root = Path(path), Path(root)
    suffix, names = path.suffix.lower(), None
    try:
        if suffix == ".json":
            rows, names = _read_json(path, root, split)
        elif suffix == ".jsonl":
            rows = [_row(record, path, number) for number, record in read_json_lines(path)]
        elif suffix in _TABLES:
            rows, names = _read_csv(path, root, split)
        else:
            rows = _read_text(path, split)
    except TextFileError as error:
        raise VideoDatasetError(str(error)) from error
    for name, label in rows:
        if not is_text(str(label)):
            raise VideoDatasetError(f"{path}: the label of {printable(name)} is not UTF-8: save the list as UTF-8.")
    return [LabeledFile(locate(root, name), label, name) for name, label in rows], names


def locate(root: Path, name: str) -> str:
    """Where a listed file lies. Lists made on Windows separate folders with backslashes."""
    path = str(root / name)
    return str(root / name.replace("\\", "/")) if "\\" in name and not os.path.exists(path) else path


def is_text(name: str) -> bool:
    """Whether a name is UTF-8; file systems do not ask for it."""
    return _NO_TEXT.search(name) is None


def _once(files: Sequence[LabeledFile], source: str) -> list[LabeledFile]:
    kept: dict[str, LabeledFile] = {}
    repeated = []
    for file in files:
        first = kept.setdefault(os.path.normpath(file.path), file)
        if first.label != file.label:
            raise VideoDatasetError(
                f"{source}: {printable(file.name)} stands there as {first.label!r} and as {file.label!r}."
            )
        repeated += [] if first is file else [file.name]
    if repeated:
        warn(f"{source}: rows that repeat another count once", repeated)
    return list(kept.values())


def _row(record: Any, path: Path, number: int) -> tuple[str, Any]:
    if isinstance(record, dict):
        file = next((record[key] for key in _FILE_FIELDS if record.get(key)), None)
        label = record.get("label")
        named = isinstance(label, str) and label.strip()
        if isinstance(file, str) and (named or (isinstance(label, int) and not isinstance(label, bool))):
            return file, label
    raise VideoDatasetError(f"{path}, entry {number}: expected a 'file' and a 'label', got {record!r}.")


def _read_json(path: Path, root: Path, split: str) -> tuple[Rows, list[str] | None]:
    content = read_json(path)
    if isinstance(content, dict) and isinstance(content.get("database"), dict):
        return _activitynet(content["database"], path, root, split)
    rows = content.get("clips") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise VideoDatasetError(f"{path}: expected a list of clips, or an object with a list 'clips'.")
    names = content.get("labels") if isinstance(content, dict) else None
    if names is not None:
        check_names(names, str(path))
    return [_row(record, path, number) for number, record in enumerate(rows)], names


def check_names(names: Any, source: str, field: str = "labels") -> None:
    """
    Raises:
        VideoDatasetError: a field of a manifest that is not a list of different names.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise VideoDatasetError(f"{source}: {field!r} must be a list of names.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise VideoDatasetError(f"{source}: {field!r} has names that stand twice: {twice}.")


def _activitynet(database: dict[str, Any], path: Path, root: Path, split: str) -> tuple[Rows, list[str]]:
    subset = {"train": "training", "test": "testing"}.get(split, split)
    try:
        labels = {name: [each["label"] for each in entry.get("annotations", ())] for name, entry in database.items()}
        wanted = [name for name, entry in database.items() if entry.get("subset") == subset and labels[name]]
        classes = sorted({label for of_video in labels.values() for label in of_video})
        check_names(classes, str(path), "annotations")
    except (TypeError, AttributeError, KeyError) as error:
        raise VideoDatasetError(f"{path}: not in the form of ActivityNet ({error!r}).") from error
    there = _by_stem(root)
    rows = [(_found(there, [f"v_{name}", name]), labels[name][0]) for name in wanted]
    return rows, classes


def _by_stem(root: Path) -> dict[str, str]:
    """Name without suffix -> path below `root`, of every video there; one that lies higher goes first."""
    videos = [os.path.relpath(path, root) for path in find_videos(root)]
    deepest_first = sorted(videos, key=lambda path: (path.count(os.sep), path), reverse=True)
    return {os.path.splitext(os.path.basename(path))[0]: path for path in deepest_first}


def _found(there: dict[str, str], stems: Sequence[str]) -> str:
    """The first of these that is there, else a name to report as missing."""
    return next((there[stem] for stem in stems if stem in there), f"{stems[0]}.mp4")


def _read_csv(path: Path, root: Path, split: str) -> tuple[Rows, list[str] | None]:
    columns, records = parse_table(read_text(path, "surrogateescape"), str(path))
    if "youtube_id" in columns:
        return _kinetics(records, path, root, split)
    if "label" not in columns or not set(_FILE_FIELDS) & set(columns):
        raise VideoDatasetError(
            f"{path}: expected columns 'file' and 'label', got {', '.join(map(repr, columns)) or 'an empty file'}."
        )
    return [_row(record, path, number) for number, record in records], None


def _kinetics(
    records: Sequence[tuple[int, dict[str, str]]], path: Path, root: Path, split: str
) -> tuple[Rows, list[str]]:
    rows: Rows = []
    there = _by_stem(root)
    for number, record in records:
        if record.get("split") in (None, "", split, {"validation": "validate"}.get(split)):
            try:
                name, label = record["youtube_id"], record["label"]
                times = "_".join(f"{int(float(record[key])):06d}" for key in ("time_start", "time_end"))
            except (KeyError, OverflowError, ValueError) as error:
                raise VideoDatasetError(f"{path}, entry {number}: not in the form of Kinetics ({error!r}).") from error
            rows.append((_found(there, [f"{name}_{times}", name]), label))
    return rows, sorted({record["label"] for _, record in records if record.get("label")})


def _read_text(path: Path, split: str) -> Rows:
    """Lines of `path [frames] label`, with tabs or blanks between."""
    lines = [(number, line) for number, line in enumerate(read_lines(path, "surrogateescape"), start=1)]
    fields = [(number, *_fields(line.strip())) for number, line in lines if line.strip()]
    if "_test_split" in path.stem and all(flag in (["0"], ["1"], ["2"]) for _, _, flag in fields):
        of_class = path.stem.partition("_test_split")[0]
        wanted = {"train": "1", "test": "2"}.get(split, "2")  # 0 is unused
        return [(f"{of_class}/{name}", of_class) for _, name, flag in fields if flag == [wanted]]
    numbers = [int(rest[-1]) if rest and all(word.isdigit() for word in rest) else None for _, _, rest in fields]
    by_folder = _folders_are_classes([name for _, name, _ in fields], numbers)
    rows: Rows = []
    for (line, name, rest), number in zip(fields, numbers, strict=True):
        where = f"{path}, line {line}"
        if number is None and rest:
            rows.append((name, _label(rest, where)))
        elif by_folder and (folder := _folder(name)):
            rows.append((name, folder))
        elif number is None:
            raise VideoDatasetError(f"{where}: expected 'class/file.ext' or 'file label', got {printable(name)!r}.")
        else:
            rows.append((name, number))
    return rows


def _fields(line: str) -> tuple[str, list[str]]:
    """Path, and what follows it. Between tabs a label may be several words."""
    if "\t" in line:
        name, *rest = (cell.strip() for cell in line.split("\t"))
        return name, [cell for cell in rest if cell]
    if match := _LINE.fullmatch(line):
        return match[1], (match[2] or "").split()
    name, *words = line.split()
    return name, words


def _label(rest: Sequence[str], where: str) -> str:
    """The label behind an optional number of frames."""
    if not rest[0].isdigit():
        return " ".join(rest)
    if len(rest) > 2:
        raise VideoDatasetError(
            f"{where}: is {rest[0]} a number of frames or part of the label? Put tabs between path, frames and label."
        )
    return rest[1]


def _folder(name: str) -> str:
    """The folder that a relative path ends in."""
    name = name.replace("\\", "/")
    return "" if name.startswith("/") else os.path.basename(os.path.dirname(name))


def _folders_are_classes(names: Iterable[str], numbers: Iterable[int | None]) -> bool:
    """Whether folders and numbers say the same. Then the folder is the label: a number counts from 0 or from 1
    depending on who wrote it, a name cannot be misread."""
    pairs = {(_folder(name), number) for name, number in zip(names, numbers, strict=True) if number is not None}
    return len({folder for folder, _ in pairs}) == len({number for _, number in pairs}) == len(pairs)
