"""Which frames of a video to look at: pure functions, by time (seconds) or by 0-based frame index.

Samplers by time need only a duration and suit any video, also with a variable frame rate. Samplers by index follow the
official data pipelines of the methods, which count frames, and reproduce their index tables exactly.

Every sampler has the form `sampler(length, num_frames, num_views=1, **options) -> array [V, T]`, `length` being the
duration in seconds or the number of frames. `SAMPLERS` names them, so that a config can. Random ones take an explicit
`generator` (a numpy or torch generator, or a seed) and draw from nothing else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .limits import hold_to
from .official_samplers import official_samplers
from .random_draws import Generator, numpy_generator


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


_BY_TIME = (
    Sampler("uniform", "seconds", uniform),
    Sampler("tsn_random", "seconds", tsn_random),
    Sampler("dense", "seconds", dense),
    Sampler("fps", "seconds", at_fps),
)
_BY_FRAME = (Sampler(function.__name__, "frames", function) for function in official_samplers())
SAMPLERS: dict[str, Sampler] = {sampler.name: sampler for sampler in (*_BY_TIME, *_BY_FRAME)}


def get_sampler(name: str) -> Sampler:
    """The sampler called `name`.

    Raises:
        ValueError: no such sampler; the message lists them.
    """
    if name not in SAMPLERS:
        raise ValueError(f"Unknown sampling {name!r}; known: {', '.join(SAMPLERS)}.")
    return SAMPLERS[name]


__all__ = ["SAMPLERS", "Sampler", "get_sampler", "numpy_generator"]
