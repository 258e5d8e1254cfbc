"""Stochastic depth for the blocks of a tower that has none of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn


def drop_path(branch: torch.Tensor, rate: float) -> torch.Tensor:
    """Zero the branch `[B, ...]` of each sample with probability `rate` and scale the others to keep the mean."""
    keep = torch.rand(branch.shape[0], *[1] * (branch.ndim - 1), device=branch.device) >= rate
    return branch * (keep / (1 - rate)).to(branch.dtype)


def _drop_branch(module: nn.Module, _: Any, output: Any, rate: float) -> Any:
    if not module.training:
        return output
    if isinstance(output, tuple):
        return drop_path(output[0], rate), *output[1:]
    return drop_path(output, rate)


def add_stochastic_depth(
    layers: Sequence[nn.Module], max_rate: float, attention_of: Callable[[nn.Module], nn.Module]
) -> None:
    """Give blocks stochastic depth on both branches, and attention dropout, at rates 0 .. `max_rate` by depth.

    That both use the same rates is the official ActionCLIP code's way. Hooks do it, so names of weights stay as they
    are; without training mode nothing changes.
    """
    if not max_rate:
        return
    for index, layer in enumerate(layers):
        rate = max_rate * index / max(len(layers) - 1, 1)
        attention = attention_of(layer)
        setattr(attention, "dropout" if hasattr(attention, "dropout") else "attention_dropout", rate)
        for branch in (attention, layer.mlp):
            branch.register_forward_hook(partial(_drop_branch, rate=rate))
