"""What the stock `Trainer` measures, draws and learns, in one process or as one of several: to be equal."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from hf_zsar.training import with_candidates
from tests.tiny_models import TINY
from tests.training.options import Bench, accuracies, lively, measured_sets, recorded_draws, three_epochs


# No dropout, no random masks, and no batch statistics, which each process takes of its own videos.
WITHOUT_CHANCE: dict[str, dict[str, Any]] = {
    "rest": {
        **TINY["rest"].variants["vision_transformer"],
        "text_config": {
            **TINY["rest"].config()["text_config"],
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
    },
    "stdd": {"use_stca": False},
}
GLOBAL_BATCH = 6


def measured(bench: Bench, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Metrics and predictions by batch size and evaluation set."""
    sets = {name: with_candidates(rows, names) for name, (rows, names) in measured_sets().items()}
    model, found = lively(bench.method), {}
    for size in sizes:
        trainer = bench.trainer(model, per_device_eval_batch_size=size, eval_dataset=sets)
        found[f"metrics, {size}"] = accuracies(trainer.evaluate())
        for name, rows in sets.items():
            given = trainer.predict(rows)
            found[f"{name}, {size}"] = [given.predictions.tolist(), given.label_ids.tolist()]
    return found


def learned(bench: Bench, world: int) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses of two updates of six videos in all, and the weights after them."""
    model = bench.new_model(**WITHOUT_CHANCE.get(bench.method, {}))
    options = {"optim": "sgd", "learning_rate": 0.3, "per_device_train_batch_size": GLOBAL_BATCH // world}
    trainer = bench.trainer(model, **options)
    trainer.train()
    losses = [record["loss"] for record in trainer.state.log_history if "loss" in record]
    return losses, {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def main(videos: str, output: str, *methods: str) -> None:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    for method in methods:
        bench = Bench(method, Path(videos), Path(output) / method)
        losses, weights = learned(bench, world)
        found = {"losses": losses, **measured(bench, (1, 3, 8))}
        found["draws"] = recorded_draws(
            three_epochs(
                bench, per_device_train_batch_size=3, dataloader_num_workers=1, dataloader_persistent_workers=True
            )
        )
        if rank == 0:
            save_file(weights, Path(output) / f"{method}.safetensors")
        (Path(output) / f"{method}-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
