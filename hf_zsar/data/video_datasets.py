"""Labelled videos as a `datasets` data set: columns `video` (undecoded), `label` and `index`.

Sources: a folder of class folders; a manifest (`.json`, `.jsonl`, `.csv`); the official list files of UCF101, HMDB51,
Kinetics and ActivityNet and of the repositories of the field; Parquet and webdataset shards; a data set on the Hub.
A listed file that is not there is counted and named, never left out in silence.
"""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np


if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

logger = logging.getLogger(__name__)

SHARD_SUFFIXES = (".parquet", ".tar")
VIDEO_SUFFIXES = frozenset(".3gp .avi .flv .gif .m4v .mkv .mov .mp4 .mpeg .mpg .ts .webm .wmv".split())


class VideoDatasetError(ValueError):
    """A source that gives no data set; the message names it and says what to do."""


@dataclass(frozen=True)
class LabelledFile:
    """A video by path and the name (or, in some list files, the number) of its class."""

    path: str
    label: str | int


def load_video_dataset(
    source: str | os.PathLike,
    *,
    root: str | os.PathLike | None = None,
    label_names: Sequence[str] | None = None,
    split: str = "train",
    streaming: bool = False,
    on_missing: str = "error",
    **load_options: Any,
) -> Dataset | IterableDataset:
    """Open a source of labelled videos.

    Args:
        source: a folder of class folders; a frame cache (its rows have `frames` instead of `video`); a manifest or
            list file, or a pattern of several (HMDB51's, one a class); a folder of `.parquet` or `.tar` shards, or one
            of them; or a Hub id.
        root: where the files of a manifest or list lie; default: beside it.
        label_names: the classes in order. Default: those of the source, sorted (a manifest may say `labels`).
        split: of a Hub data set or of shards; `"train"`, `"validation"` or `"test"` of lists that hold several
            (HMDB51, Kinetics, ActivityNet).
        streaming: an `IterableDataset`; split it over processes with `split_dataset_by_node`, as the training does.
        on_missing: `"error"`, or `"report"`: files that a list names and that are not there are logged and left out.
        load_options: passed to `datasets.load_dataset` (revision, token, ...).

    Returns:
        columns `video` (`Video(decode=False)`), `label` (`ClassLabel`) and `index` (position in the source, the key of
        the random draws).

    Raises:
        VideoDatasetError: nothing there, unknown labels, or missing files.
    """
    from .frame_cache import is_frame_cache, load_frame_cache

    if on_missing not in ("error", "report"):
        raise ValueError(f"on_missing must be 'error' or 'report', got {on_missing!r}.")
    path = Path(source)
    if is_frame_cache(path):
        return load_frame_cache(path, streaming)
    lists = sorted(path.parent.glob(path.name)) if "*" in path.name else [path]
    if path.is_dir() and not any(_shards(path)):
        files, names = class_folders(path), None
    elif lists and all(each.is_file() and each.suffix not in SHARD_SUFFIXES for each in lists):
        parts = [read_list(each, Path(root) if root else each.parent, split) for each in lists]
        files, names = [file for part, _ in parts for file in part], parts[0][1]
    else:
        return _load_shards(str(source), path, label_names, split, streaming, load_options)
    if not files:
        raise VideoDatasetError(f"{source} lists no videos.")
    files = _present(files, str(source), on_missing)
    dataset = _as_dataset(files, list(label_names or names or sorted({str(f.label) for f in files})), str(source))
    # A power of two, so that any usual number of nodes and workers divides it.
    shards = 1 << min(6, len(dataset).bit_length() - 1)
    return dataset.to_iterable_dataset(num_shards=shards) if streaming else dataset


def class_folders(root: Path) -> list[LabelledFile]:
    """All videos below `root`, one folder per class, in a fixed order."""
    return [
        LabelledFile(str(file), folder.name)
        for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in VIDEO_SUFFIXES
    ]


def read_list(path: Path, root: Path, split: str = "train") -> tuple[list[LabelledFile], list[str] | None]:
    """The files of a manifest or list, and the class names if it has them.

    JSON: `{"labels": [...], "clips": [{"file", "label"}]}`, a list of such clips, or ActivityNet's `{"database"}`.
    JSONL and CSV: rows with `file` (or `video`, `path`) and `label`; Kinetics' CSV with `youtube_id`. Text: UCF101's
    `Class/v_X.avi 1`, HMDB51's `<class>_test_split1.txt` with its flags, and `path [frames] label` as in the
    repositories of the field.

    Raises:
        VideoDatasetError: a row without file or label, with its number.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        rows, names = _read_json(path, root, split)
    elif suffix == ".jsonl":
        rows, names = _read_jsonl(path), None
    elif suffix == ".csv":
        rows, names = _read_csv(path, root, split)
    else:
        rows, names = _read_text(path, split), None
    return [LabelledFile(str(root / file), label) for file, label in rows], names


def _row(record: Any, path: Path, number: int) -> tuple[str, Any]:
    if isinstance(record, dict):
        file = next((record[key] for key in ("file", "video", "path") if record.get(key)), None)
        label = record.get("label")
        if file is not None and label not in (None, ""):
            return str(file), label
    raise VideoDatasetError(f"{path}, entry {number}: expected a 'file' and a 'label', got {record!r}.")


def _read_json(path: Path, root: Path, split: str) -> tuple[list[tuple[str, Any]], list[str] | None]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise VideoDatasetError(f"{path} is not JSON: {error}.") from error
    if isinstance(content, dict) and isinstance(content.get("database"), dict):
        return _activitynet(content["database"], root, split)
    rows = content.get("clips") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise VideoDatasetError(f"{path}: expected a list of clips, or an object with a list 'clips'.")
    names = content.get("labels") if isinstance(content, dict) else None
    return [_row(record, path, number) for number, record in enumerate(rows)], names


def _activitynet(database: dict[str, Any], root: Path, split: str) -> tuple[list[tuple[str, Any]], list[str]]:
    subset = {"train": "training", "test": "testing"}.get(split, split)
    labels = {name: [each["label"] for each in entry.get("annotations", ())] for name, entry in database.items()}
    wanted = [name for name, entry in database.items() if entry.get("subset") == subset and labels[name]]
    rows = [(_found(root, [f"v_{name}", name], labels[name][0]), labels[name][0]) for name in wanted]
    return rows, sorted({label for of_video in labels.values() for label in of_video})


def _found(root: Path, stems: Sequence[str], label: str) -> str:
    """The first file that is there under one of these names, in `root` or in its folder of the class."""
    places = [f"{folder}{stem}" for stem in stems for folder in ("", f"{label}/", f"{label.replace(' ', '_')}/")]
    for place in places:
        for suffix in (".mp4", ".mkv", ".webm", ".avi"):
            if (root / f"{place}{suffix}").is_file():
                return f"{place}{suffix}"
    return f"{places[0]}.mp4"


def _read_jsonl(path: Path) -> list[tuple[str, Any]]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    try:
        return [_row(json.loads(line), path, number) for number, line in enumerate(lines, start=1)]
    except json.JSONDecodeError as error:
        raise VideoDatasetError(f"{path} is not JSON lines: {error}.") from error


def _read_csv(path: Path, root: Path, split: str) -> tuple[list[tuple[str, Any]], list[str] | None]:
    with path.open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    if not records or "youtube_id" not in records[0]:
        return [_row(record, path, number) for number, record in enumerate(records, start=2)], None
    rows = []
    for record in records:
        if record.get("split") in (None, "", split, {"validation": "validate"}.get(split)):
            name, label = record["youtube_id"], record["label"]
            times = "_".join(f"{int(float(record[key])):06d}" for key in ("time_start", "time_end"))
            rows.append((_found(root, [f"{name}_{times}", name], label), label))
    return rows, sorted({record["label"] for record in records})


def _read_text(path: Path, split: str) -> list[tuple[str, Any]]:
    """Lines of `path [numbers...] label`. The label is a name where the first folder of the path is one."""
    hmdb_class = path.stem.partition("_test_split")[0] if "_test_split" in path.stem else None
    flag = {"train": "1", "test": "2"}.get(split, "2")  # 0 is unused
    rows: list[tuple[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if hmdb_class is not None and len(fields) == 2:
            rows.extend([(f"{hmdb_class}/{fields[0]}", hmdb_class)] if fields[1] == flag else [])
        else:
            rows.append(_text_row(fields, f"{path}, line {number}"))
    return rows


def _text_row(fields: Sequence[str], where: str) -> tuple[str, Any]:
    first, last = fields[0], fields[-1]
    if "/" in first and not first.startswith("/") and (len(fields) == 1 or last.isdigit()):
        # A number in the list counts from 0 or 1 depending on who wrote it; the folder's name cannot be misread.
        return first, first.split("/")[0]
    if len(fields) == 1:
        raise VideoDatasetError(f"{where}: expected 'class/file.ext' or 'file label', got {first!r}.")
    return first, int(last) if last.isdigit() else last


def _present(files: Sequence[LabelledFile], source: str, on_missing: str) -> list[LabelledFile]:
    missing = [file.path for file in files if not os.path.isfile(file.path)]
    if not missing:
        return list(files)
    message = f"{source}: {len(missing)} of {len(files)} videos are missing, e.g. {', '.join(missing[:3])}"
    if on_missing == "error" or len(missing) == len(files):
        raise VideoDatasetError(f"{message}. Check root=, or pass on_missing='report' to go on without them.")
    logger.warning("%s", message)
    gone = set(missing)
    return [file for file in files if file.path not in gone]


def _as_dataset(files: Sequence[LabelledFile], names: list[str], source: str) -> Dataset:
    from datasets import ClassLabel, Dataset, Features, Value, Video

    position = {name: i for i, name in enumerate(names)}
    unknown = sorted(
        {
            str(f.label)
            for f in files
            if f.label not in position and not (isinstance(f.label, int) and f.label < len(names))
        }
    )
    if unknown:
        raise VideoDatasetError(f"{source} has labels that are not among the {len(names)} classes: {unknown[:5]}.")
    columns = {
        "video": [file.path for file in files],
        "label": [file.label if isinstance(file.label, int) else position[file.label] for file in files],
        "index": list(range(len(files))),
    }
    features = Features({"video": Video(decode=False), "label": ClassLabel(names=names), "index": Value("int64")})
    return Dataset.from_dict(columns, features=features)


def _shards(path: Path) -> Iterable[Path]:
    return (p for pattern in ("*.parquet", "*.tar") for p in path.glob(pattern))


def _load_shards(
    source: str, path: Path, label_names: Sequence[str] | None, split: str, streaming: bool, options: dict[str, Any]
) -> Dataset | IterableDataset:
    from datasets import ClassLabel, Features, Value, Video, load_dataset

    shards = sorted(str(p) for p in _shards(path)) if path.is_dir() else [source] if path.is_file() else []
    if shards:
        builder = "parquet" if shards[0].endswith(".parquet") else "webdataset"
        dataset = load_dataset(builder, data_files={split: shards}, split=split, streaming=streaming, **options)
    elif path.exists() or source.startswith((".", "/")) or path.suffix or source.count("/") > 1:
        raise VideoDatasetError(f"{source}: no such folder or file, or nothing in it.")
    else:
        dataset = load_dataset(source, split=split, streaming=streaming, **options)
    columns = set(dataset.features or next(iter(dataset)))
    video = next((name for name in ("video", "mp4", "webm", "avi", "mkv", "file") if name in columns), None)
    label = next((name for name in ("label", "cls", "class", "txt") if name in columns), None)
    if video is None or label is None:
        raise VideoDatasetError(
            f"{source} has the columns {sorted(columns)}: none for the video, or none for the label."
        )
    names = list(label_names or getattr((dataset.features or {}).get(label), "names", None) or ())
    if not names:
        raise VideoDatasetError(f"{source} does not say its classes: pass label_names.")
    position = {name: i for i, name in enumerate(names)}

    def convert(row: dict[str, Any], index: int) -> dict[str, Any]:
        value = row[label].decode() if isinstance(row[label], bytes) else row[label]
        number = int(value) if isinstance(value, int) or str(value).strip().isdigit() else position[str(value).strip()]
        data = row[video]
        data = {"bytes": data, "path": None} if isinstance(data, bytes) else data
        return {"video": data, "label": number, "index": index}

    if dataset.features is not None and isinstance(dataset.features.get(video), Video):
        dataset = dataset.cast_column(video, Video(decode=False))
    features = Features({"video": Video(decode=False), "label": ClassLabel(names=names), "index": Value("int64")})
    remove = [name for name in columns if name not in features]
    return dataset.map(convert, with_indices=True, remove_columns=remove, features=features)


def few_shot(dataset: Dataset, shots: int, seed: int = 0) -> Dataset:
    """`shots` videos of every class, drawn with the seed alone: the same on every process.

    Raises:
        VideoDatasetError: a class with fewer videos.
    """
    labels = np.asarray(dataset["label"])
    generator = np.random.default_rng(seed)
    rows: list[int] = []
    for number, name in enumerate(dataset.features["label"].names):
        of_class = np.flatnonzero(labels == number)
        if 0 < len(of_class) < shots:
            raise VideoDatasetError(f"class {name!r} has {len(of_class)} videos, {shots} were asked for.")
        rows.extend(generator.permutation(of_class)[:shots].tolist())
    return dataset.select(sorted(rows))


def with_classes(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """Only the videos of these classes, numbered anew in this order (base-to-novel, leave-some-classes-out).

    Raises:
        VideoDatasetError: a name that the data set does not have.
    """
    from datasets import ClassLabel

    old = dataset.features["label"].names
    unknown = sorted(set(names) - set(old))
    if unknown:
        raise VideoDatasetError(f"no such classes: {unknown}. There are {old[:10]}...")
    position = {old.index(name): new for new, name in enumerate(names)}
    rows = [row for row, label in enumerate(dataset["label"]) if label in position]
    kept = dataset.select(rows)
    labels = [position[label] for label in kept["label"]]
    return kept.remove_columns("label").add_column("label", labels).cast_column("label", ClassLabel(names=list(names)))


__all__ = ["VideoDatasetError", "few_shot", "load_video_dataset", "with_classes"]
