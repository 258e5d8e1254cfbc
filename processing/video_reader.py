"""What reading a video gives, and what every reader can do; the reader of frames that are decoded already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import NamedTuple

import numpy as np
import torch

from .optional_parts import needed
from .video_sources import VideoReadError, check_clip


# Seconds by which a float may miss the time that it stands for.
FLOAT_SLACK = 1e-6


class TimedFrame(NamedTuple):
    """A frame as it is shown: when, its number in the video, and its picture, uint8 `[H, W, 3]`."""

    seconds: float
    index: int  # type: ignore[assignment]  # as of a tuple
    pixels: np.ndarray


@dataclass(frozen=True)
class VideoInfo:
    """What is known about a video.

    Attributes:
        name: the path, URL or kind of source, as messages call it.
        duration: seconds from the start of the first frame to the end of the last.
        fps: mean frame rate; None when frames came without times.
        num_frames: number of frames, None when unknown.
        width, height: of the frames handed out (square pixels, turned upright).
        rotation: counter-clockwise degrees by which the metadata turns the stored picture.
        codec, container: FFmpeg's names; None for frames that came decoded.
        exact: whether the frames were counted; else `num_frames` and frame numbers follow from header and mean rate.
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
    """Frames of one video.

    Attributes:
        frames: uint8 RGB `[T, H, W, 3]`.
        timestamps: of each, seconds from the video's first frame.
        indices: 0-based number of each in the video (see `VideoInfo.exact`).
        info: about the whole video.
    """

    frames: torch.Tensor
    timestamps: list[float]
    indices: list[int]
    info: VideoInfo

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True)
class VideoWindow:
    """A stretch of a video, `start` to `end` seconds, and the frames sampled from it."""

    start: float
    end: float
    clip: VideoClip


class VideoReader:
    """Frames by time or by number. Use it as a context manager.

    The frame at time t is the last frame shown at or before t, or the first frame; times count from the first frame.
    Every failure is a [`VideoReadError`]; damage that leaves some frames is one [`VideoReadWarning`] per reader.
    """

    name: str

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the decoder; safe to call twice."""

    @property
    def info(self) -> VideoInfo:
        """About the video; may decode the first frame."""
        raise NotImplementedError

    @property
    def duration(self) -> float:
        """Seconds from the start of the first frame to the end of the last. Damage found while reading shortens it."""
        return self.info.duration

    @property
    def fps(self) -> float | None:
        """Mean frame rate; None when frames came without times."""
        return self.info.fps

    @property
    def clock_tick(self) -> float:
        """Seconds by which the container may have rounded times."""
        return 0.0

    @property
    def timestamps(self) -> np.ndarray:
        """Time of every frame, float64 `[num_frames]`, ascending. May read through the file, without decoding."""
        raise NotImplementedError

    def read_at(self, timestamps: Sequence[float], mode: str = "exact") -> VideoClip:
        """The frames at `timestamps` (seconds), in the order asked for.

        Args:
            mode: `exact`, or `keyframe`: instead of each frame the nearest key frame, which decodes at once.
        """
        raise NotImplementedError

    def read_indices(self, indices: Sequence[int]) -> VideoClip:
        """The frames with these 0-based numbers, in the order asked for.

        Raises:
            VideoReadError: a number out of range.
        """
        times = self.timestamps
        wrong = [int(index) for index in indices if not 0 <= index < len(times)]
        if wrong:
            raise VideoReadError(f"{self.name}: no frame {wrong[0]}, there are {len(times)} frames.")
        clip = self.read_at([float(times[index]) for index in indices])
        return replace(clip, indices=[int(index) for index in indices])

    def iter_frames(self) -> Iterator[tuple[float, torch.Tensor]]:
        """Every frame once, in order: (seconds, uint8 `[H, W, 3]`)."""
        raise NotImplementedError

    def windows(self, window: float, stride: float | None = None, num_frames: int = 8) -> Iterator[VideoWindow]:
        """Stretches of `window` seconds, one every `stride` (default: `window`), in one pass over the video.

        Each is sampled at its `num_frames` segment centers. The last one ends with the video and is sampled within
        what it covers; that of a live source, whose end nobody knew, repeats the last frame instead. Memory holds the
        sampled frames of the windows that overlap, whatever the length of the video.

        Raises:
            ValueError: lengths or counts that are not positive.
        """
        windows = needed("video_windows", "windows of videos", VideoReadError)
        parts = windows.windows_of(self, window, window if stride is None else stride, num_frames)
        return (VideoWindow(start, end, self._clip(frames)) for start, end, frames in parts)

    def known_duration(self) -> float | None:
        """The duration, or None when it shows only at the end."""
        return self.duration

    def ending(self) -> tuple[float, TimedFrame]:
        """Of a video that showed its duration only at the end: the duration and the last frame."""
        raise NotImplementedError

    def frames_at(self, times: Iterable[float]) -> Iterator[TimedFrame]:
        """The frame at each of the ascending `times`."""
        raise NotImplementedError

    def _clip(self, frames: Sequence[TimedFrame]) -> VideoClip:
        shape = frames[0].pixels.shape
        check_clip(self.name, len(frames), shape)
        # One copy, without torch's thread pool, whose start costs more than the copy.
        pixels = np.empty((len(frames), *shape), dtype=np.uint8)
        for place, frame in zip(pixels, frames, strict=True):
            copy_picture(self.name, frame.pixels, place)
        return VideoClip(
            frames=torch.from_numpy(pixels),
            timestamps=[frame.seconds for frame in frames],
            indices=[frame.index for frame in frames],
            info=self.info,
        )


def copy_picture(name: str, picture: np.ndarray, place: np.ndarray) -> None:
    """Put a picture of the video `name` where one of the same size belongs.

    Raises:
        VideoReadError: it has another size.
    """
    if picture.shape != place.shape:
        raise VideoReadError(f"{name}: the picture size changes from {place.shape} to {picture.shape}.")
    place[...] = picture


class ArrayReader(VideoReader):
    """Frames `[T, H, W, 3]` uint8 that are there already. Without `fps` they count as one a second.

    A clip of all frames shares their memory.
    """

    def __init__(self, frames: torch.Tensor, name: str, fps: float | None = None) -> None:
        self.name = name
        self._frames = frames
        self._rate = fps or 1.0
        count, height, width, _ = frames.shape
        self._info = VideoInfo(name, count / self._rate, fps, count, width, height)

    @property
    def info(self) -> VideoInfo:
        return self._info

    @property
    def timestamps(self) -> np.ndarray:
        return np.arange(len(self._frames)) / self._rate

    def _number(self, time: float) -> int:
        return min(max(int((time + FLOAT_SLACK) * self._rate), 0), len(self._frames) - 1)

    def read_at(self, timestamps: Sequence[float], mode: str = "exact") -> VideoClip:
        indices = [self._number(float(time)) for time in timestamps]
        frames = self._frames
        if indices != list(range(len(frames))):
            check_clip(self.name, len(indices), frames.shape[1:])
            frames = torch.from_numpy(frames.numpy()[indices])
        return VideoClip(frames, [index / self._rate for index in indices], indices, self.info)

    def iter_frames(self) -> Iterator[tuple[float, torch.Tensor]]:
        for index, frame in enumerate(self._frames):
            yield index / self._rate, frame

    def frames_at(self, times: Iterable[float]) -> Iterator[TimedFrame]:
        for time in times:
            index = self._number(time)
            yield TimedFrame(index / self._rate, index, self._frames[index].numpy())
