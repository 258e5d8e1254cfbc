"""`evaluate` module: mean average precision of temporal detections (ActivityNet, THUMOS14)."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

from hf_zsar.evaluation.metrics.localization import TEMPORAL_IOUS, localization_map


SEGMENT = {
    "video": datasets.Value("string"),
    "label": datasets.Value("string"),
    "start": datasets.Value("float64"),
    "end": datasets.Value("float64"),
}


class ZSARLocalization(evaluate.Metric):
    """Mean average precision at thresholds of temporal IoU."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Mean average precision of temporal detections by ActivityNet's definition.",
            citation="",
            inputs_description="One entry a video: the list of its segments {video, label, start, end}, seconds; "
            "predictions also have a score. `grid`: 'activitynet' (0.5:0.05:0.95) or 'thumos14' (0.3:0.1:0.7).",
            features=datasets.Features(
                {
                    "predictions": [{**SEGMENT, "score": datasets.Value("float64")}],
                    "references": [SEGMENT],
                }
            ),
        )

    def _compute(self, predictions: Any, references: Any, grid: str = "activitynet") -> dict[str, Any]:
        if grid not in TEMPORAL_IOUS:
            raise ValueError(f"There is no grid {grid!r} of temporal IoUs. Available: {', '.join(TEMPORAL_IOUS)}.")
        true, found = ([segment for video in side for segment in video] for side in (references, predictions))
        result = localization_map(true, found, temporal_ious=TEMPORAL_IOUS[grid])
        return {**result, "temporal_ious": list(TEMPORAL_IOUS[grid])}
