"""Candidates for a search in large stores: the rows whose `video_embeds` are nearest to a text, by FAISS.

What they score is computed as everywhere else, so only what is left out here can be missed. The index lies beside the
shards and is made again when there are others.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hf_zsar.files import replacing
from hf_zsar.modeling.modeling_zsar import VideoFeatures, fingerprint_of

from .asking import StoreReader
from .shards import features_of, tensor_types
from .store import StoreError


CANDIDATES = 1000
# Rows of a cell of the index, how many cells are looked at, and how many rows teach the index its cells.
CELL_ROWS, PROBES, TRAINING_ROWS = 1024, 32, 100_000
_COLUMN = "video_embeds"


@dataclass(frozen=True)
class Shortlist:
    """The index of a store.

    Args:
        store: whose rows are searched.
        rows: the same rows as a `datasets.Dataset` with the index.
        tables: as Arrow tables, without it, which would be copied at every change of format.
        dtypes: of the tensors.
    """

    store: StoreReader
    rows: Any
    tables: Any
    dtypes: dict[str, str]

    @classmethod
    def of(cls, store: StoreReader) -> Shortlist:
        """The index that lies beside a store, made if there is none.

        Raises:
            ImportError: faiss is missing.
            OSError: it cannot be written.
        """
        import faiss
        from datasets import load_dataset

        rows = load_dataset("parquet", data_files=[os.fspath(path) for path in store.paths], split="train")
        tables = rows.with_format("arrow")
        path = store.folder / f"index-{fingerprint_of([path.name for path in store.paths])[:16]}.faiss"
        if not path.is_file():
            for old in store.folder.glob("index-*.faiss"):
                old.unlink()
            cells = max(1, len(rows) // CELL_ROWS)
            rows.add_faiss_index(
                _COLUMN,
                string_factory=f"IVF{cells},SQfp16" if cells > 1 else "Flat",
                metric_type=faiss.METRIC_INNER_PRODUCT,
                train_size=TRAINING_ROWS if cells > 1 else None,
            )
            with replacing(path) as temporary:
                rows.save_faiss_index(_COLUMN, temporary)
        else:
            rows.load_faiss_index(_COLUMN, path)
        return cls(store, rows, tables, tensor_types(store.paths[0]))

    def candidates(self, text: torch.Tensor, count: int = CANDIDATES) -> tuple[np.ndarray, VideoFeatures]:
        """The rows nearest to a text, `[n]` with `n <= count`, and their features.

        Args:
            text: `[1, dim]`, in the space of `video_embeds`.

        Raises:
            StoreError: another size of vectors, so no common space.
        """
        index = self.rows.get_index(_COLUMN).faiss_index
        if text.shape[-1] != index.d:
            raise StoreError("Texts and videos of this method have no common space: leave out the shortlist.")
        if hasattr(index, "nprobe"):
            index.nprobe = PROBES
        found = self.rows.search(_COLUMN, text[0].float().cpu().numpy(), k=min(count, len(self.rows))).indices
        numbers = np.sort([number for number in found if number >= 0 and self.store.counts[number]]).astype(np.int64)
        return numbers, features_of(self.tables[numbers], self.dtypes)
