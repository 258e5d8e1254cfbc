"""The three losses of ResT (card of ResT, R3: the aims are the paper's, the formulas our reading)."""

from __future__ import annotations

import torch
from torch import nn


def classification_loss(logits: torch.Tensor, classes: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
    """Cross-entropy over the seen classes: logits `[B, S]`, class ids `[B]`."""
    return nn.functional.cross_entropy(logits.float(), classes, label_smoothing=label_smoothing)


def alignment_loss(similarity: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean of the two directions between B videos and U distinct labels.

    Args:
        similarity: `[B, U]`, cosine over temperature.
        targets: `[B, U]` boolean. All videos of a class are positives of its label.
    """
    video_to_text = nn.functional.cross_entropy(similarity, targets.float().argmax(1))
    log_share = similarity.log_softmax(dim=0).masked_fill(~targets, -torch.inf).logsumexp(dim=0)
    shown = targets.any(dim=0)
    return (video_to_text - log_share[shown].mean()) / 2


def hard_negatives(similarity: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | None:
    """For every video one wrong label `[B]`, drawn in proportion to exp(similarity); None where there is one label.

    Drawn with torch's global CPU generator for the videos of all processes alike, so that a run does not depend on how
    many there are.
    """
    if targets.shape[1] < 2:
        return None
    gumbel = -torch.log(-torch.log(torch.rand(similarity.shape).clamp(1e-12, 1 - 1e-7)))
    return (similarity.float() + gumbel.to(similarity.device)).masked_fill(targets, -torch.inf).argmax(1)


def matching_loss(logits: torch.Tensor, positives: int) -> torch.Tensor:
    """Two-way cross-entropy over pairs: logits `[P, 2]` (mismatch, match), of which the first `positives` match."""
    labels = (torch.arange(len(logits), device=logits.device) < positives).long()
    return nn.functional.cross_entropy(logits, labels)
