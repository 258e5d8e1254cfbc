"""Labeled videos as a `datasets` data set: columns `video` (undecoded), `label` and `index`.

Sources: a folder of class folders; a manifest (`.json`, `.jsonl`, `.csv`); the official list files of UCF101, HMDB51,
Kinetics and ActivityNet and of the repositories of the field; Parquet and webdataset shards; a data set on the Hub.
A listed file that is not there is counted and named, never left out in silence.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_zsar.printing import printable

from .folders import VIDEO_SUFFIXES, find_videos, is_junk, subfolders
from .lists import (
    SHARD_SUFFIXES,
    LabeledFile,
    VideoDatasetError,
    class_folders,
    is_text,
    labeled_files,
    matching_lists,
    read_list,
)


if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

logger = logging.getLogger(__name__)


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
    """Open a source of labeled videos.

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
    shards = _shards(path)
    if shards or not (path.is_dir() or matching_lists(path)):
        return _load_shards(str(source), path, shards, label_names, split, streaming, load_options)
    files, names = labeled_files(source, root, [split])
    files = _present(files, str(source), on_missing)
    dataset = _as_dataset(files, label_names or names, str(source))
    # A power of two, so that any usual number of nodes and workers divides it.
    count = 1 << min(6, len(dataset).bit_length() - 1)
    return dataset.to_iterable_dataset(num_shards=count) if streaming else dataset


def _present(files: Sequence[LabeledFile], source: str, on_missing: str) -> list[LabeledFile]:
    """The files that are there; their names must be UTF-8, as the columns of a data set are."""
    missing = [file.name for file in files if not os.path.isfile(file.path)]
    present = [file for file in files if os.path.isfile(file.path)]
    odd = [file.name for file in present if not is_text(file.path)]
    if not missing and not odd:
        return present
    first = ", ".join(printable(name) for name in [*missing, *odd][:3])
    what = "missing" if missing else "not named in UTF-8, so rename them"
    message = f"{source}: {len(missing) + len(odd)} of {len(files)} videos are {what}, e.g. {first}"
    if on_missing == "error" or len(missing) + len(odd) == len(files):
        raise VideoDatasetError(f"{message}. Check root=, or pass on_missing='report' to go on without them.")
    logger.warning("%s", message)
    return [file for file in present if is_text(file.path)]


def _as_dataset(files: Sequence[LabeledFile], names: Sequence[str] | None, source: str) -> Dataset:
    from datasets import ClassLabel, Dataset, Features, Value, Video

    if names is None and any(isinstance(file.label, int) for file in files):
        raise VideoDatasetError(
            f"{source} has numbers for labels and does not say what they are called: pass label_names, or a manifest."
        )
    names = list(names or sorted({str(file.label) for file in files}))
    position = {name: i for i, name in enumerate(names)}
    numbers = [file.label if isinstance(file.label, int) else position.get(file.label, -1) for file in files]
    wrong = {str(file.label) for file, number in zip(files, numbers, strict=True) if not 0 <= number < len(names)}
    if wrong:
        raise VideoDatasetError(
            f"{source} has labels that are not among the {len(names)} classes: {sorted(wrong)[:5]}."
        )
    columns = {"video": [file.path for file in files], "label": numbers, "index": list(range(len(files)))}
    features = Features({"video": Video(decode=False), "label": ClassLabel(names=names), "index": Value("int64")})
    return Dataset.from_dict(columns, features=features)


def _shards(path: Path) -> list[Path]:
    """The shards in a folder, or the file itself if it is one.

    Raises:
        VideoDatasetError: a folder of both shards and class folders.
    """
    found = [path] if path.is_file() else path.iterdir() if path.is_dir() else ()
    shards = sorted(each for each in found if each.suffix in SHARD_SUFFIXES and not is_junk(each.name))
    if shards and path.is_dir() and any(find_videos(path / name) for name in subfolders(path)):
        raise VideoDatasetError(f"{path} holds class folders, and shards such as {shards[0].name}: keep them apart.")
    return shards


def _load_shards(
    source: str,
    path: Path,
    shards: Sequence[Path],
    label_names: Sequence[str] | None,
    split: str,
    streaming: bool,
    options: dict[str, Any],
) -> Dataset | IterableDataset:
    from datasets import ClassLabel, Features, Value, Video, load_dataset

    if shards:
        builder = "parquet" if shards[0].suffix == ".parquet" else "webdataset"
        # `datasets` takes names for patterns.
        data_files = {split: [glob.escape(str(each)) for each in shards]}
        dataset = load_dataset(builder, data_files=data_files, split=split, streaming=streaming, **options)
    elif path.exists() or source.startswith((".", "/")) or path.suffix or source.count("/") > 1:
        raise VideoDatasetError(f"{source}: no such folder or file, or nothing in it.")
    else:
        dataset = load_dataset(source, split=split, streaming=streaming, **options)
    columns = set(dataset.features or next(iter(dataset)))
    suffixes = sorted(suffix[1:] for suffix in VIDEO_SUFFIXES)
    video = next((name for name in ("video", *suffixes, "file") if name in columns), None)
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


__all__ = [
    "LabeledFile",
    "VideoDatasetError",
    "class_folders",
    "few_shot",
    "load_video_dataset",
    "read_list",
    "with_classes",
]
