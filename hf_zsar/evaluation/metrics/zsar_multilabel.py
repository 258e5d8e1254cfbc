"""`evaluate` module: mean average precision where a clip may show several actions."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

from hf_zsar.evaluation.metrics.functions import mean_average_precision


class ZSARMultilabel(evaluate.Metric):
    """Mean average precision over the candidates that occur."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Mean average precision without interpolation over the candidates that have a positive clip.",
            citation="",
            inputs_description="predictions: scores [n, K]. references: 0 or 1, [n, K].",
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float64")),
                    "references": datasets.Sequence(datasets.Value("int64")),
                }
            ),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, Any]:
        mean, each = mean_average_precision(predictions, references)
        return {"map": mean, "average_precision": each.tolist()}
