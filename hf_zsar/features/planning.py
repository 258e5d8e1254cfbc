"""What encoding an archive will take, from some of its videos: hours, bytes, machines."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from .encoding import VideoEncoder, batches_of, read_warnings
from .shards import as_table
from .store import VideoFile


SAMPLE = 20  # videos


@dataclass(frozen=True)
class Plan:
    """
    Args:
        videos: in all.
        measured: that were encoded for this, the broken ones among them.
        broken: of these, that could not be read.
        seconds: for all, on this machine as it is now.
        bytes: of the store.
        rows: of the store.
    """

    videos: int
    measured: int
    broken: int
    seconds: float
    bytes: int
    rows: int

    def machines(self, hours: float) -> int:
        """Machines like this one that are done within so many hours."""
        return max(1, math.ceil(self.seconds / 3600 / hours))

    def __str__(self) -> str:
        each, hours = self.seconds / self.videos, self.seconds / 3600
        return (
            f"{self.videos:,} videos, of which {self.measured} were measured ({self.broken} broken): "
            f"{hours:,.2f} hours on this machine ({each:.3f} s a video), "
            f"{self.rows:,} rows, {self.bytes / 1e9:,.3f} GB in the store ({self.bytes / self.videos / 1e3:.2f} KB a "
            f"video); {self.machines(24)} such machines for a day, {self.machines(24 * 7)} for a week"
        )


def plan_for(encoder: VideoEncoder, videos: Sequence[VideoFile]) -> Plan:
    """Encode [`SAMPLE`] videos, evenly spread over the list, and say what all will take. By size where that is known,
    else by number. Nothing is written.

    Raises:
        ValueError: none of them can be read.
    """
    count = min(SAMPLE, len(videos))
    sample = [videos[(2 * number + 1) * len(videos) // (2 * count)] for number in range(count)]
    started, rows, size, broken = time.monotonic(), 0, 0, 0
    with read_warnings() as notes:
        for step in encoder.steps(batches_of(sample, encoder.options.batch_size), notes):
            broken += len(step.failed)
            if step.features is not None:
                rows, size = rows + len(step.rows), size + as_table(step.rows, step.features).nbytes
    if broken == count:
        raise ValueError(f"none of the {count} videos that were tried can be read, {sample[0].row.source} for one.")
    sizes = [video.size for video in videos]
    known = all(sizes)
    factor = sum(sizes) / sum(video.size for video in sample) if known else len(videos) / count
    seconds = (time.monotonic() - started) * factor
    return Plan(len(videos), count, broken, seconds, round(size * factor), round(rows * factor))
