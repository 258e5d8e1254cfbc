"""A store to ask, shard by shard: memory is that of a shard or two, however many rows there are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from hf_zsar.modeling.modeling_zsar import VideoFeatures
from hf_zsar.processing.prefetching import prefetch

from .shards import Row, ShardError, read_keys, read_part, rows_of
from .store import StoreError, check_scorable, damage, read_header, shard_paths


if TYPE_CHECKING:
    import pyarrow as pa

    from hf_zsar.modeling.modeling_zsar import ZSARPreTrainedModel


@dataclass(frozen=True)
class Part:
    """Rows of one shard that count.

    Args:
        numbers: of the rows, `[n]`, in the order of writing; those that do not count are counted, too.
        table: `id`, `source`, `start`, `end` and so on.
        features: `[n, ...]`.
    """

    numbers: np.ndarray
    table: pa.Table
    features: VideoFeatures


class StoreReader:
    """The rows of a store that count: of a file that was replaced, or encoded twice, the newest only.

    Raises:
        StoreError, FileNotFoundError: as [`FeatureStore.open`]; a store without rows.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)
        self.header = read_header(self.folder)
        self.paths: list[Path] = []
        self._keys: list[np.ndarray] = []
        for path in shard_paths(self.folder):
            try:
                self._keys.append(read_keys(path, self.header.fingerprint))
                self.paths.append(path)
            except ShardError as error:
                damage(error)
        if not self.paths:
            raise StoreError(f"{self.folder} holds no video.")

    @cached_property
    def counts(self) -> np.ndarray:
        """`[rows]`, whether each counts."""
        ids, videos, signatures = self._rows
        last = np.zeros(len(ids), bool)
        last[_last_of(ids)] = True
        newest = _last_of(videos)
        which = np.searchsorted(videos[newest], videos)  # `newest` is in the order of its keys
        return last & (signatures == signatures[newest][which])

    @property
    def _rows(self) -> np.ndarray:
        return np.concatenate(self._keys, axis=1)

    @property
    def videos(self) -> np.ndarray:
        """`[rows]`, a number for each that is the same for all stretches of a video."""
        return self._rows[1]

    @cached_property
    def starts(self) -> np.ndarray:
        """`[shards + 1]`, the number of the first row of each shard, and of all rows."""
        return np.cumsum([0, *(keys.shape[1] for keys in self._keys)])

    def __len__(self) -> int:
        return int(self.counts.sum())

    def check_model(self, model: ZSARPreTrainedModel) -> None:
        """
        Raises:
            ValueError: the features come from another model, or what it scores with was not kept.
        """
        check_scorable(self.folder, self.header, model)

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[Part]:
        """All rows, shard by shard; the next shard is read while one is looked at.

        Args:
            columns: tensors that are read; None: all.

        Raises:
            ShardError: a damaged shard.
        """

        def load(number: int) -> Part:
            table, features = read_part(self.paths[number], columns)
            numbers = np.arange(self.starts[number], self.starts[number + 1])
            kept = self.counts[numbers]
            if kept.all():
                return Part(numbers, table, features)
            return Part(numbers[kept], table.filter(kept), features.map(lambda tensor: tensor[torch.from_numpy(kept)]))

        yield from prefetch(load, range(len(self.paths)), workers=1)

    def rows(self, numbers: Sequence[int]) -> list[Row]:
        """Rows by their numbers.

        Raises:
            ShardError: a damaged shard.
        """
        found: dict[int, Row] = {}
        shards = np.searchsorted(self.starts, numbers, side="right") - 1
        for shard in set(shards.tolist()):
            here = [number for number, place in zip(numbers, shards, strict=True) if place == shard]
            table = read_part(self.paths[shard], ())[0].take([number - self.starts[shard] for number in here])
            found.update(zip(here, rows_of(table), strict=True))
        return [found[number] for number in numbers]


def _last_of(keys: np.ndarray) -> np.ndarray:
    """Places of the last of each key, in the order of the keys."""
    _, from_behind = np.unique(keys[::-1], return_index=True)
    return len(keys) - 1 - from_behind
