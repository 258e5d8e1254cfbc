"""Choice of the transfer's temperature and top-k by cross-validation over seen classes (card of ResT, R4).

A part of the seen classes plays the unseen ones: their prototypes are composed out of the others' and compared with
their true prototypes, which stand for a video of the class. No test class and no clip is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hf_zsar.modeling.semantic_transfer import compose_prototypes, transfer_weights


TEMPERATURES = (0.02, 0.05, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3, 0.5)
TOP_KS = (5, 10, 20, 50, 100, 200, None)


@dataclass(frozen=True)
class TransferChoice:
    """A setting and how well it did: mean reciprocal rank and top-1 of the true class among the held-out ones."""

    temperature: float
    top_k: int | None
    mean_reciprocal_rank: float
    top1: float


def select_transfer(
    seen_prototypes: torch.Tensor,
    seen_text_embeds: torch.Tensor,
    temperatures: Sequence[float] = TEMPERATURES,
    top_ks: Sequence[int | None] = TOP_KS,
    folds: int = 5,
    seed: int = 0,
) -> list[TransferChoice]:
    """All settings, best mean reciprocal rank first.

    Args:
        seen_prototypes: `[S, d]`; seen_text_embeds: `[S, D]`.
        folds: the seen classes are split into so many parts by a seeded shuffle; each is held out once.

    Raises:
        ValueError: fewer classes than two per fold.
    """
    count = len(seen_prototypes)
    if count < 2 * folds:
        raise ValueError(f"{count} seen classes are too few for {folds} folds of at least two.")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    held_out = [order[fold::folds] for fold in range(folds)]
    choices = []
    for temperature in temperatures:
        for top_k in dict.fromkeys(k if k is None or k < count else None for k in top_ks):
            ranks = torch.cat(
                [_ranks(seen_prototypes, seen_text_embeds, fold, temperature, top_k) for fold in held_out]
            )
            choices.append(
                TransferChoice(
                    temperature, top_k, (1 / ranks.double()).mean().item(), (ranks == 1).double().mean().item()
                )
            )
    return sorted(choices, key=lambda choice: -choice.mean_reciprocal_rank)


def _ranks(
    prototypes: torch.Tensor, texts: torch.Tensor, fold: torch.Tensor, temperature: float, top_k: int | None
) -> torch.Tensor:
    """Rank of the true class (1 is best) for the prototype of every held-out class."""
    others = torch.ones(len(prototypes), dtype=torch.bool)
    others[fold] = False
    weights = transfer_weights(texts[fold], texts[others], temperature=temperature, top_k=top_k)
    scores = prototypes[fold].float() @ compose_prototypes(weights, prototypes[others]).T
    return 1 + (scores > scores.diagonal()[:, None]).sum(dim=1)


__all__ = ["TransferChoice", "select_transfer"]
