"""Segments from a store of windows: the videos are not looked at again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hf_zsar.features.asking import StoreReader
from hf_zsar.features.shards import Row, rows_of
from hf_zsar.features.store import StoreError
from hf_zsar.modeling.modeling_zsar import VideoFeatures

from .encoding import Stretch
from .finding import Search, batches


def stored_segments(
    store: StoreReader, pipe: Any, candidate_labels: Sequence[str] | None = None, batch_size: int = 256, **options: Any
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """As [`find_segments`], for each video of a store that was embedded in windows. These are the one scale that there
    is; cuts between shots are not known.

    Args:
        options: as there, but for `window`, `stride`, `scales` and `num_frames`, which the store says.

    Yields:
        the source of a video, and its segments.

    Raises:
        StoreError: a store without windows.
        ValueError: as there, or the features come from another model.
    """
    encoding = store.header.encoding
    if "window" not in encoding:
        raise StoreError(
            f"{store.folder} has a row for a whole video: embed the videos again with --window and --stride."
        )
    store.check_model(pipe.model)
    windows = {"window": encoding["window"], "stride": encoding["stride"], "scales": (1,)}
    search = Search(pipe, candidate_labels, **windows, **options)
    for rows, features in _videos(store):
        cells = _cells(rows)
        features = features.to(pipe.model.device, pipe.model.dtype)
        encoded = (
            (cells[some[0] : some[-1] + 1], features.select(some))
            for some in batches(iter(range(len(rows))), batch_size)
        )
        found = search.segments(encoded)
        yield rows[0].source, sorted(found, key=lambda each: (each["start"], each["end"]))


def _videos(store: StoreReader) -> Iterator[tuple[list[Row], VideoFeatures]]:
    """The rows of each video by time, as soon as all of them were read."""
    names, counts = np.unique(store.videos[store.counts], return_counts=True)
    missing = dict(zip(names.tolist(), counts.tolist(), strict=True))
    waiting: dict[int, list[tuple[Row, VideoFeatures]]] = defaultdict(list)
    for part in store.parts():
        for place, (number, row) in enumerate(zip(part.numbers, rows_of(part.table), strict=True)):
            video = int(store.videos[number])
            waiting[video].append((row, part.features.select(place)))
            missing[video] -= 1
            if not missing[video]:
                pairs = sorted(waiting.pop(video), key=lambda pair: pair[0].start or 0.0)
                yield [row for row, _ in pairs], VideoFeatures.cat([features for _, features in pairs])


def _cells(rows: Sequence[Row]) -> list[Stretch]:
    """What each window stands for: the time that is nearer to its middle than to that of another."""
    starts, ends = (np.array([getattr(row, name) for row in rows]) for name in ("start", "end"))
    middles = (starts + ends) / 2
    edges = [starts[0], *(middles[1:] + middles[:-1]) / 2, ends[-1]]
    return [Stretch(float(start), float(end), 0, []) for start, end in zip(edges[:-1], edges[1:], strict=True)]
