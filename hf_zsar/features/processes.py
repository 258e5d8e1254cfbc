"""One process or many (`accelerate launch`): who am I, what does the main process say, what did everybody find."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch


T = TypeVar("T")

# How long a rank waits for the others. Work is shared out evenly; a run that fails for this goes on where it was.
_TIMEOUT = timedelta(minutes=30)
# What an item costs besides its bytes, in bytes.
_ITEM = 2**20


@dataclass(frozen=True)
class Processes:
    """The processes of a run. `device` is this rank's, None when there is one process."""

    rank: int = 0
    count: int = 1
    device: torch.device | None = None

    @classmethod
    def current(cls) -> Processes:
        """As the launcher set it up; a plain `python` is one process."""
        launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
        if not launched and not torch.distributed.is_initialized():
            return cls()
        from accelerate import PartialState
        from accelerate.utils import parse_flag_from_env

        started_here = not torch.distributed.is_initialized()
        # PartialState must be told: on its own it takes a CPU run of several processes for several runs of one.
        on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
        state = PartialState(cpu=on_cpu, timeout=_TIMEOUT)
        if launched and state.num_processes == 1:
            raise ValueError("Several processes were launched, but accelerate set up one: see `accelerate env`.")
        if started_here:
            # Left to the end of the interpreter, a process group aborts the process.
            atexit.register(state.destroy_process_group)
        return cls(rank=state.process_index, count=state.num_processes, device=state.device)

    @property
    def is_main(self) -> bool:
        """Rank 0."""
        return self.rank == 0

    def share(self, items: Sequence[T], sizes: Sequence[int] | None = None) -> list[T]:
        """This rank's part of a list that is the same on every rank, in order: about as much as the others have.

        Args:
            sizes: bytes of each item; without them an item counts as much as another.
        """
        loads, mine = [0] * self.count, []
        sizes = [_ITEM + size for size in sizes or [0] * len(items)]
        for number in sorted(range(len(items)), key=lambda number: -sizes[number]):
            rank = loads.index(min(loads))
            loads[rank] += sizes[number]
            mine += [number] if rank == self.rank else []
        return [items[number] for number in sorted(mine)]

    def from_main(self, function: Callable[[], T]) -> T:
        """Call on the main process; every rank gets the result, or the error when the user's input is at fault."""
        if self.count == 1:
            return function()
        from accelerate.utils import broadcast_object_list

        answer: list[Any] = [None, None]
        if self.is_main:
            try:
                answer[0] = function()
            except (OSError, ValueError) as error:
                answer[1] = error
        broadcast_object_list(answer)
        if answer[1] is not None:
            raise answer[1]
        return answer[0]

    def gather(self, items: list[T]) -> list[T]:
        """The lists of all ranks joined, on every rank. Waits for all of them."""
        if self.count == 1:
            return items
        from accelerate.utils import gather_object

        return gather_object(items)
