"""Several processes, and processes that are killed."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from transformers import AutoModel

from hf_zsar.training import train
from tests.training.process_options import ROOT, launch
from tests.training.runs import largest_difference, start_of, tiny_recipe, weights_of
from tests.training.stock_runs import WITHOUT_CHANCE


# eps = 1 turns AdamW into nearly plain descent, whose steps are as large as the gradients: a gradient that is off by a
# factor, or lacks the negatives of the other process, shows.
PLAIN = {"learning_rates": {"default": 0.3}, "eps": 1.0, "clip_grad": 0.5, "weight_decay": 0.01, "warmup_epochs": 0.0}


def write(recipe, folder):
    path = folder / f"{recipe.method}.yaml"
    path.write_text(yaml.safe_dump(dataclasses.asdict(recipe)))
    return path


def start_without_chance(method, folder):
    """A tiny model without dropout, and without batch statistics, which each process takes of its own videos."""
    if method != "rest":
        return start_of(method, folder)
    return start_of(method, folder, **WITHOUT_CHANCE["rest"])


@pytest.mark.parametrize("way", ["trainer", pytest.param("loop", marks=pytest.mark.slow)])
def test_two_processes_equal_one_with_the_same_global_batch(way, rendered, tmp_path):
    """The contrastive losses see the negatives of both processes, with gradient, or this fails."""
    methods, outputs, recipes = ("actionclip", "dasti", "rest"), {}, []
    for method in methods:
        model = start_without_chance(method, tmp_path / f"start-{method}")
        one = tiny_recipe(method, rendered, model, tmp_path / f"one-{method}", optimization={**PLAIN, "batch_size": 6})
        options = dataclasses.replace(one.optimization, batch_size=3)
        two = dataclasses.replace(one, output=str(tmp_path / f"two-{method}"), optimization=options)
        outputs[method] = train(one), Path(two.output)
        recipes.append(str(write(two, tmp_path)))
    launch(2, str(ROOT / "tests" / "training" / "two_processes.py"), way, *recipes)
    for method in methods:
        one, two = outputs[method]
        assert largest_difference(one, two) < 1e-5, method
        first = weights_of(one / "checkpoint-2")
        learned = {name: tensor for name, tensor in weights_of(one).items() if not name.startswith("seen_")}
        moved = max((first[name] - tensor).abs().max().item() for name, tensor in learned.items())
        assert moved > 1e-3, f"{method}: a test in which nothing moves proves nothing"


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_checkpoint(rendered, tmp_path):
    """SIGKILL at random moments until it is through; the result is that of the run that nobody killed."""
    model = start_of("stdd", tmp_path / "start")
    recipe = tiny_recipe("stdd", rendered, model, tmp_path / "out", optimization={"epochs": 8}, save_steps=1)
    path, generator, kills = write(recipe, tmp_path), random.Random(0), 0
    command = [sys.executable, "-m", "hf_zsar.cli", "train", str(path), "--resume"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    output = tmp_path / "out"
    for _ in range(40):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        known, patience = set(output.glob("checkpoint-*")), time.monotonic() + 120
        while process.poll() is None and kills < 4 and time.monotonic() < patience:
            if set(output.glob("checkpoint-*")) - known:
                time.sleep(generator.uniform(0, 0.4))
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.01)
        _, errors = process.communicate(timeout=300)
        assert process.returncode in (0, -signal.SIGKILL), errors[-2000:]
        for checkpoint in output.glob("checkpoint-*"):
            assert AutoModel.from_pretrained(checkpoint)
        if process.returncode == 0:
            break
    assert kills >= 2 and process.returncode == 0
    whole = train(dataclasses.replace(recipe, output=str(tmp_path / "whole")))
    assert largest_difference(output, whole) == 0
