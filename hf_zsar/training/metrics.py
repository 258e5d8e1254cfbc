"""What is measured of a model while it trains."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers import EvalPrediction

from hf_zsar.evaluation.metrics.functions import mean_class_accuracy, top_k_accuracy, true_ranks
from hf_zsar.processing.video_reading import VideoReadError

from .candidates import CandidateRows, with_candidates


if TYPE_CHECKING:
    from .build import Run


logger = logging.getLogger(__name__)


def class_accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """For `Trainer(compute_metrics=class_accuracy)`: `top1`, `top5` and `mean_class_accuracy`, the mean over the
    classes that have a video. Of candidates with equal scores the first counts as the better one.

    Raises:
        ValueError: predictions that are not `[N, K]` scores of K candidates, or hold NaN.
    """
    logits, labels = (
        np.concatenate(part) if isinstance(part, list) else np.asarray(part)
        for part in (prediction.predictions, prediction.label_ids)
    )
    ranks = true_ranks(logits, labels)
    return {
        "top1": top_k_accuracy(ranks, 1),
        "top5": top_k_accuracy(ranks, 5),
        "mean_class_accuracy": mean_class_accuracy(ranks == 1, labels, logits.shape[1]),
    }


@torch.no_grad()
def evaluate_accuracy(run: Run, model: torch.nn.Module, accelerator: Accelerator) -> dict[str, float]:
    """`top1` on the evaluation set of a recipe, with its own classes as candidates; every process does its share.
    Videos that cannot be read are left out where the recipe says so. Nothing where there is no such set."""
    if run.eval_dataset is None:
        return {}
    model.eval()
    rows: Any = with_candidates(run.eval_dataset)
    counts = torch.zeros(2, device=accelerator.device)
    for batch in _readable(rows, range(accelerator.process_index, len(rows), accelerator.num_processes), run):
        logits = model(**to_device(batch, accelerator.device), return_loss=False).logits_per_video
        right = logits.argmax(1).cpu() == batch["labels"]
        counts += torch.tensor([right.sum(), len(right)], device=accelerator.device)
    model.train()
    correct, seen = accelerator.reduce(counts).tolist()
    return {"top1": correct / max(seen, 1)}


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Tensors and candidates of a batch moved."""
    return {name: value.to(device) for name, value in batch.items()}


def _readable(rows: CandidateRows, numbers: Sequence[int], run: Run) -> Iterator[dict[str, Any]]:
    """Rows in batches; those that cannot be read are named and left out where the recipe says so."""
    size = run.recipe.optimization.batch_size
    for start in range(0, len(numbers), size):
        batch = [rows[i] for i in numbers[start : start + size]]
        if run.recipe.data.on_error == "raise":
            yield run.collator(batch)
            continue
        for row in batch:
            try:
                yield run.collator([row])
            except VideoReadError as error:
                logger.warning("skipped: %s", error)


__all__ = ["class_accuracy", "evaluate_accuracy"]
