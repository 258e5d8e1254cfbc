"""What reading a video gives, and what every reader can do; readers of frames that are decoded already."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch

from .limits import hold_to
from .video_sources import VideoReadError, check_clip
from .video_windows import sliding_windows


# Seconds by which a float may miss the time that it stands for.
FLOAT_SLACK = 1e-6


class TimedFrame(NamedTuple):
    """A frame as it is shown: when, its number in the video, and its picture, uint8 `[H, W, 3]`."""

    seconds: float
    index: int  # type: ignore[assignment]  # a tuple has a method of that name
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
        stride = window if stride is None else stride
        if not (0 < window < math.inf and 0 < stride < math.inf and num_frames > 0):
            raise ValueError(f"window, stride and num_frames must be positive, got {window}, {stride}, {num_frames}.")
        duration = self._known_duration()
        # Of a source without end only the windows that overlap count.
        span = window if duration is None else max(window, duration)
        count = span / stride
        count = count if count > 2**53 else math.ceil(count)
        hold_to("windows", count, f"{self.name}: windows of {window:g} s, every {stride:g} s", VideoReadError)

        def frames_at(times: Iterable[float]) -> Iterator[TimedFrame]:
            for number, frame in enumerate(self._frames_at(times)):
                if not number:  # overlapping windows hold, on average, half of their frames
                    overlap = max(1, math.ceil(min(window, span) / stride / 2))
                    check_clip(self.name, overlap * num_frames, frame.pixels.shape)
                yield frame

        parts = sliding_windows(frames_at, window, stride, num_frames, duration, self._ending)
        return (VideoWindow(start, end, self._clip(frames)) for start, end, frames in parts)

    def _known_duration(self) -> float | None:
        """The duration, or None when it shows only at the end."""
        return self.duration

    def _ending(self) -> tuple[float, TimedFrame]:
        """Of a video that showed its duration only at the end: the duration and the last frame."""
        raise NotImplementedError

    def _frames_at(self, times: Iterable[float]) -> Iterator[TimedFrame]:
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

    def _frames_at(self, times: Iterable[float]) -> Iterator[TimedFrame]:
        for time in times:
            index = self._number(time)
            yield TimedFrame(index / self._rate, index, self._frames[index].numpy())


class DecoderReader(VideoReader):
    """Frames of an open torchcodec `VideoDecoder`, or of anything with its `metadata` and `get_frames_played_at`."""

    def __init__(self, decoder: Any, name: str = "VideoDecoder") -> None:
        self.name = name
        self._decoder = decoder
        meta = decoder.metadata
        begin = getattr(meta, "begin_stream_seconds", None)
        end = getattr(meta, "end_stream_seconds", None)
        self._begin = float(begin or 0.0)
        length = float(end) - self._begin if end is not None else float(meta.duration_seconds)
        count = getattr(meta, "num_frames", None)
        fps = count / length if count and length > 0 else getattr(meta, "average_fps", None)
        self._info = VideoInfo(name, length, fps, count, meta.width, meta.height, codec=getattr(meta, "codec", None))

    @property
    def info(self) -> VideoInfo:
        return self._info

    @property
    def timestamps(self) -> np.ndarray:
        batch = self._call(self._decoder.get_frames_in_range, 0, self._info.num_frames)
        return np.asarray(batch.pts_seconds, dtype=np.float64) - self._begin

    def read_at(self, timestamps: Sequence[float], mode: str = "exact") -> VideoClip:
        last = self._begin + self._info.duration - 1e-4
        check_clip(self.name, len(timestamps), (self._info.height, self._info.width))
        seconds = [min(max(self._begin + float(time) + FLOAT_SLACK, self._begin), last) for time in timestamps]
        batch = self._call(self._decoder.get_frames_played_at, seconds)
        frames = batch.data if batch.data.shape[-1] == 3 else batch.data.permute(0, 2, 3, 1)
        times = [float(time) - self._begin for time in batch.pts_seconds]
        indices = [round(time * (self._info.fps or 1.0)) for time in times]
        return VideoClip(frames.cpu().contiguous(), times, indices, self._info)

    def read_indices(self, indices: Sequence[int]) -> VideoClip:
        check_clip(self.name, len(indices), (self._info.height, self._info.width))
        batch = self._call(self._decoder.get_frames_at, [int(index) for index in indices])
        frames = batch.data if batch.data.shape[-1] == 3 else batch.data.permute(0, 2, 3, 1)
        times = [float(time) - self._begin for time in batch.pts_seconds]
        return VideoClip(frames.cpu().contiguous(), times, [int(index) for index in indices], self._info)

    def iter_frames(self) -> Iterator[tuple[float, torch.Tensor]]:
        for index in range(self._info.num_frames or 0):
            clip = self.read_indices([index])
            yield clip.timestamps[0], clip.frames[0]

    def _frames_at(self, times: Iterable[float]) -> Iterator[TimedFrame]:
        for time in times:
            clip = self.read_at([time])
            yield TimedFrame(clip.timestamps[0], clip.indices[0], clip.frames[0].numpy())

    def _call(self, method: Any, *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except (RuntimeError, IndexError, ValueError) as error:
            raise VideoReadError(f"{self.name}: the decoder failed ({error}).") from error


__all__ = ["ArrayReader", "DecoderReader", "VideoClip", "VideoInfo", "VideoReader", "VideoWindow"]
