"""Samplers by frame index, which reproduce the index tables of official data pipelines exactly: pure functions.

An export with code carries them where its processor is set to one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .random_draws import Generator, numpy_generator


def _one_view(name: str, num_views: int) -> None:
    if num_views != 1:
        raise ValueError(f"Sampler {name!r} gives one view, not {num_views}; use uniform, dense or bike_uniform.")


# By index: ActionCLIP ------------------------------------------------------------------------------------------------


def actionclip(total: int, num_frames: int, num_views: int = 1) -> np.ndarray:
    """ActionCLIP's evaluation sampler (card of ActionCLIP, S1); one view."""
    _one_view("actionclip", num_views)
    steps = np.arange(num_frames)
    if num_frames == 1:
        return np.array([[total // 2]])
    if total <= num_frames:
        return (steps * total // num_frames)[None]
    return ((2 * steps * total + total - num_frames) // (2 * num_frames))[None]


def actionclip_train(
    total: int, num_frames: int, num_views: int = 1, generator: Generator | None = None
) -> np.ndarray:
    """ActionCLIP's training sampler (card of ActionCLIP, S1): one random frame per segment; a video with no more
    frames than asked for gives all of them and random repeats, sorted."""
    _one_view("actionclip_train", num_views)
    random = numpy_generator(generator)
    if total <= num_frames:
        extra = random.integers(0, total, size=num_frames - total)
        return np.sort(np.concatenate([np.arange(total), extra]))[None]
    ticks = np.arange(num_frames + 1) * total // num_frames
    return (ticks[:-1] + random.integers(0, np.diff(ticks), size=num_frames))[None]


def mmaction(total: int, num_frames: int, num_views: int = 1) -> np.ndarray:
    """mmaction2's evaluation sampler, one clip: floor of the segment center (card of ActionCLIP, S1)."""
    _one_view("mmaction", num_views)
    return ((2 * np.arange(num_frames) + 1) * total // (2 * num_frames))[None]


# By index: BIKE, which DA-STI follows (card of DA-STI, S7) -----------------------------------------------------------

BIKE_WINDOW = 128


def bike(total: int, num_frames: int, num_views: int = 1) -> np.ndarray:
    """BIKE's single-clip evaluation sampler: the start of each segment."""
    _one_view("bike", num_views)
    return _bike_clip(0, total, num_frames)[None]


def bike_uniform(total: int, num_frames: int, num_views: int = 1, bike_compat: bool = False) -> np.ndarray:
    """BIKE's multi-clip test sampler: clips shifted inside the first segment.

    For videos with fewer frames than asked for, the official start can be -1, which wraps around to the last frame;
    only `bike_compat` reproduces that.
    """
    if num_views == 1:
        return _bike_clip(0, total, num_frames)[None]
    starts = np.floor(np.linspace(0, total / num_frames - 1, num_views)).astype(int)
    if not bike_compat:
        starts = np.maximum(starts, 0)
    return np.stack([_bike_clip(start, total, num_frames) for start in starts])


def _bike_clip(start: int, total: int, num_frames: int) -> np.ndarray:
    # Truncation towards zero before the wrap-around, in floating point, as the official code does.
    return np.trunc(start + total / num_frames * np.arange(num_frames)).astype(int) % total


def bike_dense(total: int, num_frames: int, num_views: int = 1) -> np.ndarray:
    """BIKE's dense test sampler: clips over a window of 128 frames, wrapping around the end of short videos.

    One clip starts at 0 (the official code divides by zero there).
    """
    shift = max(0, total - BIKE_WINDOW) // (num_views - 1) if num_views > 1 else 0
    starts = np.arange(num_views)[:, None] * shift
    return (starts + BIKE_WINDOW // num_frames * np.arange(num_frames)) % total


def bike_train(total: int, num_frames: int, num_views: int = 1, generator: Generator | None = None) -> np.ndarray:
    """BIKE's training sampler: a random frame of each segment, segment borders belonging to both sides."""
    _one_view("bike_train", num_views)
    borders = np.round((total - 1) / num_frames * np.arange(num_frames + 1)).astype(int)
    return numpy_generator(generator).integers(borders[:-1], borders[1:], endpoint=True)[None]


def bike_dense_train(
    total: int, num_frames: int, num_views: int = 1, generator: Generator | None = None
) -> np.ndarray:
    """BIKE's dense training sampler: one window of 128 frames with a random start."""
    _one_view("bike_dense_train", num_views)
    start = numpy_generator(generator).integers(0, max(1, total - BIKE_WINDOW))
    return ((start + BIKE_WINDOW // num_frames * np.arange(num_frames)) % total)[None]


# By index: SlowFast, which STDD follows (card of STDD, S1) -----------------------------------------------------------


def slowfast(
    total: int,
    num_frames: int,
    num_views: int = 1,
    fps: float = 30.0,
    sampling_rate: int = 16,
    target_fps: float = 30.0,
) -> np.ndarray:
    """SlowFast's test sampler: `num_views` clips starting at i/V of the spare frames; one view starts at frame 0."""
    spare = max(total - _slowfast_window(num_frames, fps, sampling_rate, target_fps), 0)
    starts = [spare * view / num_views for view in range(num_views)]
    return np.stack([_slowfast_clip(start, total, num_frames, fps, sampling_rate, target_fps) for start in starts])


def slowfast_train(
    total: int,
    num_frames: int,
    num_views: int = 1,
    fps: float = 30.0,
    sampling_rate: int = 16,
    target_fps: float = 30.0,
    generator: Generator | None = None,
) -> np.ndarray:
    """SlowFast's training sampler: clips with a start drawn uniformly from the spare frames."""
    spare = max(total - _slowfast_window(num_frames, fps, sampling_rate, target_fps), 0)
    starts = numpy_generator(generator).random(num_views) * spare
    return np.stack([_slowfast_clip(start, total, num_frames, fps, sampling_rate, target_fps) for start in starts])


def _slowfast_window(num_frames: int, fps: float, sampling_rate: int, target_fps: float) -> int:
    return max(1, math.ceil(sampling_rate * (num_frames - 1) / target_fps * fps))


def _slowfast_clip(
    start: float, total: int, num_frames: int, fps: float, sampling_rate: int, target_fps: float
) -> np.ndarray:
    end = start + _slowfast_window(num_frames, fps, sampling_rate, target_fps) - 1
    span = max(1.0, sampling_rate * num_frames / target_fps * fps)
    first = math.ceil(start)
    # The official decoder keeps one frame past the end of the clip.
    last = min(total - 1, math.floor(end) + 1)
    steps = np.arange(num_frames) * (span - 1) / max(num_frames - 1, 1)
    return first + np.minimum(max(last - first, 0), np.floor(steps).astype(int))


# By index: E2E, which ResT's 3D preset follows (card of ResT, S7) ----------------------------------------------------


def consecutive(total: int, num_frames: int, num_views: int = 1) -> np.ndarray:
    """Windows of consecutive frames, window j starting at j * max(total // V, 1); past the end, the last frame."""
    starts = np.arange(num_views)[:, None] * max(total // num_views, 1)
    return np.minimum(starts + np.arange(num_frames), total - 1)


def official_samplers() -> tuple[Callable[..., np.ndarray], ...]:
    """All of them."""
    return (
        actionclip,
        actionclip_train,
        mmaction,
        bike,
        bike_uniform,
        bike_dense,
        bike_train,
        bike_dense_train,
        slowfast,
        slowfast_train,
        consecutive,
    )
