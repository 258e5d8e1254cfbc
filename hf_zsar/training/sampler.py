"""Which videos make a batch: one order for any number of processes, and any place in it to start from."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class SeededShuffle(Sampler[int]):
    """A permutation of the data set drawn from (seed, epoch): this process's part of each global batch.

    With P processes and batches of B, process r takes places r * B .. r * B + B of every P * B: P processes see, step
    by step, the videos that one process with batches of P * B sees. The last incomplete batch is left out.

    Args:
        length: videos in the data set.
        batch_size: per process.
        seed: what the permutations are drawn from.
        rank, world: this process, and how many there are.
    """

    def __init__(self, length: int, batch_size: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.length, self.batch_size, self.seed, self.rank, self.world = length, batch_size, seed, rank, world
        self.epoch, self.first_step = 0, 0

    @property
    def steps(self) -> int:
        """Batches of a whole epoch."""
        return self.length // (self.batch_size * self.world)

    def set_place(self, epoch: int, first_step: int = 0) -> None:
        """Go to an epoch, and leave out its first batches (a run that goes on from the middle)."""
        self.epoch, self.first_step = epoch, first_step

    def __len__(self) -> int:
        return (self.steps - self.first_step) * self.batch_size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.length, generator=generator).tolist()
        for step in range(self.first_step, self.steps):
            first = (step * self.world + self.rank) * self.batch_size
            yield from order[first : first + self.batch_size]


__all__ = ["SeededShuffle"]
