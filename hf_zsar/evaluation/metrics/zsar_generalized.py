"""`evaluate` module: generalized zero-shot accuracy (seen, unseen, harmonic mean) and calibrated stacking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

from hf_zsar.evaluation.metrics.functions import (
    check_scores,
    class_accuracy,
    harmonic_mean,
    nan_mean,
    stacking_curve,
    true_ranks,
)


class ZSARGeneralized(evaluate.Metric):
    """Per-class mean accuracy on seen and on unseen classes with all of them as candidates."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Mean per-class accuracy of seen (S) and unseen (U) classes, H = 2SU/(S+U), and the "
            "calibrated stacking curve: gamma is subtracted from the scores of seen classes.",
            citation="",
            inputs_description="predictions: scores [n, K]. references: position of the right candidate, [n]. "
            "seen: K booleans. gamma: calibration constant of S, U and H (default 0). "
            "return_curve: give the curve's points as well.",
            features=datasets.Features(
                {"predictions": datasets.Sequence(datasets.Value("float64")), "references": datasets.Value("int64")}
            ),
        )

    def _compute(
        self,
        predictions: Any,
        references: Any,
        seen: Sequence[bool] = (),
        gamma: float = 0.0,
        return_curve: bool = False,
    ) -> dict[str, Any]:
        table, targets, members = check_scores(predictions), np.asarray(references), np.asarray(seen, dtype=bool)
        curve = stacking_curve(table, targets, members)
        each = class_accuracy(true_ranks(table - gamma * members, targets) == 1, targets, table.shape[1])
        accuracy_seen, accuracy_unseen = nan_mean(each[members]), nan_mean(each[~members])
        best_gamma, best_harmonic = curve.best()
        result: dict[str, Any] = {
            "seen": accuracy_seen,
            "unseen": accuracy_unseen,
            "harmonic": harmonic_mean(accuracy_seen, accuracy_unseen),
            "area": curve.area,
            "best_gamma": best_gamma,
            "best_harmonic": best_harmonic,
        }
        if return_curve:
            result["curve"] = {
                "gamma": curve.gamma.tolist(),
                "seen": curve.seen.tolist(),
                "unseen": curve.unseen.tolist(),
            }
        return result
