"""Explicit sources of random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


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
