"""A learning problem made of nothing: clips whose color and motion spell their label.

A label is a pair such as "red rising": a square of that color moves that way over a noisy ground. A model that learns
some pairs and understands the words can name pairs that it has never seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


COLORS = {
    "red": (220, 40, 40),
    "green": (40, 200, 60),
    "blue": (50, 80, 230),
    "white": (240, 240, 240),
    "yellow": (230, 220, 40),
    "purple": (170, 50, 210),
}
MOTIONS = {"rising": (-1, 0), "falling": (1, 0), "leaving": (0, 1), "coming": (0, -1)}
LABELS = tuple(f"{color} {motion}" for color in COLORS for motion in MOTIONS)
# Two pairs of each of four colors, two of each motion: who knows the colors alone is right for half of these clips.
HELD_OUT = (
    *("red rising", "red falling", "green falling", "green leaving"),
    *("blue leaving", "blue coming", "white coming", "white rising"),
)
SEEN = tuple(label for label in LABELS if label not in HELD_OUT)


def rendered_clip(label: str, seed: int, num_frames: int = 4, size: int = 32) -> np.ndarray:
    """uint8 `[T, H, W, 3]`; place, speed and ground are drawn from the seed."""
    rng = np.random.default_rng([seed, LABELS.index(label)])
    color, motion = label.split()
    side = int(rng.integers(size // 4, size // 3))
    travel = size - side
    direction = np.array(MOTIONS[motion])
    across = rng.uniform(0.2, 0.8) * travel
    clip = rng.integers(60, 110, (num_frames, size, size, 3))
    for index, step in enumerate(np.linspace(rng.uniform(0, 0.15), rng.uniform(0.85, 1), num_frames)):
        along = step * travel if direction.sum() > 0 else (1 - step) * travel
        top, left = (along, across) if direction[0] else (across, along)
        clip[index, int(top) : int(top) + side, int(left) : int(left) + side] = COLORS[color]
    return clip.astype(np.uint8)


def rendered_videos(labels: Sequence[str], seeds: Sequence[int]) -> torch.Tensor:
    """Normalized float32 `[B, T, 3, H, W]`, a clip per label and seed."""
    clips = [torch.from_numpy(rendered_clip(label, seed)) for label, seed in zip(labels, seeds, strict=True)]
    return (torch.stack(clips).permute(0, 1, 4, 2, 3).float() - 90) / 60
