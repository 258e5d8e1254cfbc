"""Contrastive losses between videos and texts when several pairs of a batch are right.

Two videos of one batch may show the same class, so what is right is a boolean matrix, not a diagonal
(ActionCLIP, arXiv 2109.08472; DA-STI's base trains with the same loss).
"""

from __future__ import annotations

import torch


# divergence -> the target distribution that goes with it where none is named
LOSS_TYPES = {"kl": "soft", "ce": "multi_hot"}


def target_distribution(targets: torch.Tensor, kind: str, label_temperature: float = 10.0) -> torch.Tensor:
    """What the softmax of each row should be, float32.

    Args:
        targets: `[N, K]` boolean, true where candidate k is right for row n.
        kind: `"soft"`, the softmax of `label_temperature` * targets; `"multi_hot"`, the true columns share equally;
            `"one_hot"`, the diagonal, which is wrong where a class repeats.

    Raises:
        ValueError: another kind, or `"one_hot"` of a matrix that is not square.
    """
    if kind == "soft":
        return (targets.float() * label_temperature).softmax(dim=-1)
    if kind == "multi_hot":
        return targets.float() / targets.float().sum(dim=-1, keepdim=True).clamp(min=1)
    if kind == "one_hot" and targets.shape[0] == targets.shape[1]:
        return torch.eye(len(targets), device=targets.device)
    raise ValueError(f"no target distribution {kind!r} for a matrix of shape {tuple(targets.shape)}.")


def cross_entropy_to_targets(logits: torch.Tensor, targets: torch.Tensor, kind: str = "multi_hot") -> torch.Tensor:
    """Cross-entropy of every row of `[N, K]` to its target distribution: `[N]`, float32."""
    return -(target_distribution(targets, kind) * logits.float().log_softmax(dim=-1)).sum(dim=-1)


def contrastive_losses(
    logits_per_video: torch.Tensor,
    targets: torch.Tensor,
    loss_type: str = "kl",
    label_temperature: float = 10.0,
    target_kind: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both directions of the loss, (video -> text, text -> video); the methods take their mean.

    Args:
        logits_per_video: `[N, K]`, similarity times the learned scale.
        targets: `[N, K]` boolean, true where candidate k is the class of video n. Every row needs one true entry.
            A candidate that no video of the batch shows has nothing to choose and stays out of the second direction.
        loss_type: `"kl"`, the official loss, or `"ce"`, which is CLIP's loss where each video has one right candidate.
        label_temperature: factor on the targets before their softmax (soft targets only).
        target_kind: see [`target_distribution`]; by default soft for `"kl"` and multi-hot for `"ce"`.

    Raises:
        ValueError: an unknown `loss_type`.
    """
    if loss_type not in LOSS_TYPES:
        raise ValueError(f"loss_type must be one of {sorted(LOSS_TYPES)}, got {loss_type!r}.")

    def direction(logits: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        wanted = target_distribution(right, target_kind or LOSS_TYPES[loss_type], label_temperature)
        rows = -wanted * logits.float().log_softmax(dim=-1)
        if loss_type == "kl":
            rows = rows + torch.special.xlogy(wanted, wanted)
        shown = right.any(dim=1)
        return (rows.sum(dim=-1) * shown).sum() / shown.sum().clamp(min=1)

    return direction(logits_per_video, targets), direction(logits_per_video.t(), targets.t())
