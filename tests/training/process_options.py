"""Options that start several processes, or that look at how processes were started."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file

from hf_zsar.data import VideoDatasetError, load_video_dataset
from hf_zsar.training import with_candidates
from tests.training.options import Bench, check_draws, expect_refusal, option, recorded_draws, three_epochs
from tests.training.runs import TRAINED
from tests.training.stock_runs import GLOBAL_BATCH, learned, measured


ROOT = Path(__file__).resolve().parents[2]


def launch(count: int, *arguments: str, **environment: str) -> None:
    """Run a script in several processes on CPUs, as torchrun does."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    variables |= environment
    done = subprocess.run([*command, *arguments], env=variables, capture_output=True, text=True, timeout=900)
    errors = "\n".join(line for line in done.stderr.splitlines() if "shards" not in line)
    assert done.returncode == 0, errors[:3000]


@functools.cache
def two_processes(videos: Path) -> Path:
    """Where the results of all methods are, in two processes."""
    output = Path(tempfile.mkdtemp())
    launch(2, str(ROOT / "tests" / "training" / "stock_runs.py"), str(videos), str(output), *TRAINED)
    return output


@contextmanager
def started_by(launcher: dict[str, str]) -> Iterator[None]:
    """What a launcher leaves in the environment."""
    with mock.patch.dict(os.environ, launcher):
        yield


@option("`torchrun --nproc_per_node 2` with `use_cpu=True`: all as in one process")
def torchrun(bench: Bench) -> None:
    """Loss and gradient over all processes, every video measured once, the same clips drawn in every epoch."""
    output, method = two_processes(bench.videos), bench.method
    ranks = [json.loads((output / f"{method}-{rank}.json").read_text()) for rank in (0, 1)]
    losses, weights = learned(bench, 1)
    assert ranks[0]["losses"] == pytest.approx(losses, abs=1e-5)
    assert losses[0] != losses[1]
    for name, tensor in load_file(output / f"{method}.safetensors").items():
        torch.testing.assert_close(tensor, weights[name], atol=2e-5, rtol=0, msg=name)
    expected = measured(bench, (3,))
    for size in (1, 3, 8):
        for name in ("seen", "unseen", "generalized"):
            (logits, labels), (given, found) = expected[f"{name}, 3"], ranks[0][f"{name}, {size}"]
            assert found == labels, "every video once, in order"
            torch.testing.assert_close(torch.tensor(given), torch.tensor(logits), atol=1e-3, rtol=1e-3)
        assert ranks[0][f"metrics, {size}"] == ranks[1][f"metrics, {size}"] == expected["metrics, 3"]
    draws = recorded_draws(three_epochs(bench, per_device_train_batch_size=GLOBAL_BATCH))
    check_draws(draws)
    for epoch, values in draws.items():
        assert sorted(value for rank in ranks for value in rank["draws"][str(epoch)]) == values


@option("`torchrun` on CPUs without `use_cpu=True`")
def torchrun_apart(bench: Bench) -> None:
    with started_by({"WORLD_SIZE": "2"}), expect_refusal("each would train for itself.*use_cpu"):
        bench.trainer(use_cpu=False)


@option("`accelerate launch --cpu --num_processes 2`")
def accelerate_launch(bench: Bench) -> None:
    """It starts one; `test_accelerate_launch_starts_one_process` has the real one."""
    launcher = {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1"}
    with started_by(launcher), expect_refusal("asked for several processes and started this one.*torchrun"):
        bench.trainer()


@option("streaming evaluation in several processes")
def streamed_apart(bench: Bench) -> None:
    stream = load_video_dataset(bench.videos, streaming=True)
    trainer = bench.trainer(eval_dataset=with_candidates(stream))
    with started_by({"WORLD_SIZE": "2"}), expect_refusal("count twice", VideoDatasetError):
        trainer.evaluate()
