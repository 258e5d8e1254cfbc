"""Text-to-video retrieval: the features of many videos, ranked by any text."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch

from .features.asking import StoreReader
from .features.shards import Row
from .features.store import FeatureStore, Header, StoreError, VideoFile, check_identity
from .files import replacing, replacing_folder
from .modeling.modeling_zsar import LabelBank, VideoFeatures


# Rows that are written at once.
ROWS_AT_ONCE = 16384
_ABOUT_ROWS = ["id", "source", "start", "end"]

if TYPE_CHECKING:
    import pyarrow as pa

    from .features.shortlist import Shortlist
    from .modeling.modeling_zsar import ZSARPreTrainedModel


@dataclass(frozen=True)
class VideoIndex:
    """Features of N videos in memory, ready to be scored against any text. A store too large for that is scored by
    [`search_store`].

    Args:
        videos: their N paths or names.
        features: what the model scores with; every tensor has the videos as its first axis.
        fingerprint: `str(model.identity())` of the model that made them.
    """

    videos: tuple[str, ...]
    features: VideoFeatures
    fingerprint: str

    def __post_init__(self) -> None:
        rows = len(self.features.video_embeds)
        if rows != len(self.videos):
            raise ValueError(f"{rows} rows of features for {len(self.videos)} videos: an index needs one row each.")

    def __len__(self) -> int:
        return len(self.videos)

    def search(self, model: ZSARPreTrainedModel, bank: LabelBank, batch_size: int = 64) -> torch.Tensor:
        """Score every video against every text of a bank, each text by itself.

        Args:
            bank: the texts, `model.build_label_bank(processor, texts)`.
            batch_size: videos scored at once.

        Returns:
            Logits `[K, N]`, float32 on the CPU: comparable along a row (one text, all videos).

        Raises:
            ValueError: the features come from another model.
        """
        check_identity(model, self.fingerprint, "The index of videos")
        starts = range(0, len(self), batch_size)
        return _logits(model, bank, (self.features.select(slice(start, start + batch_size)) for start in starts))

    def save(self, folder: str | os.PathLike) -> None:
        """Write a feature store, whole or not at all; an older store of that name is replaced.

        Raises:
            OSError: it cannot be written, or something else has its name.
        """
        overwrite = os.path.isfile(os.path.join(folder, "features.json"))
        with replacing_folder(folder, overwrite) as temporary:
            store = FeatureStore.claim(temporary, Header({"identity": self.fingerprint}, {}))
            videos = [VideoFile(name, name) for name in self.videos]
            store.write([video.row for video in videos], self.features, videos)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> VideoIndex:
        """Read a feature store: what `hf-zsar embed --out` or [`~VideoIndex.save`] wrote.

        Raises:
            FileNotFoundError: no such folder.
            ValueError: the folder is not a store, or is damaged, or empty.
        """
        store = FeatureStore.open(folder)
        rows = store.rows
        if not rows:
            raise StoreError(f"{folder} holds no video.")
        return cls(tuple(row.id for row in rows), store.read(rows), store.header.model["identity"])


@dataclass(frozen=True)
class Found:
    """A row of a store and its logit for a text."""

    row: Row
    score: float


def search_store(
    store: StoreReader,
    model: ZSARPreTrainedModel,
    bank: LabelBank,
    top_k: int = 5,
    shortlist: Shortlist | None = None,
) -> list[list[Found]]:
    """For each text of a bank, by itself, the rows that fit best: exact scores, in memory that does not grow with the
    store.

    Args:
        shortlist: candidates by `video_embeds`, of which alone the scores are computed.

    Raises:
        ValueError: the features come from another model, or what it scores with was not kept.
    """
    store.check_model(model)
    found = []
    if shortlist is not None:
        for number in range(len(bank)):
            text = bank.select([number])
            candidates, features = shortlist.candidates(text[model.query_embeds])
            logits = _logits(model, text, [features])
            found.append(_best(logits, torch.from_numpy(candidates)[None], top_k))
    else:
        best = torch.full((len(bank), 0), 0.0), torch.zeros(len(bank), 0, dtype=torch.long)
        for part in store.parts(needed_tensors(store, model)):
            logits = _logits(model, bank, [part.features])
            numbers = torch.from_numpy(part.numbers).expand(len(bank), -1)
            best = _best(torch.cat([best[0], logits], dim=1), torch.cat([best[1], numbers], dim=1), top_k)
        found = [(scores[None], numbers[None]) for scores, numbers in zip(*best, strict=True)]
    return [
        [Found(*pair) for pair in zip(store.rows(numbers[0].tolist()), scores[0].tolist(), strict=True)]
        for scores, numbers in found
    ]


def needed_tensors(store: StoreReader, model: ZSARPreTrainedModel) -> list[str] | None:
    """The tensors of a store that a model scores with; None: all."""
    return None if model.score_inputs is None else ["video_embeds", *model.score_inputs]


def _best(scores: torch.Tensor, numbers: torch.Tensor, top_k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest of each row, `[K, <= top_k]`; of equals the first."""
    order = scores.argsort(dim=1, descending=True, stable=True)[:, :top_k]
    return scores.gather(1, order), numbers.gather(1, order)


@torch.inference_mode()
def label_store(
    store: StoreReader,
    model: ZSARPreTrainedModel,
    bank: LabelBank,
    path: str | os.PathLike,
    top_k: int | None = None,
) -> int:
    """Score every row of a store against all labels of a bank: a Parquet table with `id`, `source`, `start`, `end`,
    `label` and `score` (the best), and a column of probabilities for each label. Whole or not at all, and in memory
    that does not grow with the store.

    Args:
        top_k: instead of a column for each label, two of lists: `labels`, the best of the row, and `scores`.

    Returns:
        the number of rows.

    Raises:
        ValueError: as [`search_store`]; labels called as one of the other columns.
        OSError: the table cannot be written.
    """
    import pyarrow.parquet as pq

    store.check_model(model)
    if top_k is None and (taken := set(bank.labels) & {*_ABOUT_ROWS, "label", "score"}):
        raise ValueError(f"a label cannot be called {sorted(taken)[0]!r}, as a column of the table is.")
    scored, rows = _scored(store, model, bank.to(model.device)), 0
    tables = (_with_scores(table, scores, bank.labels, top_k) for table, scores in scored)
    with replacing(path) as temporary, ExitStack() as stack:
        writer = None
        for table in _joined(tables, ROWS_AT_ONCE):
            writer = writer or stack.enter_context(
                pq.ParquetWriter(
                    temporary, table.schema, compression="none", use_dictionary=["label"], write_statistics=False
                )
            )
            writer.write_table(table)
            rows += len(table)
    return rows


def _scored(
    store: StoreReader, model: ZSARPreTrainedModel, bank: LabelBank
) -> Iterator[tuple[pa.Table, torch.Tensor]]:
    """What the rows are, and their probabilities `[n, K]`, part by part."""
    identity = model.identity()
    temperature = bank.calibration.temperature if "calibration" in bank.metadata else 1.0
    for part in store.parts(needed_tensors(store, model)):
        logits = model.score(part.features.to(model.device, model.dtype), bank, identity)
        yield part.table.select(_ABOUT_ROWS), logits.div_(temperature).softmax(dim=-1).cpu()


def _joined(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Small tables joined to larger ones, which cost less to write."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    for table in chain(tables, [None]):
        if waiting and (table is None or sum(map(len, waiting)) + len(table) > rows):
            yield pa.concat_tables(waiting)
            waiting = []
        waiting += [table] if table is not None else []


def _with_scores(table: pa.Table, scores: torch.Tensor, labels: Sequence[str], top_k: int | None) -> pa.Table:
    import pyarrow as pa

    def add(name: str, values: Any) -> None:
        nonlocal table
        # Numbers that may be missing cost more to write.
        table = table.append_column(pa.field(name, values.type, nullable=False), values)

    names = pa.array(labels, pa.string())
    best, order = scores.topk(min(top_k, len(labels)), dim=1) if top_k else scores.max(dim=1, keepdim=True)
    add("label", names.take(pa.array(order[:, 0].numpy())))
    add("score", pa.array(best[:, 0].numpy()))
    if top_k is None:
        for name, column in zip(labels, scores.T.contiguous().numpy(), strict=True):
            add(name, pa.array(column))
    else:
        for name, values in {
            "labels": names.take(pa.array(order.flatten().numpy())),
            "scores": best.flatten(),
        }.items():
            values = values if isinstance(values, pa.Array) else pa.array(values.numpy())
            add(name, pa.FixedSizeListArray.from_arrays(values, best.shape[1]))
    return table


@torch.inference_mode()
def _logits(model: ZSARPreTrainedModel, bank: LabelBank, batches: Iterable[VideoFeatures]) -> torch.Tensor:
    # A method may score a label by its share among all that are asked for; here each is asked for by itself.
    texts = [bank.select([row]).to(model.device) for row in range(len(bank))]
    identity, parts = model.identity(), []
    for features in batches:
        features = features.to(model.device, model.dtype)
        parts.append(torch.cat([model.score(features, text, identity).float().cpu() for text in texts], dim=1))
    return torch.cat(parts).T if parts else torch.zeros(len(bank), 0)
