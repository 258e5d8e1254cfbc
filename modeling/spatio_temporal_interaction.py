"""Spatio-temporal interaction of words with patches and frames, as pure functions.

The shapes and the two operations are stated by the paper (arXiv 2510.27255, figure 4); the saliency formula is BIKE's
(arXiv 2301.00182); the combination is our reading (card of DA-STI, S2 to S3, R1 to R3). All inputs are L2-normalized,
all arithmetic is float32: similarities are divided by 0.01, which half precision cannot carry.

Axes: B videos (views folded in), K classes, L word positions, T frames, N patches per frame, D joint space.
"""

from __future__ import annotations

import torch
from torch import nn

from .modeling_zsar import masked_mean, normalize


def word_attention(words: torch.Tensor, frames: torch.Tensor, temperature: float) -> torch.Tensor:
    """How each word spreads over time: words `[K, L, D]`, frames `[B, T, D]` -> `[B, K, L, T]`, sums to 1 over T."""
    return (torch.einsum("kld,btd->bklt", words, frames) / temperature).softmax(dim=-1)


def temporal_saliency(
    words: torch.Tensor, word_mask: torch.Tensor, frames: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Mean of [`word_attention`] over the kept words: `[B, K, T]`, non-negative, sums to 1 over T."""
    return masked_mean(word_attention(words, frames, temperature), word_mask[None, :, :, None], dim=2)


def patch_saliency(words: torch.Tensor, word_mask: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
    """Cosine of each patch with its best word: patches `[B, T, N, D]` -> `[B, K, T, N]`, in [-1, 1]."""
    batch, frames, count, _ = patches.shape
    classes, length = word_mask.shape
    similarity = patches.flatten(1, 2) @ words.flatten(0, 1).t()
    similarity = similarity.view(batch, frames * count, classes, length)
    best = similarity.masked_fill(~word_mask, float("-inf")).amax(dim=-1)
    return best.view(batch, frames, count, classes).permute(0, 3, 1, 2)


def gate_frames(
    temporal: torch.Tensor, spatial: torch.Tensor | None, fusion: str, floor: float, temperature: float
) -> torch.Tensor:
    """Weight of each frame: temporal saliency and spatial saliency (best patch), both `[B, K, T]` -> `[B, K, T]`."""
    if spatial is None or fusion == "none":
        return temporal
    positive = spatial.clamp(min=floor)
    if fusion == "mul":
        return temporal * positive
    if fusion == "residual":
        return temporal * (1 + spatial)
    if fusion == "softmax":
        return temporal * spatial.shape[-1] * (spatial / temperature).softmax(dim=-1)
    if fusion == "add":
        return (temporal + positive / positive.sum(dim=-1, keepdim=True)) / 2
    raise ValueError(f"unknown spatial fusion {fusion!r}")


def pool_frames(gate: torch.Tensor, frames: torch.Tensor, normalize_pooled: bool) -> torch.Tensor:
    """Gated sum over time, `[B, K, T]` and `[B, T, D]` -> one vector per video and class, `[B, K, D]`."""
    pooled = torch.einsum("bkt,btd->bkd", gate, frames)
    return normalize(pooled) if normalize_pooled else pooled


class IdentityLinear(nn.Linear):
    """A bias-free square matrix that starts as the identity."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim, bias=False)

    def init_weights(self, std: float) -> None:
        from transformers import initialization as init

        init.eye_(self.weight)
