"""Sliding windows over a video in one pass: the frame times they need, in order, and the answers put together."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import torch

from .limits import hold_to
from .video_processing_zsar import ZSARVideoProcessor, read_options
from .video_reader import TimedFrame, VideoReader
from .video_reading import open_video
from .video_sources import VideoReadError, check_clip


Frame = TypeVar("Frame")
# Two times closer than this, in seconds, are the same.
SAME_TIME = 1e-6


def window_bounds(window: float, stride: float, duration: float | None) -> Iterator[tuple[float, float]]:
    """(start, end) in seconds of each window; without a `duration` they never end.

    A window starts every `stride` until one reaches the end of the video; the last is cut there.
    """
    number = 0
    while True:
        start = number * stride
        if duration is not None and number and not _is_needed(start, window, stride, duration):
            return
        yield start, start + window if duration is None else min(start + window, duration)
        number += 1


def _is_needed(start: float, window: float, stride: float, duration: float) -> bool:
    """Whether a window after the first shows anything that those before it did not."""
    return start < duration - SAME_TIME and start - stride + window < duration - SAME_TIME


def sampling_order(bounds: Iterable[tuple[float, float]], num_frames: int) -> Iterator[tuple[float, int]]:
    """(time, window number) of every segment center of every window, ascending in time.

    A window is looked at only when its turn comes, so `bounds` may be endless.
    """
    heap: list[tuple[float, int]] = []
    windows = enumerate(bounds)
    upcoming = next(windows, None)
    while heap or upcoming is not None:
        while upcoming is not None and (not heap or upcoming[1][0] <= heap[0][0]):
            number, (start, end) = upcoming
            for place in range(num_frames):
                heapq.heappush(heap, (start + (place + 0.5) * (end - start) / num_frames, number))
            upcoming = next(windows, None)
        yield heapq.heappop(heap)


def sliding_windows(
    frames_at: Callable[[Iterable[float]], Iterator[Frame]],
    window: float,
    stride: float,
    num_frames: int,
    duration: float | None,
    ending: Callable[[], tuple[float, Frame]],
) -> Iterator[tuple[float, float, list[Frame]]]:
    """(start, end, frames) of each window. Those that the end of a live source cuts short repeat its last frame.

    Args:
        frames_at: gives the frame at each of the ascending times; may stop early when `duration` is None.
        duration: seconds, None while nobody knows.
        ending: asked after an early stop: where the video ended, and its last frame.
    """
    asked: deque[tuple[float, int]] = deque()

    def times() -> Iterator[float]:
        for time, number in sampling_order(window_bounds(window, stride, duration), num_frames):
            asked.append((time, number))
            yield time

    open_windows: dict[int, list[Frame]] = {}
    for frame in frames_at(times()):
        time, number = asked.popleft()
        open_windows.setdefault(number, []).append(frame)
        for number in list(open_windows):
            start = number * stride
            end = start + window if duration is None else min(start + window, duration)
            # A live source must have reached the end of a window before that is known to be whole.
            if len(open_windows[number]) == num_frames and (duration is not None or time >= end):
                yield start, end, open_windows.pop(number)
    if duration is None:
        end, last = ending()
        numbers = {*open_windows, *(number for _, number in asked)}
        for number in sorted(numbers):
            start, frames = number * stride, open_windows.get(number, [])
            if number == 0 or _is_needed(start, window, stride, end):
                yield start, min(start + window, end), frames + [last] * (num_frames - len(frames))


def windows_of(
    reader: VideoReader, window: float, stride: float, num_frames: int
) -> Iterator[tuple[float, float, list[TimedFrame]]]:
    """(start, end, frames) of each window of a video; see [`VideoReader.windows`]."""
    if not (0 < window < math.inf and 0 < stride < math.inf and num_frames > 0):
        raise ValueError(f"window, stride and num_frames must be positive, got {window}, {stride}, {num_frames}.")
    duration = reader.known_duration()
    # Of a source without end only the windows that overlap count.
    span = window if duration is None else max(window, duration)
    count = span / stride
    count = count if count > 2**53 else math.ceil(count)
    hold_to("windows", count, f"{reader.name}: windows of {window:g} s, every {stride:g} s", VideoReadError)

    def frames_at(times: Iterable[float]) -> Iterator[TimedFrame]:
        for number, shown in enumerate(reader.frames_at(times)):
            if not number:  # overlapping windows hold, on average, half of their frames
                overlap = max(1, math.ceil(min(window, span) / stride / 2))
                check_clip(reader.name, overlap * num_frames, shown.pixels.shape)
            yield shown

    return sliding_windows(frames_at, window, stride, num_frames, duration, reader.ending)


def pixel_windows(
    processor: ZSARVideoProcessor, source: Any, window: float, stride: float | None, live: bool = False, **options: Any
) -> Iterator[tuple[float, float, torch.Tensor]]:
    """See `ZSARVideoProcessor.iter_windows`."""
    if idle := [name for name in ("sampling", "num_views", "fps") if options.get(name) is not None]:
        raise ValueError(f"{idle[0]} changes nothing with windows: their frames are taken at segment centers.")
    known = {**processor.all_options(options), "num_views": 1, "do_sample_frames": True}
    return _pixel_windows(processor, source, window, stride, bool(live), known)


def _pixel_windows(
    processor: ZSARVideoProcessor,
    source: Any,
    window: float,
    stride: float | None,
    live: bool,
    options: Mapping[str, Any],
) -> Iterator[tuple[float, float, torch.Tensor]]:
    with open_video(source, live=live, **read_options(options)) as reader:
        for part in reader.windows(window, stride, options["num_frames"]):
            yield part.start, part.end, processor.pixels(part.clip, options)
