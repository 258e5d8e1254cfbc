"""Frames -> scores of stretches of a video at several scales, each frame decoded, normalized and encoded once.

A model whose clip feature is a mean of frame features gives each frame its feature once, and a window is a mean of
those. Of any other model (temporal heads, STDD, encoders of whole clips) each window at each scale is a forward pass.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Frame:
    """A sampled frame, for the time that it stands for; `value` is what its encoder keeps of it."""

    start: float
    end: float
    shot: int
    value: torch.Tensor


@dataclass(frozen=True)
class Stretch:
    """A part of a video within one shot, and for each scale the frames around it in that shot."""

    start: float
    end: float
    shot: int
    windows: list[list[torch.Tensor]]


class FrameUse(Protocol):
    """What is kept of frames, and how windows of them become features."""

    def keep(self, pixels: torch.Tensor) -> torch.Tensor:
        """Frames `[N, 3, H, W]` -> what is kept of each, `[N, ...]`."""

    def features(self, windows: Sequence[Sequence[torch.Tensor]]) -> Any:
        """Windows of what was kept -> `VideoFeatures`, a row each."""


class MeanOfFrames:
    """For a model whose feature of a clip is the mean of those of its frames, normalized before that or not."""

    def __init__(self, pipe: Any, normalized: bool) -> None:
        self.pipe, self.normalized = pipe, normalized

    def keep(self, pixels: torch.Tensor) -> torch.Tensor:
        self._kind = self.pipe.encode_videos(pixels[:, None])
        rows = self._kind.frame_embeds[:, 0, 0].float()
        return F.normalize(rows, dim=-1) if self.normalized else rows

    def features(self, windows: Sequence[Sequence[torch.Tensor]]) -> Any:
        means = torch.stack([torch.stack(list(window)).mean(dim=0) for window in windows])
        given = {"video_embeds": F.normalize(means, dim=-1), "view_embeds": means[:, None]}
        given["frame_embeds"] = means[:, None, None]
        return type(self._kind)(**{name: given[name] for name in self._kind})


class WholeClips:
    """For any other model: pixels are kept, and each window is a clip of `num_frames` of them."""

    def __init__(self, pipe: Any, num_frames: int) -> None:
        self.pipe, self.num_frames = pipe, num_frames

    def keep(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels

    def features(self, windows: Sequence[Sequence[torch.Tensor]]) -> Any:
        clips = [torch.stack([window[place] for place in self._places(len(window))]) for window in windows]
        return self.pipe.encode_videos(torch.stack(clips))

    def _places(self, count: int) -> list[int]:
        """Which of `count` frames lie at the centers of `num_frames` equal segments."""
        return [int((place + 0.5) * count / self.num_frames) for place in range(self.num_frames)]


def frame_use(pipe: Any, num_frames: int, like: torch.Tensor, score: Callable[[Any], torch.Tensor]) -> FrameUse:
    """How windows of frames are encoded with the model of a pipeline.

    Which model pools frames is not asked but tried, so that it holds for a method of anybody: two frames, encoded
    together and one by one, must get the same scores, up to what its number type rounds.

    Args:
        like: pixels `[..., 3, H, W]` of the size that is going to come.
        score: features -> logits.
    """
    noise = torch.randn((2, *like.shape[-3:]), generator=torch.Generator().manual_seed(0))
    noise[1] = noise[1].cumsum(dim=-1) / 4  # two frames that are unlike
    try:
        together = pipe.encode_videos(noise[None])
        wanted = score(together)
        for normalized in (True, False):
            use = MeanOfFrames(pipe, normalized)
            if together.frame_embeds is not None:
                rounds = 1e-4 if together.frame_embeds.dtype == torch.float32 else 2e-2
                if _same(score(use.features([list(use.keep(noise))])), wanted, rounds):
                    return use
    except (ValueError, KeyError):  # it takes no clips of one or two frames, or scores by what frames alone lack
        pass
    return WholeClips(pipe, num_frames)


def _same(logits: torch.Tensor, wanted: torch.Tensor, rounds: float) -> bool:
    error = (logits.float() - wanted.float()).abs().max()
    return bool(error <= rounds * wanted.float().abs().max().clamp_min(1e-3))


def stretches(cells: Iterable[Sequence[Frame]], per_window: int, scales: Sequence[int]) -> Iterator[Stretch]:
    """Cells of a grid over time -> the parts of each that lie in one shot, with windows around the cell's center.

    A window of a scale holds the `scale * per_window` frames around the center that are there and in the same shot.
    Only frames that a window may still need are held: `max(scales) * per_window` of them.
    """
    frames: deque[Frame] = deque()
    waiting: deque[tuple[int, int]] = deque()  # first and last frame of each cell that is not given yet
    first = count = 0  # the number of the first frame held, and of those that came
    reach = max(scales) * per_window // 2 + 1
    for cell in itertools.chain(cells, [None]):
        if cell is not None:
            frames.extend(cell)
            waiting.append((count, count + len(cell)))
            count += len(cell)
        while waiting and (cell is None or sum(waiting[0]) // 2 + reach <= count):
            start, end = waiting.popleft()
            while first < sum((start, end)) // 2 - reach:
                frames.popleft()
                first += 1
            yield from _parts(list(frames), start - first, end - first, per_window, scales)


def _parts(frames: list[Frame], start: int, end: int, per_window: int, scales: Sequence[int]) -> Iterator[Stretch]:
    middle = (start + end) // 2
    for shot, group in itertools.groupby(frames[start:end], key=lambda frame: frame.shot):
        part = list(group)
        windows = []
        for scale in scales:
            low, high = middle - scale * per_window // 2, middle + (scale * per_window + 1) // 2
            window = frames[max(0, min(low, start)) : max(high, end)]
            windows.append([frame.value for frame in window if frame.shot == shot])
        yield Stretch(part[0].start, part[-1].end, shot, windows)
