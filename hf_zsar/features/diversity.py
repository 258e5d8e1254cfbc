"""Near-duplicates in a store and a diverse sample of it, by the cosine of `video_embeds`."""

from __future__ import annotations

import torch
from torch import nn

from .asking import StoreReader
from .shards import Row


BLOCK = 4096  # rows that are compared at once


def near_duplicates(store: StoreReader, threshold: float = 0.95, device: str | None = None) -> list[list[Row]]:
    """Groups of rows that are linked by cosines of `threshold` or more, the first of each the oldest. Stretches of one
    video do not link each other.

    Every pair is compared: a million rows take 10^15 operations, minutes on a GPU and hours on a CPU.

    Args:
        device: where to compute.

    Raises:
        ValueError: a threshold that is no cosine.
    """
    if not -1 < threshold <= 1:
        raise ValueError(f"a threshold lies above -1 and at most at 1, got {threshold}.")
    numbers, embeds = _embeds(store, device)
    videos = _video_numbers(store).to(embeds.device)
    parent = list(range(len(embeds)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    for start in range(0, len(embeds), BLOCK):
        rows = slice(start, start + BLOCK)
        for other in range(start, len(embeds), BLOCK):
            columns = slice(other, other + BLOCK)
            near = embeds[rows] @ embeds[columns].T >= threshold - 1e-6
            near &= videos[rows, None] != videos[None, columns]
            for one, two in near.nonzero().tolist():
                one, two = sorted((root(start + one), root(other + two)))
                parent[two] = one
    groups: dict[int, list[int]] = {}
    for row in range(len(embeds)):
        groups.setdefault(root(row), []).append(int(numbers[row]))
    return [store.rows(group) for group in groups.values() if len(group) > 1]


def diverse_sample(store: StoreReader, count: int, device: str | None = None) -> list[Row]:
    """`count` rows that cover the store: first the one nearest to the mean, then again and again the one farthest from
    all chosen so far (greedy k-center, at most twice as far from any row as the best choice is).

    Args:
        device: where to compute.

    Raises:
        ValueError: more rows than there are.
    """
    if not 0 < count <= len(store):
        raise ValueError(f"a sample of {count} of {len(store)} rows cannot be drawn.")
    numbers, embeds = _embeds(store, device)
    chosen = [int((embeds @ embeds.mean(dim=0)).argmax())]
    nearest = embeds @ embeds[chosen[0]]
    while len(chosen) < count:
        nearest[chosen[-1]] = torch.inf
        chosen.append(int(nearest.argmin()))
        torch.maximum(nearest, embeds @ embeds[chosen[-1]], out=nearest)
    return store.rows([int(numbers[row]) for row in chosen])


def _embeds(store: StoreReader, device: str | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers `[n]` and unit vectors `[n, dim]` of the rows that count."""
    parts = [(torch.from_numpy(part.numbers), part.features.video_embeds) for part in store.parts(["video_embeds"])]
    numbers, embeds = (torch.cat(each) for each in zip(*parts, strict=True))
    return numbers, nn.functional.normalize(embeds.to(device or "cpu").float(), dim=-1)


def _video_numbers(store: StoreReader) -> torch.Tensor:
    """`[n]`, equal for the stretches of one video."""
    return torch.from_numpy(store.videos[store.counts])
