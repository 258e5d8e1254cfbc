"""Which videos make a batch: one order for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from .trainer_rules import listen


class SeededShuffle(Sampler[int]):
    """A permutation of the data set drawn from (seed, epoch), without the videos that fill no update.

    Loaders that accelerate prepares deal its batches out in turn, so that P processes with batches of B see, update by
    update, the videos that one process with batches of P * B sees.

    Args:
        length: videos in the data set.
        together: videos of an update, over all processes and batches that are accumulated.
        seed: what the permutations are drawn from.

    A `Trainer` says itself which epoch it is; in a loop of your own call `set_epoch`.
    """

    def __init__(self, length: int, together: int, seed: int) -> None:
        self.length, self.updates, self.together = length, length // together, together
        self.set_run(seed, 0)
        listen(self)

    def set_run(self, seed: int, epoch: int) -> None:
        """Draw from these."""
        self.seed, self.epoch = seed, epoch

    def set_epoch(self, epoch: int) -> None:
        """Another order than in other epochs."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.updates * self.together

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        yield from torch.randperm(self.length, generator=generator).tolist()[: len(self)]


__all__ = ["SeededShuffle"]
