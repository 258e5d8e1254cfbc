"""The shards of a feature store: rows of videos or of stretches of them as Parquet, and back to tensors.

A tensor is a column of nested lists of fixed size, so that any reader of Parquet, `datasets.load_dataset` among them,
sees its numbers in its shape. Its type is the one that the model gave; only bfloat16, which Parquet does not have, is
written as float32, and turned back when it is read. So numbers come back to the bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hf_zsar.files import replacing
from hf_zsar.modeling.modeling_zsar import VideoFeatures
from hf_zsar.processing.text_files import decode, parse_json


if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_ABOUT = b"hf_zsar"
_STRETCH = "#t="
_MINE = ("id", "source", "start", "end", "signature", "warnings")


class ShardError(ValueError):
    """A file that is not a whole shard of this package."""


@dataclass(frozen=True)
class Row:
    """A video, or a stretch of one.

    Args:
        id: unique in the store.
        source: path, or URL without its secrets.
        start, end: seconds of a stretch; None for a whole video.
        signature: of the file, see `file_signature`; empty for a URL.
        warnings: what was wrong with a video that could be read in part.
    """

    id: str
    source: str
    start: float | None = None
    end: float | None = None
    signature: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def video(self) -> str:
        """The id of the video that this is a stretch of."""
        return _video(self.id, self.start)

    @property
    def key(self) -> str:
        """What the store knows the video by."""
        return f"{self.video}\t{self.signature}"

    def stretch(self, start: float, end: float) -> Row:
        """The row of a part of this video, named by a media fragment."""
        return replace(self, id=f"{self.id}{_STRETCH}{start:.3f},{end:.3f}", start=start, end=end)


def _video(name: str, start: float | None) -> str:
    return name if start is None else name.rpartition(_STRETCH)[0]


def write_shard(path: Path, rows: Sequence[Row], features: VideoFeatures, about: Mapping[str, Any]) -> None:
    """Write rows and their features (leading axis: the rows in order), whole or not at all.

    Args:
        about: JSON values that `read_rows` gives back.
    """
    import pyarrow.parquet as pq

    dtypes = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in features.items()}
    table = as_table(rows, features)
    table = table.replace_schema_metadata({_ABOUT: json.dumps({**about, "dtypes": dtypes})})
    with replacing(path) as temporary:
        packed = {name: "zstd" if name in _MINE else "none" for name in table.column_names}  # floats hardly shrink
        pq.write_table(table, temporary, use_dictionary=["source", "signature"], compression=packed)


def as_table(rows: Sequence[Row], features: VideoFeatures) -> pa.Table:
    """Rows and their features as columns."""
    import pyarrow as pa

    types = {"start": pa.float64(), "end": pa.float64(), "warnings": pa.list_(pa.string())}
    columns = {name: pa.array([getattr(row, name) for row in rows], types.get(name, pa.string())) for name in _MINE}
    return pa.table({**columns, **{name: _column(tensor) for name, tensor in features.items()}})


def rows_of(table: pa.Table) -> list[Row]:
    """The rows of a table; its tensors stay where they are."""
    columns = table.select(_MINE).to_pydict()
    return [Row(*(*most, tuple(last))) for *most, last in zip(*(columns[name] for name in _MINE), strict=True)]


def features_of(table: pa.Table, dtypes: Mapping[str, str]) -> VideoFeatures:
    """The tensors of a table, by name and type.

    Raises:
        KeyError, TypeError, AttributeError: no such column, or a type that is none.
    """
    return VideoFeatures(**{name: _tensor(table[name], _dtype(kind)) for name, kind in dtypes.items()})


def read_rows(path: Path) -> tuple[list[Row], dict[str, Any]]:
    """The rows of a shard without their features, and what was written about them.

    Raises:
        ShardError: the file is damaged or no shard.
    """
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            about = _about(file, path)
            rows = rows_of(file.read(list(_MINE)))
        _check_texts(*((row.id, row.source, row.signature) for row in rows))
        return rows, {**about, "shapes": _shapes(file.schema_arrow, about["dtypes"])}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:  # Arrow's errors are among them
        raise ShardError(f"{path} cannot be read as features of videos: {_first_line(error)}") from error


def read_features(path: Path) -> VideoFeatures:
    """All features of a shard; errors as [`read_part`]."""
    return read_part(path)[1]


def read_part(path: Path, tensors: Sequence[str] | None = None) -> tuple[pa.Table, VideoFeatures]:
    """What says what the rows of a shard are, and their features.

    Args:
        tensors: those that are read; None: all.

    Raises:
        ShardError: the file is damaged or no shard.
    """
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            dtypes = _about(file, path)["dtypes"]
            dtypes = dtypes if tensors is None else {name: dtypes[name] for name in tensors}
            table = file.read([*_MINE, *dtypes])
        return table.select(_MINE), features_of(table, dtypes)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RuntimeError) as error:
        raise ShardError(f"{path} cannot be read as features of videos: {_first_line(error)}") from error


def tensor_types(path: Path) -> dict[str, str]:
    """Name and type of the tensors in a shard; errors as [`read_part`]."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return _about(file, path)["dtypes"]


def read_keys(path: Path, fingerprint: str) -> np.ndarray:
    """int64 `[3, rows]`: what tells the rows, the videos and the signatures of a shard from others, in this process.

    Raises:
        ShardError: the file is damaged, no shard, or of a store with another fingerprint.
    """
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            about = _about(file, path)
            columns = file.read(["id", "start", "signature"]).to_pydict()
        if about.get("fingerprint") != fingerprint:
            raise ShardError("it is of another store")
        _check_texts(columns["id"], columns["signature"])
        ids, starts, signatures = columns.values()
        videos = ids if starts.count(None) == len(starts) else map(_video, ids, starts)
        names, videos, signs = (np.fromiter(map(hash, each), np.int64) for each in (ids, videos, signatures))
        return np.stack([names ^ (signs << 1), videos, signs])
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ShardError(f"{path} cannot be read as features of videos: {_first_line(error)}") from error


def _about(file: pq.ParquetFile, path: Path) -> dict[str, Any]:
    about = parse_json(decode(file.schema_arrow.metadata[_ABOUT], str(path)), str(path))
    _check_texts(about.get("complete", ()), about["dtypes"])
    about["dtypes"]["video_embeds"]  # of every model
    return about


def _check_texts(*columns: Any) -> None:
    if odd := [value for column in columns for value in column if not isinstance(value, str)]:
        raise TypeError(f"{odd[0]!r:.80} stands where a text is expected")


def _column(tensor: torch.Tensor) -> pa.Array:
    """`[rows, ...]` -> lists of fixed size, without copying more than the type asks for."""
    import pyarrow as pa

    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    column = pa.array(tensor.reshape(-1).numpy())
    for size in reversed(tensor.shape[1:]):
        # Numbers that may be missing cost half as much again to read.
        kind = pa.list_(pa.field("item", column.type, nullable=False), size)
        column = pa.FixedSizeListArray.from_arrays(column, type=kind)
    return column


def _tensor(column: pa.ChunkedArray, dtype: torch.dtype) -> torch.Tensor:
    array, shape = column.combine_chunks(), [len(column)]
    while hasattr(array.type, "list_size"):
        shape.append(array.type.list_size)
        array = array.flatten()
    return torch.from_numpy(array.to_numpy(zero_copy_only=False).copy()).to(dtype).reshape(shape)


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name)
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"{name} is not a type of numbers")
    return dtype


def _shapes(schema: pa.Schema, names: Sequence[str]) -> dict[str, list[int]]:
    shapes: dict[str, list[int]] = {}
    for name in names:
        kind = schema.field(name).type
        shapes[name] = []
        while hasattr(kind, "list_size"):
            shapes[name].append(kind.list_size)
            kind = kind.value_type
    return shapes


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
