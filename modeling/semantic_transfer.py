"""Semantic transfer: prototypes of unseen classes as combinations of seen ones (ResT, arXiv 2205.01657).

The paper states that the relatedness of labels composes the visual prototypes of unseen classes out of seen ones; the
softmax, its temperature, top-k and the ridge alternative are our reading.
"""

from __future__ import annotations

import torch

from .modeling_zsar import normalize


def transfer_weights(
    unseen_text: torch.Tensor,
    seen_text: torch.Tensor,
    *,
    method: str = "softmax",
    temperature: float = 0.05,
    top_k: int | None = None,
    ridge_lambda: float = 1e-2,
) -> torch.Tensor:
    """How much each seen class takes part in each unseen one.

    Args:
        unseen_text: `[K, D]` text embeddings of the candidates.
        seen_text: `[S, D]` text embeddings of the seen classes.
        method: `"softmax"` of cosines over the `top_k` most related classes, or `"ridge"` regression onto all of them.

    Returns:
        `[K, S]` float32. Softmax rows are non-negative and sum to 1; ridge rows may be negative.
    """
    unseen_text, seen_text = normalize(unseen_text.float()), normalize(seen_text.float())
    if method == "ridge":
        gram = seen_text @ seen_text.T + ridge_lambda * torch.eye(seen_text.shape[0], device=seen_text.device)
        return torch.linalg.solve(gram, seen_text @ unseen_text.T).T
    relatedness = unseen_text @ seen_text.T
    kept, index = relatedness.topk(min(top_k or seen_text.shape[0], seen_text.shape[0]), dim=1)
    weights = torch.softmax(kept / temperature, dim=1)
    return torch.zeros_like(relatedness).scatter(1, index, weights)


def compose_prototypes(weights: torch.Tensor, seen_prototypes: torch.Tensor) -> torch.Tensor:
    """Weights `[K, S]` and seen prototypes `[S, D]` -> unit-norm prototypes `[K, D]` of the candidates."""
    return normalize(weights @ seen_prototypes.float())
