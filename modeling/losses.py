"""Contrastive losses between videos and texts when several pairs of a batch are right.

Two videos of one batch may show the same class, so what is right is a boolean matrix, not a diagonal
(ActionCLIP, arXiv 2109.08472; DA-STI's base trains with the same loss).
"""

from __future__ import annotations

import torch


LOSS_TYPES = ("kl", "ce")


def kl_to_targets(logits: torch.Tensor, targets: torch.Tensor, label_temperature: float = 10.0) -> torch.Tensor:
    """KL(softmax(`label_temperature` * targets) || softmax(logits)) of every row of `[N, K]`: `[N]`, float32."""
    wanted = (targets.float() * label_temperature).log_softmax(dim=-1)
    return (wanted.exp() * (wanted - logits.float().log_softmax(dim=-1))).sum(dim=-1)


def cross_entropy_to_targets(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of every row of `[N, K]`, its true columns sharing the probability equally: `[N]`, float32."""
    wanted = targets.float()
    wanted = wanted / wanted.sum(dim=-1, keepdim=True).clamp(min=1)
    return -(wanted * logits.float().log_softmax(dim=-1)).sum(dim=-1)


def contrastive_losses(
    logits_per_video: torch.Tensor,
    targets: torch.Tensor,
    loss_type: str = "kl",
    label_temperature: float = 10.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both directions of the loss, (video -> text, text -> video); the methods take their mean.

    Args:
        logits_per_video: `[N, K]`, similarity times the learned scale.
        targets: `[N, K]` boolean, true where candidate k is the class of video n. Every row needs one true entry.
            A candidate that no video of the batch shows has nothing to choose and stays out of the second direction.
        loss_type: `"kl"`, the official loss, or `"ce"`, which is CLIP's loss where each video has one right candidate.
        label_temperature: factor on the targets before their softmax (`"kl"` only).

    Raises:
        ValueError: an unknown `loss_type`.
    """
    if loss_type not in LOSS_TYPES:
        raise ValueError(f"loss_type must be one of {LOSS_TYPES}, got {loss_type!r}.")

    def direction(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        if loss_type == "ce":
            rows = cross_entropy_to_targets(logits, wanted)
        else:
            rows = kl_to_targets(logits, wanted, label_temperature)
        shown = wanted.any(dim=1)
        return (rows * shown).sum() / shown.sum().clamp(min=1)

    return direction(logits_per_video, targets), direction(logits_per_video.t(), targets.t())


__all__ = ["contrastive_losses", "cross_entropy_to_targets", "kl_to_targets"]
