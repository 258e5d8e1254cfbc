"""Video features on disk: each video is decoded and encoded once, for all label sets, texts, splits and later runs.

A store is a folder that `datasets.load_dataset` reads as it is::

    features.json    the header: which model, and how videos were read. A store takes features of nothing else
    data/*.parquet   finished shards; none is ever written again
    errors.jsonl     videos that could not be read, and why
    README.md        a card that names the shards

A shard appears whole or not at all, so a killed run leaves whole shards only and the next one goes on from them. A
video is known by its id and a signature of its file: a replaced file is encoded again, and its newest rows count.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hf_zsar.errors import sentence
from hf_zsar.files import append_line, check_folder, is_empty, remove_leftovers, write_json, write_text
from hf_zsar.markdown import code
from hf_zsar.modeling.modeling_zsar import ModelIdentity, VideoFeatures, ZSARPreTrainedModel, fingerprint_of
from hf_zsar.printing import printable
from hf_zsar.processing.text_files import decode, parse_json, read_json
from hf_zsar.processing.urls import redacted

from .shards import Row, ShardError, read_features, read_rows, write_shard


FORMAT = "hf_zsar/features/2"
HEADER, ERRORS, CARD, DATA = "features.json", "errors.jsonl", "README.md", "data"
_SAMPLE = 16384


class StoreError(ValueError):
    """A folder that is not a feature store, or one of another model or other frames."""


def file_signature(path: str | os.PathLike) -> str:
    """Size and a digest of the first, middle and last 16 KiB: notices a replaced file, cheap on a network disk. Empty
    for what cannot be read as a file, such as a URL."""
    found = hashlib.blake2b(digest_size=8)
    try:
        size = os.stat(path).st_size if os.path.isfile(path) else None
        if size is None:
            return ""
        with open(path, "rb") as file:
            for start in sorted({0, max(0, size // 2 - _SAMPLE // 2), max(0, size - _SAMPLE)}):
                file.seek(start)
                found.update(file.read(_SAMPLE))
    except OSError:  # said when the video is read
        return ""
    return f"{size}-{found.hexdigest()}"


def shown(text: str) -> str:
    """A name or message as a file may hold it: without secrets of URLs, bytes that are not text as escapes."""
    return printable(redacted(text))


@dataclass(frozen=True)
class VideoFile:
    """A video to encode: its name in the store, its path or URL, and the signature of the file, which begins with its
    size; `span` is where it lies in an archive, first byte and size."""

    id: str
    source: str
    signature: str = ""
    span: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """Bytes; 0 where that is not known."""
        return int(size) if (size := self.signature.partition("-")[0]).isdigit() else 0

    @property
    def key(self) -> str:
        """What the store knows the video by."""
        return self.row.key

    @property
    def row(self) -> Row:
        """The row of the whole video. What is secret in a URL is not written; a digest tells such URLs apart."""
        name = shown(self.id)
        if redacted(self.id) != self.id:
            name += f"#{fingerprint_of(self.id)[:8]}"
        return Row(name, shown(self.source), signature=self.signature)


@dataclass(frozen=True)
class Header:
    """What all features of a store have in common.

    Args:
        model: `identity`, and for people `id`, `revision`, `model_type`.
        encoding: how videos were read: settings of the video processor, number type, windows; JSON values.
    """

    model: Mapping[str, Any]
    encoding: Mapping[str, Any]
    format: str = FORMAT

    @property
    def fingerprint(self) -> str:
        """Digest of what decides the numbers."""
        return fingerprint_of(json.dumps([self.model["identity"], self.encoding], sort_keys=True))[:16]

    def difference(self, other: Header) -> str | None:
        """In words what another header has that this one has not."""
        if other.model["identity"] != self.model["identity"]:
            return f"it holds features of another model ({_name(other)}; this is {_name(self)})"
        ours, theirs = _flat(self.encoding), _flat(other.encoding)
        others = [name for name in {**theirs, **ours} if ours.get(name) != theirs.get(name)]
        shown = ", ".join(f"{name} {theirs.get(name)} instead of {ours.get(name)}" for name in others)
        return f"its videos were read in another way: {shown}" if others else None


class FeatureStore:
    """The features of videos, in one folder.

    Args:
        folder: of a store; see [`FeatureStore.open`] and [`FeatureStore.claim`].

    Attributes:
        header: which model, which frames.
        errors: videos that could not be read, and why; also those that could be later.
    """

    def __init__(self, folder: str | os.PathLike, header: Header) -> None:
        self.folder, self.header = Path(folder), header
        self._shards: dict[Path, list[Row]] = {}
        self._places: dict[tuple[str, str], tuple[Path, int]] = {}
        self._complete: set[str] = set()
        self._shapes: dict[str, list[int]] = {}
        self._kept: tuple[Path, VideoFeatures] | None = None
        self.errors = _read_errors(self.folder / ERRORS)

    @classmethod
    def open(cls, folder: str | os.PathLike) -> FeatureStore:
        """A store to read from, or to write to if it is ready.

        Raises:
            StoreError: the folder is not a store.
            FileNotFoundError: no such folder.
        """
        store = cls(folder, read_header(Path(folder)))
        store.refresh()
        return store

    @classmethod
    def claim(cls, folder: str | os.PathLike, header: Header) -> FeatureStore:
        """A store to write to: made if the folder is new or empty. One process calls this.

        Raises:
            StoreError: the folder holds something else, or features of another model or other frames.
            OSError: it cannot be written.
        """
        folder = Path(folder)
        if check_place(folder):
            found = read_header(folder)
            if difference := header.difference(found):
                raise StoreError(f"{folder} cannot be added to: {difference}. Choose another folder.")
        folder.mkdir(parents=True, exist_ok=True)
        for each in (folder, folder / DATA):
            remove_leftovers(each)
        if not (folder / HEADER).is_file():
            write_json(folder / HEADER, asdict(header))
        if not (folder / CARD).is_file():
            write_text(folder / CARD, _card(header))
        return cls.open(folder)

    def refresh(self) -> None:
        """Read again what is there. A shard that cannot be read is named in a warning and not used."""
        self._shards, self._places, self._complete = {}, {}, set()
        for path in shard_paths(self.folder):
            try:
                rows, about = read_rows(path)
                if about.get("fingerprint") != self.header.fingerprint:
                    raise ShardError(f"{path} is of another store")
                self._note(path, rows, about.get("complete", ()), about["shapes"])
            except ShardError as error:
                damage(error)

    def _note(self, path: Path, rows: list[Row], complete: Sequence[str], shapes: dict[str, list[int]]) -> None:
        self._shards[path] = rows
        self._places.update({(row.id, row.signature): (path, place) for place, row in enumerate(rows)})
        self._complete.update(complete)
        self._shapes = self._shapes or shapes

    def __contains__(self, video: VideoFile) -> bool:
        return video.key in self._complete

    def holds(self, row: Row) -> bool:
        """Whether a row is there, also of a video that was not finished."""
        return (row.id, row.signature) in self._places

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def rows(self) -> list[Row]:
        """What is in the store, in the order of writing; of a replaced file the newest rows only."""
        rows = [self._shards[path][place] for path, place in self._places.values()]
        newest = {row.video: row.signature for row in rows}
        return [row for row in rows if newest[row.video] == row.signature]

    def write(self, rows: Sequence[Row], features: VideoFeatures, complete: Sequence[Row | VideoFile]) -> None:
        """Add rows and their features (leading axis: the rows in order) as one shard.

        Args:
            complete: videos whose last row is among these.

        Raises:
            StoreError: tensors of other shapes than those in the store.
            OSError: no space, no right.
        """
        shapes = {name: list(tensor.shape[1:]) for name, tensor in features.items()}
        if self._shapes and shapes != self._shapes:
            raise StoreError(
                f"{rows[0].source} gives features of other shapes ({shapes}) than the store holds ({self._shapes}): "
                "fix num_frames and crop_size."
            )
        keys = [video.key for video in complete]
        folder = self.folder / DATA
        folder.mkdir(exist_ok=True)
        number = 1 + max((int(path.name[:6]) for path in folder.glob("[0-9]*.parquet")), default=0)
        # Several processes may take the same number, but none the same rows.
        path = folder / f"{number:06d}-{fingerprint_of([asdict(row) for row in rows])[:12]}.parquet"
        write_shard(path, rows, features, {"fingerprint": self.header.fingerprint, "complete": keys})
        self._note(path, list(rows), keys, shapes)

    def read(self, rows: Sequence[Row]) -> VideoFeatures:
        """The features of some rows, in order.

        Raises:
            KeyError: a row that is not in the store.
            ShardError: a damaged shard.
        """
        places = [self._places[row.id, row.signature] for row in rows]
        wanted: dict[Path, list[int]] = {}
        for position, (path, _) in enumerate(places):
            wanted.setdefault(path, []).append(position)
        parts = [self._load(path).select([places[p][1] for p in positions]) for path, positions in wanted.items()]
        order = [position for positions in wanted.values() for position in positions]
        back = sorted(range(len(order)), key=order.__getitem__)
        return VideoFeatures.cat(parts).select(back)

    def warnings_of(self, video: VideoFile) -> tuple[str, ...]:
        """What was wrong with a whole video that is in the store."""
        path, place = self._places[video.row.id, video.signature]
        return self._shards[path][place].warnings

    def _load(self, path: Path) -> VideoFeatures:
        if self._kept is None or self._kept[0] != path:
            self._kept = path, read_features(path)
        return self._kept[1]

    def batches(self, size: int) -> Iterator[tuple[list[Row], VideoFeatures]]:
        """All rows and their features, shard by shard, at most `size` at a time."""
        rows = self.rows
        for start in range(0, len(rows), size):
            yield rows[start : start + size], self.read(rows[start : start + size])

    def add_error(self, video: VideoFile, reason: str) -> None:
        """Note that a video could not be read. It is tried again by the next run."""
        line = {"id": video.row.id, "source": video.row.source, "error": shown(reason)}
        if line not in self.errors:
            self.errors.append(line)
            append_line(self.folder / ERRORS, json.dumps(line, ensure_ascii=False))

    def check_model(self, model: ZSARPreTrainedModel) -> None:
        """
        Raises:
            ValueError: the features come from another model, or what it scores with was not kept.
        """
        check_scorable(self.folder, self.header, model)


def shard_paths(folder: Path) -> list[Path]:
    """The shards of a store, in the order of writing."""
    return sorted((folder / DATA).glob("*.parquet"))


def damage(error: ShardError) -> None:
    """Say that a shard is not used."""
    warnings.warn(f"{error}; its videos are encoded again.", stacklevel=3)


def check_scorable(folder: Path, header: Header, model: ZSARPreTrainedModel) -> None:
    """
    Raises:
        ValueError: the features of a store come from another model, or what it scores with was not kept.
    """
    check_identity(model, header.model["identity"], f"The store {folder} (of {_name(header)})")
    kept = header.encoding.get("keeps")
    if kept is not None and (missing := set(model.score_inputs or ()) - set(kept)):
        raise StoreError(
            f"{folder} keeps {', '.join(kept)} alone, and {type(model).__name__} scores with "
            f"{', '.join(sorted(missing))}, too: embed the videos again without --pooled."
        )


def check_identity(model: ZSARPreTrainedModel, identity: str, what: str) -> None:
    """
    Raises:
        ValueError: `identity` is another model's; the message begins with `what`.
    """
    model.identity().check(ModelIdentity.parse(identity), what)


def check_place(folder: str | os.PathLike) -> bool:
    """Whether a folder is a store; else that one can be made there.

    Raises:
        StoreError: it holds something else.
        OSError: it cannot be written, or is not a folder.
    """
    folder = Path(folder)
    check_folder(folder)
    if (folder / HEADER).is_file():
        return True
    if folder.is_dir() and not is_empty(folder):
        raise StoreError(f"{folder} is not empty and no store of features: choose another folder.")
    return False


def read_header(folder: Path) -> Header:
    """What all features of a store have in common; errors as [`FeatureStore.open`]."""
    path = folder / HEADER
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder} (`hf-zsar embed --out` makes a store of features).")
    if not path.is_file():
        raise StoreError(f"{folder} is not a store of features: it has no {HEADER} (`hf-zsar embed --out` makes one).")
    try:
        value = read_json(path)
        header = Header(value["model"], value["encoding"], value["format"])
        header.model["identity"].strip()
        _flat(header.encoding), _flat(header.model)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} is not a header of a store of features ({sentence(error)}).") from error
    if header.format != FORMAT:
        raise StoreError(f"{path} has the format {header.format!r:.80}; this version reads {FORMAT!r}.")
    return header


def _read_errors(path: Path) -> list[dict[str, str]]:
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []  # what is behind was cut off by a kill
    try:
        errors = [parse_json(decode(line, str(path)), str(path)) for line in lines]
        if not all(isinstance(error, dict) and {"id", "source", "error"} <= error.keys() for error in errors):
            raise ValueError("a line is not a record")
        return errors
    except ValueError as error:
        raise StoreError(f"{path} is damaged ({error}): delete it.") from error


def _name(header: Header) -> str:
    name, revision = header.model.get("id"), header.model.get("revision")
    return f"{name or header.model.get('model_type')}{f' at {revision}' if revision else ''}"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value})
    return flat


def _card(header: Header) -> str:
    return _CARD.format(data=DATA, header=HEADER, errors=ERRORS, model=code(shown(_name(header))))


_CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: {data}/*.parquet
---

# Features of videos

Made by `hf-zsar embed` with the model {model}; `{header}` says exactly which, and how videos were read. One row is a
video, or a stretch of one from `start` to `end` seconds; the tensor columns are all that the model scores with. Where
an `id` stands twice, the last row counts. `{errors}` lists the videos that could not be read.

```python
from datasets import load_dataset

rows = load_dataset("path/of/this/folder", split="train")
```

Text finds videos in it with `hf-zsar search FOLDER "riding a bike"`.
"""
