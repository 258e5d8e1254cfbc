"""`evaluate` module: top-k and mean class accuracy of zero-shot scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

from hf_zsar.evaluation.metrics.functions import check_scores, mean_class_accuracy, top_k_accuracy, true_ranks


class ZSARAccuracy(evaluate.Metric):
    """Top-k accuracy and mean class accuracy of score rows against label positions."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Top-k and mean per-class accuracy. Of equal scores the candidate that stands first wins.",
            citation="",
            inputs_description="predictions: scores [n, K]. references: position of the right candidate, [n]. "
            "top_k: which k to report (default 1 and 5).",
            features=datasets.Features(
                {"predictions": datasets.Sequence(datasets.Value("float64")), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions: Any, references: Any, top_k: Sequence[int] = (1, 5)) -> dict[str, float]:
        table, targets = check_scores(predictions), np.asarray(references)
        ranks = true_ranks(table, targets)
        result = {f"top{k}": top_k_accuracy(ranks, k) for k in top_k}
        result["mean_class"] = mean_class_accuracy(ranks == 1, targets, table.shape[1])
        return result
