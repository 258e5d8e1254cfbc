"""One function for every engine: a batch of videos in, a batch of rows for the store out.

[`RowEncoder`] can be pickled, so it runs in this process, in `datasets.Dataset.map(..., batched=True)` and in the
actors of `ray.data.Dataset.map_batches`. It holds the model, not a name of it: a worker needs this package, and the
videos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from hf_zsar.modeling.modeling_zsar import VideoFeatures
from hf_zsar.processing.processing_zsar import ZSARProcessor

from .encoding import EncodingOptions, VideoEncoder, read_warnings
from .shards import as_table, features_of, rows_of
from .store import VideoFile
from .writing import Step


if TYPE_CHECKING:
    import pyarrow as pa


class RowEncoder:
    """`encode_rows(batch) -> batch`.

    Args:
        options: as for [`encode_videos`]; `batch_size` is that of the engine.

    In: a mapping of columns, or an Arrow table: `source` (see `sources`), and if there are such `id`, `signature`,
    and `first_byte` and `bytes` of a video that lies in an archive.

    Out, an Arrow table, whose types do not depend on what is in it: a row a video, or a window, with `id`, `source`,
    `start`, `end`, `signature`, `warnings` and the tensors that the store keeps; `complete`, true for the last row of
    a video; and `error`: why a video could not be encoded, in a row of its own, whose tensors hold NaN.
    """

    def __init__(self, model: PreTrainedModel, processor: ZSARProcessor, options: EncodingOptions) -> None:
        self.encoder = VideoEncoder(model.eval(), processor, options)
        self._shapes: dict[str, tuple[torch.Size, torch.dtype]] = {}

    def to(self, device: str | torch.device) -> RowEncoder:
        """Encode on another device."""
        self.encoder.model.to(device)
        return self

    def __call__(self, batch: Mapping[str, Sequence[Any]] | pa.Table) -> pa.Table:
        """See the class."""
        import pyarrow as pa

        columns = batch if isinstance(batch, Mapping) else batch.to_pydict()
        with read_warnings() as notes:
            steps = list(self.encoder.steps([videos_of(columns)], notes))
        parts = [step.features for step in steps if step.features is not None]
        if not self._shapes:
            features = parts[0] if parts else self._of_nothing()
            self._shapes = {name: (tensor.shape[1:], tensor.dtype) for name, tensor in features.items()}
        rows = [row for step in steps for row in step.rows]
        failed = [pair for step in steps for pair in step.failed]
        if failed:
            nan = {n: torch.full((len(failed), *s), float("nan"), dtype=kind) for n, (s, kind) in self._shapes.items()}
            parts.append(VideoFeatures(**nan))
        table = as_table([*rows, *(video.row for video, _ in failed)], VideoFeatures.cat(parts))
        last = {row.video: number for number, row in enumerate(rows)}
        ends = {last[row.video] for step in steps for row in step.complete if row.video in last}
        table = table.append_column("complete", pa.array([number in ends for number in range(len(table))], pa.bool_()))
        errors = [None] * len(rows) + [reason for _, reason in failed]
        return table.append_column("error", pa.array(errors, pa.string()))

    def _of_nothing(self) -> VideoFeatures:
        """Features of a black clip, for their shapes."""
        options = dict(self.encoder.options.video_options)
        options |= {"num_views": 1} if self.encoder.options.window is not None else {}
        frames = torch.zeros(64, 32, 32, 3, dtype=torch.uint8)
        return self.encoder.encode([self.encoder.read(frames, return_tensors="pt", **options)["pixel_values_videos"]])


def columns_of(videos: Sequence[VideoFile]) -> dict[str, list[Any]]:
    """Videos as the columns that a [`RowEncoder`] takes."""
    spans = [video.span or (None, None) for video in videos]
    return {
        **{name: [getattr(video, name) for video in videos] for name in ("id", "source", "signature")},
        **{name: [span[place] for span in spans] for place, name in enumerate(("first_byte", "bytes"))},
    }


def videos_of(columns: Mapping[str, Sequence[Any]]) -> list[VideoFile]:
    """The videos that columns name."""
    sources = list(columns["source"])
    nothing = [None] * len(sources)
    spans = zip(columns.get("first_byte", nothing), columns.get("bytes", nothing), strict=True)
    return [
        VideoFile(name, source, signature, None if span[0] is None else span)
        for name, source, signature, span in zip(
            columns.get("id", sources), sources, columns.get("signature", [""] * len(sources)), spans, strict=True
        )
    ]


def step_of(table: pa.Table, dtypes: Mapping[str, str], videos: Mapping[str, VideoFile]) -> Step:
    """What a [`RowEncoder`] gave -> what a store takes.

    Args:
        dtypes: of the tensors, by name.
        videos: by their keys.
    """
    rows, errors, ends = rows_of(table), table["error"].to_pylist(), table["complete"].to_pylist()
    failed = [(videos[row.key], error) for row, error in zip(rows, errors, strict=True) if error]
    good = [number for number, error in enumerate(errors) if not error]
    features = features_of(table.take(good), dtypes) if good else None
    return Step([rows[n] for n in good], features, [row for row, end in zip(rows, ends, strict=True) if end], failed)
