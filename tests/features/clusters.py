"""A two-node Ray cluster on this machine, on which actors, nodes and drivers are killed. A script, with Ray installed:

    python -m tests.features.clusters WORK --rounds 10 --seed 0

prints a line of JSON for each trial; {} is a trial in which nothing was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from hf_zsar.features import ray_engine, writing
from hf_zsar.features.encoding import EncodingOptions, encode_videos, feature_header
from hf_zsar.features.ray_engine import RayOptions, encode_with_ray
from hf_zsar.features.rows import RowEncoder
from hf_zsar.features.store import FeatureStore, VideoFile, file_signature
from tests.evaluation.toy import color_pair, write_clip


ROOT = Path(__file__).resolve().parents[2]
COUNT, BROKEN, BATCH = 40, 7, 2
OPTIONS = EncodingOptions(batch_size=BATCH, dtype="float16")
SECONDS = 0.5  # that a batch takes in a run that something happens to


class Slow:
    """What a batch of a slow model waits for, and where it is counted: a line a batch, with its process."""

    def __init__(self, seconds: float, log: Path) -> None:
        self.seconds, self.log = seconds, log

    def __call__(self) -> None:
        time.sleep(self.seconds)
        with open(self.log, "a") as file:
            file.write(f"{os.getpid()}\n")


def clips(folder: Path) -> list[VideoFile]:
    """Short clips in as many colors, one of which is broken."""
    paths = [folder / f"{number:02}.avi" for number in range(COUNT)]
    for number, path in enumerate(paths):
        if not path.exists():
            write_clip(path, 5 * number)
    paths[BROKEN].write_bytes(b"nothing")
    return [VideoFile(path.name, str(path), file_signature(path)) for path in paths]


def content(folder: Path) -> dict[str, Any]:
    """Rows and features, whatever shards they are in."""
    store = FeatureStore.open(folder)
    features = store.read(store.rows)
    rows = {row.id: [str(row), *(t[n].tolist() for t in features.values())] for n, row in enumerate(store.rows)}
    return {"rows": dict(sorted(rows.items())), "errors": store.errors}


def run(videos: list[VideoFile], out: Path, actors: int, address: str, slow: Slow | None = None) -> None:
    """Embed in this process (0 actors) or by Ray."""
    ray_engine.TASK_BATCHES, writing.SHARD_ROWS = 2, 4
    model, processor = color_pair([], slow)
    store = FeatureStore.claim(out, feature_header(model, processor, OPTIONS))
    if actors:
        encode_with_ray(RowEncoder(model, processor, OPTIONS), videos, store, RayOptions(address, actors))
    else:
        encode_videos(model, processor, videos, store, OPTIONS)


@contextmanager
def cluster(nodes: int = 2) -> Iterator[Any]:
    """Nodes of two processors each, one driver apart from them."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ["PYTHONPATH"] = str(ROOT)  # the workers read the tests' models
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            found.add_node(num_cpus=2)
        found.wait_for_nodes()
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


def driver(work: Path, out: str, actors: int, address: str, seconds: float) -> subprocess.Popen:
    """A run in a process of its own, with a slow model."""
    words = ["--run", out, "--actors", str(actors), "--address", address, "--seconds", str(seconds)]
    log = open(work / f"{out}.log", "ab")  # noqa: SIM115
    command = [sys.executable, "-m", "tests.features.clusters", str(work), *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)


def same_content(work: Path) -> dict[str, Any]:
    """This process and 1 and 3 actors on two nodes."""
    faults: dict[str, Any] = {}
    videos = clips(work / "clips")
    run(videos, work / "0", 0, "")
    expected = content(work / "0")
    faults |= {} if len(expected["rows"]) == COUNT - 1 else {"rows": len(expected["rows"])}
    with cluster() as nodes:
        for actors in (1, 3):
            run(videos, work / str(actors), actors, nodes.address)
            faults |= {} if content(work / str(actors)) == expected else {f"{actors} actors": "other content"}
            before = sorted((work / str(actors) / "data").iterdir())
            run(videos, work / str(actors), actors, nodes.address)
            faults |= {} if before == sorted((work / str(actors) / "data").iterdir()) else {f"{actors}": "twice"}
    return faults


def killed(
    work: Path, kill: Callable[[subprocess.Popen, Any, random.Random], str], rounds: int, seed: int
) -> dict[str, Any]:
    """Runs of three actors in which `kill` ends something at a random moment, then one to the end."""
    faults: dict[str, Any] = {}
    draw = random.Random(seed)
    videos = clips(work / "clips")
    run(videos, work / "0", 0, "")
    out = work / "killed"
    counted = 0
    with cluster() as nodes:
        for number in range(rounds):
            before = lines(out)
            process = driver(work, "killed", 3, nodes.address, SECONDS)
            while process.poll() is None and lines(out) == before:
                time.sleep(0.02)
            time.sleep(draw.uniform(0, COUNT / BATCH * SECONDS))
            what = kill(process, nodes, draw)
            status = process.wait(timeout=180)
            counted += what != ""
            if what != "driver" and status != 0:
                faults[f"round {number}"] = f"after the end of {what or 'nothing'} the run failed with {status}"
        run(videos, out, 3, nodes.address)
        faults |= {} if counted else {"killed": "nothing was"}
    faults |= {} if content(out) == content(work / "0") else {"content": "another"}
    shards = [len(rows) for rows in FeatureStore.open(out)._shards.values()]
    faults |= {} if sum(shards) < 2 * COUNT else {"rows in shards": sum(shards)}
    return faults


def lines(out: Path) -> int:
    log = out.parent / f"{out.name}-batches"
    return log.read_text().count("\n") if log.is_file() else 0


def kill_driver(process: subprocess.Popen, nodes: Any, draw: random.Random) -> str:
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    return "driver" if alive else ""


def kill_actor(process: subprocess.Popen, nodes: Any, draw: random.Random) -> str:
    log = process.args[3] + "/killed-batches"
    workers = [int(pid) for pid in Path(log).read_text().split() if psutil.pid_exists(int(pid))]
    if not workers or process.poll() is not None:
        return ""
    os.kill(draw.choice(workers), signal.SIGKILL)
    return "an actor"


def kill_node(process: subprocess.Popen, nodes: Any, draw: random.Random) -> str:
    if process.poll() is not None:
        return ""
    nodes.remove_node(nodes.list_all_nodes[-1], allow_graceful=False)
    nodes.add_node(num_cpus=2)
    return "a node"


TRIALS: dict[str, Callable[..., dict[str, Any]]] = {
    "same": lambda work, rounds, seed: same_content(work),
    "drivers": lambda work, rounds, seed: killed(work, kill_driver, rounds, seed),
    "actors": lambda work, rounds, seed: killed(work, kill_actor, rounds, seed),
    "nodes": lambda work, rounds, seed: killed(work, kill_node, rounds, seed),
}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", nargs="*", default=[*TRIALS])
    parser.add_argument("--run")
    parser.add_argument("--actors", type=int)
    parser.add_argument("--address")
    parser.add_argument("--seconds", type=float)
    args = parser.parse_args()
    work = args.work.resolve()
    if args.run:
        slow = Slow(args.seconds, work / f"{args.run}-batches")
        run(clips(work / "clips"), work / args.run, args.actors, args.address, slow)
        return
    for name in args.trials:
        started = time.monotonic()
        faults = TRIALS[name](work / name, args.rounds, args.seed)
        print(json.dumps({"trial": name, "faults": faults, "seconds": round(time.monotonic() - started)}), flush=True)


if __name__ == "__main__":
    main()
