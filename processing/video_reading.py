"""Reading frames of a video at given times, whatever form the video comes in.

`open_video(source)` gives a [`VideoReader`]. The frame at time t is the last frame whose presentation time is not after
t (the first frame if there is none); times are in seconds and count from the first frame.
"""

from __future__ import annotations

import bisect
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np
import torch

from .video_decoding import MediaFile, quarter_turns, square_size
from .video_sources import VideoReadError, VideoReadWarning, as_frames, media_source, source_name


@dataclass(frozen=True)
class VideoInfo:
    """What is known about a video.

    Attributes:
        duration: seconds from the start of the first frame to the end of the last.
        fps: mean frame rate; None when unknown (arrays, single pictures).
        num_frames: number of frames, None when it is not known without decoding.
        width, height: of the frames handed out (square pixels, after rotation).
        rotation: counter-clockwise degrees that were applied.
        exact: whether duration and count come from the frames themselves rather than from a header.
    """

    name: str
    duration: float
    fps: float | None
    num_frames: int | None
    width: int
    height: int
    rotation: int = 0
    codec: str | None = None
    container: str | None = None
    exact: bool = True


@dataclass(frozen=True)
class VideoClip:
    """Frames of one video: `frames` uint8 `[T, H, W, 3]`, `timestamps` `[T]` in seconds, `indices` `[T]`."""

    frames: torch.Tensor
    timestamps: list[float]
    indices: list[int]
    info: VideoInfo

    def __len__(self) -> int:
        return len(self.frames)


class VideoReader:
    """Frames by time or by index. Use it as a context manager.

    Every failure is a [`VideoReadError`]; damage that leaves some frames is one [`VideoReadWarning`].
    """

    info: VideoInfo

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the decoder; safe to call twice."""

    @property
    def timestamps(self) -> np.ndarray:
        """Presentation time of every frame, in seconds from the first, ascending."""
        raise NotImplementedError

    def read_at(self, timestamps: Sequence[float]) -> VideoClip:
        """The frames at `timestamps` (seconds), in the order asked for."""
        raise NotImplementedError

    def read_indices(self, indices: Sequence[int]) -> VideoClip:
        """The frames with these 0-based numbers, in the order asked for.

        Raises:
            VideoReadError: a number out of range.
        """
        times = self.timestamps
        wrong = [int(index) for index in indices if not 0 <= index < len(times)]
        if wrong:
            raise VideoReadError(f"{self.info.name}: no frame {wrong[0]}, there are {len(times)}.")
        clip = self.read_at([float(times[index]) for index in indices])
        return replace(clip, indices=[int(index) for index in indices])

    def iter_frames(self) -> Iterator[tuple[float, torch.Tensor]]:
        """Every frame once: (seconds, uint8 `[H, W, 3]`)."""
        raise NotImplementedError


class ArrayReader(VideoReader):
    """Frames that are decoded already. Without `fps` they count as one frame a second."""

    def __init__(self, frames: torch.Tensor, name: str, fps: float | None = None) -> None:
        self._frames = frames
        self._fps = fps or 1.0
        count, height, width, _ = frames.shape
        self.info = VideoInfo(name, count / self._fps, fps, count, width, height)

    @property
    def timestamps(self) -> np.ndarray:
        return np.arange(len(self._frames)) / self._fps

    def read_at(self, timestamps: Sequence[float]) -> VideoClip:
        last = len(self._frames) - 1
        indices = [min(max(int(time * self._fps + 1e-6), 0), last) for time in timestamps]
        return VideoClip(self._frames[indices], [index / self._fps for index in indices], indices, self.info)

    def iter_frames(self) -> Iterator[tuple[float, torch.Tensor]]:
        for index, frame in enumerate(self._frames):
            yield index / self._fps, frame


class FileReader(VideoReader):
    """Frames of an encoded video."""

    def __init__(self, media: MediaFile) -> None:
        self._media = media
        self._warned = False
        self._times = self._scan()
        self.info = self._describe()

    def close(self) -> None:
        self._media.close()
        self._media.source.close()

    def _scan(self) -> list[int]:
        media = self._media
        times = sorted(
            packet.pts if packet.pts is not None else packet.dts or 0
            for packet in media.packets()
            if not packet.is_discard
        )
        if not times:
            raise VideoReadError(f"{media.name}: the video stream holds no data.")
        return times

    def _describe(self) -> VideoInfo:
        media, times = self._media, self._times
        media.rewind()
        first = next(media.frames(), None)
        if first is None:
            raise VideoReadError(
                f"{media.name}: no frame can be decoded ({'; '.join(media.damage[:1]) or 'no data'})."
            )
        rotation = quarter_turns(first[1].rotation) * 90
        width, height = square_size(first[1].width, first[1].height, media.stream.sample_aspect_ratio)
        self._first = first[0]
        duration = float((times[-1] - first[0] + media.frame_step) * media.time_base)
        return VideoInfo(
            name=media.name,
            duration=duration,
            fps=len(times) / duration,
            num_frames=len(times),
            width=height if rotation % 180 else width,
            height=width if rotation % 180 else height,
            rotation=rotation,
            codec=media.codec.name,
            container=media.container.format.name,
        )

    @property
    def timestamps(self) -> np.ndarray:
        return np.array([float((time - self._first) * self._media.time_base) for time in self._times])

    def _ticks(self, seconds: float) -> int:
        return self._first + int(seconds / self._media.time_base + 1e-3)

    def read_at(self, timestamps: Sequence[float]) -> VideoClip:
        targets = [self._ticks(float(time)) for time in timestamps]
        found: dict[int, tuple[int, torch.Tensor]] = {}
        wanted = sorted(set(targets))
        self._media.rewind()
        for target, (time, frame) in zip(wanted, self._at(wanted), strict=True):
            known = found.get(time)
            found[target] = known or (time, torch.from_numpy(np.ascontiguousarray(self._media.pixels(frame))))
        self._warn()
        picked = [found[target] for target in targets]
        return VideoClip(
            frames=torch.stack([frame for _, frame in picked]),
            timestamps=[float((time - self._first) * self._media.time_base) for time, _ in picked],
            indices=[max(0, bisect.bisect_right(self._times, time) - 1) for time, _ in picked],
            info=self.info,
        )

    def _at(self, targets: Sequence[int]) -> Iterator[tuple[int, Any]]:
        waiting = list(targets)
        previous = None
        for time, frame in self._media.frames():
            while waiting and previous is not None and time > waiting[0]:
                waiting.pop(0)
                yield previous
            if not waiting:
                return
            previous = (time, frame)
        if previous is None:
            raise VideoReadError(f"{self.info.name}: no frame can be decoded.")
        for _ in waiting:
            yield previous

    def iter_frames(self) -> Iterator[tuple[float, torch.Tensor]]:
        self._media.rewind()
        for time, frame in self._media.frames():
            yield (
                float((time - self._first) * self._media.time_base),
                torch.from_numpy(np.ascontiguousarray(self._media.pixels(frame))),
            )
        self._warn()

    def _warn(self) -> None:
        if self._media.damage and not self._warned:
            self._warned = True
            what = self._media.damage[0]
            warnings.warn(f"{self.info.name}: {what}; the readable frames were used.", VideoReadWarning, stacklevel=3)


def open_video(source: Any, *, thread_count: int | None = None, fps: float | None = None) -> VideoReader:
    """Open a video for reading frames.

    Args:
        source: path, bytes, binary file object, `{"path", "bytes"}`, array or tensor `[T, H, W, 3]` or
            `[T, 3, H, W]` (uint8, or float in 0..1), list of PIL pictures.
        thread_count: codec threads; default: up to 4, and 1 in worker processes.
        fps: frame rate of frames that come without one (arrays, lists).

    Raises:
        VideoReadError: the message names the source and what is wrong with it.
    """
    if isinstance(source, VideoReader):
        return source
    media = media_source(source)
    if media is not None:
        return FileReader(MediaFile(media, thread_count))
    frames = as_frames(source)
    if frames is None:
        raise VideoReadError(f"{source_name(source)}: not a form of video that can be read ({type(source).__name__}).")
    return ArrayReader(frames, source_name(source), fps)


__all__ = ["VideoClip", "VideoInfo", "VideoReadError", "VideoReadWarning", "VideoReader", "open_video"]
