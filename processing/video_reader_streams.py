"""Videos that can be read only once: pipes, cameras, network streams. `windows()` reads them as they come."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch

from .video_clock import Clock
from .video_container import MediaFile
from .video_download import spool
from .video_reader import FLOAT_SLACK, TimedFrame, VideoClip, VideoInfo, VideoReader
from .video_reader_files import FileReader, MediaReader, open_file
from .video_seeking import Timed, sequential_at
from .video_sources import MediaSource, VideoReadError, VideoReadWarning, as_frames
from .video_timeline import JOIN_MARKS, Timeline


# Clock ticks in a second, for times given as numbers.
MICROSECOND = 10**6


class StreamReader(VideoReader):
    """An encoded video that comes once, such as a pipe.

    `windows()` and `iter_frames()` decode it as it comes. Everything else needs to go back and forth, and copies the
    stream into a temporary file first, up to `max_bytes`.
    """

    def __init__(self, source: MediaSource, max_bytes: int, thread_count: int | None, as_stored: bool) -> None:
        self.name = source.name
        self._source = source
        self._max_bytes = max_bytes
        self._settings = (thread_count, as_stored)
        self._live: LiveReader | None = None
        self._file: FileReader | None = None

    def close(self) -> None:
        for part in (self._live, self._file, self._source):
            if part is not None:
                part.close()

    def _whole(self) -> FileReader:
        if self._live is not None:
            raise VideoReadError(f"{self.name}: this stream was read already and cannot be read again.")
        if self._file is None:
            self._file = open_file(spool(self._source.file, self.name, self._max_bytes), *self._settings)
        return self._file

    def _passing(self) -> VideoReader:
        if self._file is not None:
            return self._file
        if self._live is not None:
            raise VideoReadError(f"{self.name}: this stream was read already and cannot be read again.")
        thread_count, as_stored = self._settings
        self._live = LiveReader(self._source, thread_count, as_stored)
        return self._live

    @property
    def info(self) -> VideoInfo:
        return self._whole().info

    @property
    def duration(self) -> float:
        return self._whole().duration

    @property
    def clock_tick(self) -> float:
        return self._whole().clock_tick

    @property
    def timestamps(self) -> np.ndarray:
        return self._whole().timestamps

    def read_at(self, timestamps: Sequence[float], mode: str = "exact") -> VideoClip:
        return self._whole().read_at(timestamps, mode)

    def iter_frames(self) -> Iterator[tuple[float, torch.Tensor]]:
        yield from self._passing().iter_frames()

    def windows(self, window: float, stride: float | None = None, num_frames: int = 8) -> Iterator[Any]:
        yield from self._passing().windows(window, stride, num_frames)


class CountedFile:
    """A binary file that only reads forward, and what was read of it.

    Attributes:
        taken: bytes read.
        ended: whether there were no more.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.taken, self.ended = 0, False

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.taken += len(data)
        self.ended = not data
        return data


class LiveReader(MediaReader):
    """Frames of an open stream, once and in order."""

    def __init__(self, source: MediaSource, thread_count: int | None, as_stored: bool) -> None:
        self._body = CountedFile(source.file)
        media = MediaFile(MediaSource(source.name, file=self._body), thread_count)
        super().__init__(media, as_stored)
        self._timeline = Timeline(0, 0, float(media.frame_step), None)
        self._last: Timed | None = None

    @property
    def info(self) -> VideoInfo:
        return self._info()

    def known_duration(self) -> None:
        return None

    def _frames(self) -> Iterator[Timed]:
        """The frames, while the timeline grows with them."""
        for tick, frame in self._media.frames():
            if self._last is None:
                self._timeline.first = tick
            self._timeline.end = tick + self._media.frame_step
            self._last = tick, frame
            if self._media.clock_jumps and not self._media.remarks:
                self._media.remark_jumps()
                self._warn()
            yield tick, frame
        if self._last is None:
            raise self._nothing()
        self._remark_rest()

    def _remark_rest(self) -> None:
        """Tell of what FFmpeg did not read of a stream, as where another video is joined to it."""
        taken, read = self._body.taken, self._media.place
        if not self._body.ended and self._body.read(1):
            self._media.remark(f"the stream goes on behind its first {taken:,} bytes, which is not looked at")
        elif self._media.format in JOIN_MARKS and taken - read > taken / 10 + 2048:
            self._media.remark(f"the last {taken - read:,} of {taken:,} bytes are not looked at")

    def ending(self) -> tuple[float, TimedFrame]:
        return self.duration, next(self._shown([self._last] if self._last else []))

    def iter_frames(self) -> Iterator[tuple[float, torch.Tensor]]:
        for frame in self._shown(self._frames()):
            yield frame.seconds, torch.from_numpy(np.ascontiguousarray(frame.pixels))
        self._warn()

    def frames_at(self, times: Iterable[float]) -> Iterator[TimedFrame]:
        # The first frame sets the clock, and `sequential_at` takes it before the first target.
        targets = (self._tick(time + self.clock_tick) for time in times)
        yield from self._shown(sequential_at(self._frames(), targets, last_length=self._media.frame_step))
        self._warn()


class IteratorReader(VideoReader):
    """Frames out of an iterator, such as a camera loop: pictures at a constant `fps`, or (seconds, picture) pairs."""

    def __init__(self, frames: Iterator[Any], fps: float | None = None, name: str = "iterator of frames") -> None:
        self.name = name
        self._source = frames
        self._rate = fps or 1.0
        self._declared = fps
        self._end = 0.0
        self._shape = (0, 0)
        self._last: TimedFrame | None = None
        self._warned = False

    @property
    def info(self) -> VideoInfo:
        height, width = self._shape
        return VideoInfo(self.name, self._end, self._declared, None, width, height, exact=False)

    def known_duration(self) -> None:
        return None

    def read_at(self, timestamps: Sequence[float], mode: str = "exact") -> VideoClip:
        raise VideoReadError(f"{self.name}: it can be read once and in order only, by windows() or iter_frames().")

    @property
    def timestamps(self) -> np.ndarray:
        return np.asarray(self.read_at([]).timestamps)  # which refuses, as there is no way back

    def iter_frames(self) -> Iterator[tuple[float, torch.Tensor]]:
        clock = Clock(MICROSECOND)
        start: int | None = None
        length = MICROSECOND / self._rate
        for number, item in enumerate(self._source):
            time, picture = item if isinstance(item, tuple) else (number / self._rate, item)
            frames = cast(torch.Tensor, as_frames([picture]))
            if not math.isfinite(time):
                raise VideoReadError(f"{self.name}: {time} is not a time.")
            ticks, _ = clock.place(round(time * MICROSECOND), None, length, True)
            start = ticks if start is None else start
            seconds = (ticks - start) / MICROSECOND
            if clock.jumps and not self._warned:
                self._warned = True
                what = "the clock starts anew or jumps; the parts are shown one after the other"
                warnings.warn(f"{self.name}: {what}.", VideoReadWarning, stacklevel=2)
            self._shape = (frames.shape[1], frames.shape[2])
            self._end = seconds + 1 / self._rate
            yield seconds, frames[0]

    def frames_at(self, times: Iterable[float]) -> Iterator[TimedFrame]:
        numbered = enumerate(self.iter_frames())
        frames = (TimedFrame(time, number, picture.numpy()) for number, (time, picture) in numbered)
        self._last = next(frames, None)
        if self._last is None:
            raise VideoReadError(f"{self.name}: no frames.")
        ahead = next(frames, None)
        for time in times:
            while ahead is not None and ahead.seconds <= time + FLOAT_SLACK:
                self._last, ahead = ahead, next(frames, None)
            if ahead is None and time >= self._end:
                return
            yield self._last

    def ending(self) -> tuple[float, TimedFrame]:
        return self._end, cast(TimedFrame, self._last)  # a window is open
