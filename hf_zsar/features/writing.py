"""What was encoded -> shards of the store, as it comes, whichever engine it comes from."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType

from hf_zsar.modeling.modeling_zsar import VideoFeatures

from .shards import Row
from .store import FeatureStore, VideoFile


# A shard ends with the batch that reaches one of these: rows, bytes, seconds since the last one.
SHARD_ROWS, SHARD_BYTES, SHARD_SECONDS = 4096, 64 * 2**20, 20.0
REPORT_SECONDS = 30.0  # between lines about progress where there is no terminal

Say = Callable[[str], None]


@dataclass(frozen=True)
class Step:
    """What one forward pass gave.

    Args:
        rows: of the batch, in the order of `features`, which are None where there are none.
        complete: of the videos whose last row is now there.
        failed: videos that could not be encoded, and why.
    """

    rows: Sequence[Row] = ()
    features: VideoFeatures | None = None
    complete: Sequence[Row] = ()
    failed: Sequence[tuple[VideoFile, str]] = field(default=())


class Progress:
    """How many videos are done and how long the others will take: a bar on a terminal, else a line now and then."""

    def __init__(self, total: int, show: bool, say: Say | None = None) -> None:
        from tqdm import tqdm

        self.total, self.done = total, 0
        self.bar = tqdm(total=total, unit="video", desc="encoding", disable=None if show else True, leave=False)
        self.say = say if show and self.bar.disable else None
        self.started = self.last = time.monotonic()

    def update(self, count: int) -> None:
        """`count` more videos are done."""
        self.done += count
        self.bar.update(count)
        now = time.monotonic()
        if self.say is not None and self.done and now - self.last >= REPORT_SECONDS:
            self.last, rate = now, self.done / (now - self.started)
            left = (self.total - self.done) / rate
            self.say(f"{self.done:,} of {self.total:,} videos, {rate:.1f} a second, {left / 60:.0f} minutes to go")

    def close(self) -> None:
        """Take the bar away."""
        self.bar.close()


class ShardWriter:
    """Collects steps and writes shards as they fill. Leaving its context writes the rest, also after an error.

    Attributes:
        broken: ids of the videos that could not be encoded, and why.
    """

    def __init__(self, store: FeatureStore, say: Say | None = None, progress: Progress | None = None) -> None:
        self.store, self.say, self.progress = store, say, progress
        self.broken: list[tuple[str, str]] = []
        self._rows: list[Row] = []
        self._parts: list[VideoFeatures] = []
        self._complete: list[Row] = []
        self._since = time.monotonic()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.progress is not None:
            self.progress.close()
        if error is None:
            self.flush()
        else:
            with suppress(OSError):  # the first error is the one to tell
                self.flush()

    def add(self, step: Step) -> None:
        """Take what was encoded; write a shard if it is time to."""
        for video, reason in step.failed:
            self.broken.append((video.id, reason))
            self.store.add_error(video, reason)
            self._tell(f"error: {reason}")
        for row in step.rows:
            for note in row.warnings:
                self._tell(f"warning: {row.source}: {note}")
        self._rows += step.rows
        self._parts += [step.features] if step.features is not None else []
        self._complete += step.complete
        if self.progress is not None:
            self.progress.update(len(step.complete) + len(step.failed))
        size = sum(tensor.nbytes for part in self._parts for tensor in part.values())
        old = time.monotonic() - self._since > SHARD_SECONDS
        if old or len(self._rows) >= SHARD_ROWS or size >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        self._since = time.monotonic()
        if self._rows:
            self.store.write(self._rows, VideoFeatures.cat(self._parts), self._complete)
        self._rows, self._parts, self._complete = [], [], []

    def _tell(self, text: str) -> None:
        if self.say is not None:
            self.say(text)
