"""Which frames of a video to look at: pure functions, by time (seconds) or by 0-based frame index.

Samplers by time need only a duration and suit any video, also with a variable frame rate. Samplers by index follow the
official data pipelines of the methods, which count frames, and reproduce their index tables exactly.

Every sampler has the form `sampler(length, num_frames, num_views=1, **options) -> array [V, T]`, `length` being the
duration in seconds or the number of frames. `SAMPLERS` names them, so that a config can. Random ones take an explicit
`generator` (a numpy or torch generator, or a seed) and draw from nothing else.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .limits import hold_to


Generator = np.random.Generator | torch.Generator | int


def numpy_generator(generator: Generator | None) -> Any:
    """`generator` as something with numpy's `integers` and `random`; a torch generator advances by one draw.

    Raises:
        ValueError: None, since a random sampler never falls back on a hidden global state.
    """
    if generator is None:
        raise ValueError("A random sampler needs generator=: a numpy or torch generator, or a seed.")
    if isinstance(generator, torch.Generator):
        generator = int(torch.randint(2**62, (), generator=generator))
    return np.random.default_rng(generator) if isinstance(generator, int) else generator


# By time -------------------------------------------------------------------------------------------------------------


def uniform(duration: float, num_frames: int, num_views: int = 1) -> np.ndarray:
    """Centers of `num_frames` equal segments, in seconds.

    View v of V stands at (v + 1/2) / V of each segment, so that the views interleave and mirror each other in time.
    """
    places = (np.arange(num_views)[:, None] + 0.5) / num_views
    return (np.arange(num_frames)[None] + places) * (duration / num_frames)


def tsn_random(duration: float, num_frames: int, num_views: int = 1, generator: Generator | None = None) -> np.ndarray:
    """One time drawn uniformly inside each of `num_frames` equal segments (TSN, arXiv 1608.00859), in seconds."""
    offsets = numpy_generator(generator).random((num_views, num_frames))
    return (np.arange(num_frames)[None] + offsets) * (duration / num_frames)


def dense(duration: float, num_frames: int, num_views: int = 1, clip_seconds: float = 2.56) -> np.ndarray:
    """`num_views` clips of `clip_seconds`, evenly spread, each sampled at its own segment centers, in seconds.

    A clip longer than the video is the video.
    """
    length = min(clip_seconds, duration)
    starts = (np.arange(num_views)[:, None] + 0.5) / num_views * (duration - length)
    return starts + uniform(length, num_frames)


def at_fps(
    duration: float, num_frames: int, num_views: int = 1, fps: float = 1.0, max_frames: int = 256
) -> np.ndarray:
    """Segment centers, as many as `fps` frames a second give (1 to `max_frames`); `num_frames` is not used."""
    count = max(1, round(min(duration * fps, max_frames)))
    hold_to("clip_frames", count * num_views, f"{fps:g} frames a second of {duration:,.1f} s, frames")
    return uniform(duration, count, num_views)


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


# Registry ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sampler:
    """A sampler and what it counts in: `seconds` or `frames`."""

    name: str
    unit: str
    function: Callable[..., np.ndarray]

    @property
    def options(self) -> tuple[str, ...]:
        """Keyword options beyond length, number of frames and number of views."""
        return tuple(inspect.signature(self.function).parameters)[3:]

    @property
    def is_random(self) -> bool:
        return "generator" in self.options

    def __call__(self, length: float, num_frames: int, num_views: int = 1, **options: Any) -> np.ndarray:
        """Times or indices `[V, T]`.

        Raises:
            ValueError: an empty video, a count below one, an unknown option, or a random sampler without a generator.
        """
        if not length > 0:
            raise ValueError(f"Sampler {self.name!r} needs a video with a length above 0, got {length}.")
        if num_frames < 1 or num_views < 1:
            raise ValueError(f"num_frames and num_views must be at least 1, got {num_frames} and {num_views}.")
        hold_to("clip_frames", num_frames * num_views, f"{num_views} views of {num_frames} frames, frames in all")
        unknown = sorted(set(options) - set(self.options))
        if unknown:
            known = ", ".join(self.options) or "none"
            raise ValueError(f"Sampler {self.name!r} has no option {', '.join(unknown)}; it takes: {known}.")
        return self.function(length, num_frames, num_views, **options)


def _one_view(name: str, num_views: int) -> None:
    if num_views != 1:
        raise ValueError(f"Sampler {name!r} gives one view, not {num_views}; use uniform, dense or bike_uniform.")


SAMPLERS: dict[str, Sampler] = {
    sampler.name: sampler
    for sampler in (
        Sampler("uniform", "seconds", uniform),
        Sampler("tsn_random", "seconds", tsn_random),
        Sampler("dense", "seconds", dense),
        Sampler("fps", "seconds", at_fps),
        Sampler("actionclip", "frames", actionclip),
        Sampler("actionclip_train", "frames", actionclip_train),
        Sampler("mmaction", "frames", mmaction),
        Sampler("bike", "frames", bike),
        Sampler("bike_uniform", "frames", bike_uniform),
        Sampler("bike_dense", "frames", bike_dense),
        Sampler("bike_train", "frames", bike_train),
        Sampler("bike_dense_train", "frames", bike_dense_train),
        Sampler("slowfast", "frames", slowfast),
        Sampler("slowfast_train", "frames", slowfast_train),
        Sampler("consecutive", "frames", consecutive),
    )
}


def get_sampler(name: str) -> Sampler:
    """The sampler called `name`.

    Raises:
        ValueError: no such sampler; the message lists them.
    """
    if name not in SAMPLERS:
        raise ValueError(f"Unknown sampling {name!r}; known: {', '.join(SAMPLERS)}.")
    return SAMPLERS[name]


__all__ = ["SAMPLERS", "Sampler", "get_sampler", "numpy_generator"]
