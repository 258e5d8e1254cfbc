"""Runs evaluations in forked processes that are killed, or that work together. A script: it must not share a process
with pytest. Forking after the imports makes a run cost milliseconds instead of seconds.

    forked_runs.py kill VIDEOS WORK        runs killed at random moments and while writing, then one to the end
    forked_runs.py processes VIDEOS WORK   the same run by 1, 2 and 4 processes, as `accelerate launch` sets them up
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hf_zsar.data import load_class_names
from hf_zsar.evaluation import evaluate_zero_shot
from hf_zsar.evaluation.records import record_json
from hf_zsar.features import writing
from hf_zsar.features.processes import Processes
from hf_zsar.features.store import FeatureStore
from tests.evaluation.toy import color_pair, without_clock


SECONDS = 0.05  # that a batch takes in a run that is to be killed
writing.SHARD_ROWS = 4


def evaluate(videos: Path, store: Path, on_batch: Callable[[], None] | None = None) -> dict:
    model, processor = color_pair(load_class_names("ucf101"), on_batch)
    options = dict(dataset="ucf101", videos=videos, store=store, batch_size=1, num_workers=2)
    return evaluate_zero_shot(model, processor, "test_splits", **options)


def child(work: Callable[[], None]) -> int:
    """Start `work` in a process of its own; gives its id."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def killed_after(batches: int, delay: float, videos: Path, store: Path) -> bool:
    """Start a run and kill it `delay` seconds after it has begun that many batches; whether it was still running."""
    ours, theirs = os.pipe()

    def slow_batch() -> None:
        os.write(theirs, b".")
        time.sleep(SECONDS)

    process = child(lambda: evaluate(videos, store, slow_batch))
    for _ in range(batches):
        os.read(ours, 1)
    time.sleep(delay)
    os.kill(process, signal.SIGKILL)
    os.close(ours)
    os.close(theirs)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


def killed_while_writing(videos: Path, store: Path) -> bool:
    """A run that dies when a shard is written and has not yet got its name."""

    def run() -> None:
        os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
        evaluate(videos, store)

    return os.WIFSIGNALED(os.waitpid(child(run), 0)[1])


def kill(videos: Path, work: Path) -> dict:
    """See the module. A run dies within its first two shards of four videos, so that all ten have work left."""
    uninterrupted = evaluate(videos, work / "whole")
    generator, store = random.Random(0), work / "killed"
    killed, shards = 0, []
    for _ in range(10):
        killed += killed_after(generator.randint(1, 5), generator.uniform(0, SECONDS), videos, store)
        shards.append(len(contents(store)))
    killed += killed_while_writing(videos, store)
    half_written = len(list(store.glob("*/data/.*"))), len(contents(store)) - shards[-1]
    resumed = evaluate(videos, store)
    return {
        "killed": killed,
        "shards": shards,
        "half_written": half_written,
        "equal": record_json(without_clock(resumed)) == record_json(without_clock(uninterrupted)),
        "scored": resumed["clips"]["scored"],
        "same_features": contents(store) == contents(work / "whole"),
        "leftovers": [path.name for path in store.rglob(".*")],
    }


def contents(store: Path) -> dict[str, dict[str, list]]:
    """Every row's tensors by name. (Not the shards: where they end depends on when a run was killed.)"""
    found = {}
    for path in store.glob("*/features.json"):
        opened = FeatureStore.open(path.parent)
        for row, features in opened.batches(1):
            found[row[0].id] = {name: [str(tensor.dtype), tensor.tolist()] for name, tensor in features.items()}
    return found


def processes(videos: Path, work: Path) -> dict:
    """See the module."""
    records = {}
    for count in (1, 2, 4):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]

        def rank_work(rank: int, count: int = count, port: int = port) -> None:
            names = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=count, LOCAL_WORLD_SIZE=count, MASTER_PORT=port)
            os.environ.update({name: str(value) for name, value in names.items()})
            os.environ.update(MASTER_ADDR="127.0.0.1", ACCELERATE_USE_CPU="true")
            assert Processes.current().count == count
            record = evaluate(videos, work / str(count))
            (work / f"{count}-{rank}.json").write_text(record_json(without_clock(record)))

        ranks = [child(lambda rank=rank: rank_work(rank)) for rank in range(count)]
        failed = [rank for rank in ranks if os.waitpid(rank, 0)[1]]
        assert not failed, f"{len(failed)} of {count} processes failed"
        records[count] = [(work / f"{count}-{rank}.json").read_text() for rank in range(count)]
    return {
        "equal": len({text for texts in records.values() for text in texts}) == 1,
        "scored": json.loads(records[1][0])["clips"]["scored"],
        "broken": len(json.loads(records[1][0])["clips"]["broken"]),
        "same_features": contents(work / "1") == contents(work / "2") == contents(work / "4"),
        "shards": len(list((work / "4").glob("*/data/*"))),
    }


if __name__ == "__main__":
    print(json.dumps({"kill": kill, "processes": processes}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))))
