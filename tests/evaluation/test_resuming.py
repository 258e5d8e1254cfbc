"""Kill it, start it again, share it out: the result is the same to the bit."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from hf_zsar.data import load_class_names
from hf_zsar.evaluation import load_protocol
from hf_zsar.evaluation.records import load_record
from tests.evaluation.toy import without_clock, write_clip


UCF = load_class_names("ucf101")
CLIPS = 42


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Forty-two clips of the three test splits, two of them unreadable."""
    root = tmp_path_factory.mktemp("UCF-101")
    protocol = load_protocol("test_splits", "ucf101")
    clips = protocol.clips[:: len(protocol.clips) // CLIPS][:CLIPS]
    for number, clip in enumerate(clips):
        name = protocol.labels_of[clip][0]
        path = write_clip(root / name / f"{clip}.avi", (UCF.index(name) + number % 3) % len(UCF))
        if number in (5, 30):
            path.write_bytes(path.read_bytes()[:100])
    return root


def run(mode: str, videos, work, repo_root) -> dict:
    script = repo_root / "tests" / "evaluation" / "forked_runs.py"
    environment = {**os.environ, "PYTHONPATH": str(repo_root), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, str(script), mode, str(videos), str(work)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_killed_ten_times_and_resumed_equals_uninterrupted(videos, tmp_path, repo_root):
    result = run("kill", videos, tmp_path, repo_root)
    assert result["killed"] == 11
    assert result["half_written"] == [1, 0]  # a temporary file, and nothing under a shard's name
    assert result["shards"] == sorted(result["shards"])  # work done stays done
    assert len(set(result["shards"])) > 2  # the kills came at different stages
    assert result["equal"] and result["same_features"]
    assert result["scored"] == CLIPS - 2
    assert not result["leftovers"]


def test_one_two_and_four_processes_give_the_same_record(videos, tmp_path, repo_root):
    result = run("processes", videos, tmp_path, repo_root)
    assert result["equal"] and result["same_features"]
    assert (result["scored"], result["broken"]) == (CLIPS - 2, 2)
    assert result["shards"] > 4  # every process had work


LAUNCHERS = {
    "one": [],
    # On CPUs `accelerate launch --cpu` starts one process unless there is MPI; torchrun starts as many as it is told.
    "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    "accelerate": ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"],
}


@pytest.mark.slow
def test_launchers_and_the_command_line(tmp_path, repo_root):
    """The documented ways: `torchrun -m hf_zsar.cli evaluate`, and `accelerate launch` with GPUs."""
    from tests.tiny_models import tiny_folder

    model = tiny_folder("rest", tmp_path / "model")
    labels = ["running", "swimming", "eating"]
    clips = [{"file": f"{i}.avi", "label": labels[i % 3]} for i in range(9)]
    for i in range(9):
        write_clip(tmp_path / f"{i}.avi", 20 * i, frames=6)
    (tmp_path / "manifest.json").write_text(json.dumps({"labels": labels, "clips": clips}))
    arguments = ["-m", "hf_zsar.cli", "evaluate", "--model", str(model), "--manifest", str(tmp_path / "manifest.json")]
    records = []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for name, launcher in LAUNCHERS.items():
        output = ["--batch-size", "1", "--store", str(tmp_path / name), "--json", str(tmp_path / f"{name}.json")]
        if name == "accelerate":
            launcher = [*launcher, "--main_process_port", port]
        command = [sys.executable, *launcher, *arguments, *output]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("top-1") == 1  # one process speaks
        assert ("2 processes" in done.stderr) == (name != "one")
        records.append(without_clock(load_record(tmp_path / f"{name}.json")))
    assert records[0] == records[1] == records[2]
