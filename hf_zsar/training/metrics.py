"""What `Trainer` reports of an evaluation."""

from __future__ import annotations

import numpy as np
from transformers import EvalPrediction

from hf_zsar.evaluation.metrics.functions import mean_class_accuracy, top_k_accuracy, true_ranks


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


__all__ = ["class_accuracy"]
