"""A learning problem made of nothing: clips whose colour and motion spell their label.

A label is a pair such as "red rising": a square of that colour moves that way over a noisy ground. A model that learns
some pairs and understands the words can name pairs that it has never seen.
"""

from __future__ import annotations

import numpy as np


COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 80, 230), "white": (240, 240, 240)}
MOTIONS = {"rising": (-1, 0), "falling": (1, 0), "leaving": (0, 1), "coming": (0, -1)}
LABELS = tuple(f"{colour} {motion}" for colour in COLOURS for motion in MOTIONS)


def rendered_clip(label: str, seed: int, num_frames: int = 4, size: int = 32) -> np.ndarray:
    """uint8 `[T, H, W, 3]`; place, speed and ground are drawn from the seed."""
    rng = np.random.default_rng([seed, LABELS.index(label)])
    colour, motion = label.split()
    side = int(rng.integers(size // 4, size // 3))
    travel = size - side
    direction = np.array(MOTIONS[motion])
    across = rng.uniform(0.2, 0.8) * travel
    clip = rng.integers(60, 110, (num_frames, size, size, 3))
    for index, step in enumerate(np.linspace(rng.uniform(0, 0.15), rng.uniform(0.85, 1), num_frames)):
        along = step * travel if direction.sum() > 0 else (1 - step) * travel
        top, left = (along, across) if direction[0] else (across, along)
        clip[index, int(top) : int(top) + side, int(left) : int(left) + side] = COLOURS[colour]
    return clip.astype(np.uint8)
