"""Small functions on tensors that the methods share: views folded into batches, prompts spread over labels, norms."""

from __future__ import annotations

import torch
from torch import nn


def normalize(embeds: torch.Tensor) -> torch.Tensor:
    """L2-normalize the last axis; a zero vector stays zero."""
    return nn.functional.normalize(embeds, dim=-1, eps=1e-12)


def masked_mean(values: torch.Tensor, mask: torch.Tensor, dim: int) -> torch.Tensor:
    """Mean of `values` over `dim` where the boolean `mask` (broadcastable) is true; 0 where nothing is kept."""
    mask = mask.to(values.dtype)
    return (values * mask).sum(dim) / mask.sum(dim).clamp(min=1)


def split_views(pixel_values_videos: torch.Tensor) -> tuple[torch.Tensor, int, int]:
    """`[B, T, 3, H, W]` or `[B, V, T, 3, H, W]` -> (`[B*V, T, 3, H, W]`, B, V).

    Raises:
        ValueError: any other number of axes.
    """
    if pixel_values_videos.ndim == 5:
        return pixel_values_videos, pixel_values_videos.shape[0], 1
    if pixel_values_videos.ndim == 6:
        batch, views = pixel_values_videos.shape[:2]
        return pixel_values_videos.flatten(0, 1), batch, views
    raise ValueError(
        f"pixel_values_videos has shape {tuple(pixel_values_videos.shape)}: expected [batch, frames, channels, "
        "height, width] or [batch, views, frames, channels, height, width]."
    )


def check_length(input_ids: torch.Tensor, limit: int) -> None:
    """
    Raises:
        ValueError: token rows `[R, L]` longer than `limit`.
    """
    if input_ids.shape[1] > limit:
        raise ValueError(
            f"The prompts have up to {input_ids.shape[1]} tokens, the text tower reads {limit}: prepare them with "
            f"processor.limited_to({limit}), which cuts them and says which."
        )


def gather_prompts(rows: torch.Tensor, prompt_index: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Spread the embeddings `[R, ...]` of distinct prompts over the labels.

    Returns `[K, A, ...]` (zeros where a label has fewer prompts) and the boolean mask `[K, A]`. Without an index every
    row is one label.
    """
    if prompt_index is None:
        return rows[:, None], torch.ones(rows.shape[0], 1, dtype=torch.bool, device=rows.device)
    mask = prompt_index >= 0
    spread = rows[prompt_index.clamp(min=0)]
    return spread * mask.reshape(*mask.shape, *[1] * (rows.ndim - 1)).to(spread.dtype), mask
