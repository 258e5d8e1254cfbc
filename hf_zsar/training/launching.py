"""Launchers that start fewer processes than they were asked for, or processes that do not find each other."""

from __future__ import annotations

import os


# One of these says how many processes there are: torchrun's, or those of MPI.
_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def check_processes(world_size: int) -> None:
    """Look at what a launcher left in the environment.

    Args:
        world_size: processes that train together, as this one sees it.

    Raises:
        ValueError: more were asked for.
    """
    started = max(int(os.environ.get(name) or 1) for name in _SIZES)
    if world_size > 1:
        return
    if started > 1:
        raise ValueError(
            f"{started} processes were started, and each would train for itself: without GPUs they find each other "
            "with use_cpu=True in TrainingArguments."
        )
    # accelerate sets an address for processes to meet at when it is asked for several.
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ
    if launched and not any(name in os.environ for name in _SIZES):
        raise ValueError(
            "accelerate launch was asked for several processes and started this one: on CPUs it leaves others to MPI. "
            "Start them with torchrun --nproc_per_node N, or say --num_processes 1."
        )


__all__ = ["check_processes"]
