"""Measured results, and the three forms in which the Hub wants them: a table, `model-index`, `.eval_results/*.yaml`.

A figure without its conditions means nothing, so a result carries them all: training data, clips, split rule,
candidates, frames and views. Only measured results get here; the papers' own figures are text of the card.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MeasuredResult:
    """One figure of an evaluation run.

    Args:
        dataset: name for people ("UCF101").
        protocol: id of the split rule ("half_e2e").
        metric: "accuracy", "top_5_accuracy", "harmonic_mean", ...
        value: in percent.
        std: population standard deviation over splits, percent; None for a single split.
        interval: 95 % confidence interval (low, high), percent.
        clips: clips scored; `missing` of those asked for could not be.
        candidates: class names to choose among (per split).
        splits: number of splits behind mean and deviation.
        frames, views: per clip; views = temporal clips x spatial crops.
        training_data: what the weights were trained on.
        dataset_id: the data set's repository on the Hub; without it no `.eval_results` entry is made.
        revision: commit of the weights that were evaluated.
        date: ISO date of the run.
        notes: anything else that a reader must know.
    """

    dataset: str
    protocol: str
    value: float
    metric: str = "accuracy"
    std: float | None = None
    interval: tuple[float, float] | None = None
    clips: int | None = None
    missing: int = 0
    candidates: int | None = None
    splits: int | None = None
    frames: int | None = None
    views: str | int | None = None
    training_data: str | None = None
    dataset_id: str | None = None
    revision: str | None = None
    date: str | None = None
    notes: str | None = None

    @property
    def metric_name(self) -> str:
        """The metric for people."""
        names = {"accuracy": "top-1", "top_1_accuracy": "top-1", "top_5_accuracy": "top-5"}
        return names.get(self.metric, self.metric.replace("_", " "))

    @property
    def figure(self) -> str:
        """The value with its spread, as it is printed."""
        text = f"{self.value:.2f}"
        if self.std is not None:
            text += f" ± {self.std:.2f}"
        if self.interval is not None:
            text += f" [{self.interval[0]:.2f}, {self.interval[1]:.2f}]"
        return text

    @property
    def conditions(self) -> str:
        """Everything that the figure depends on, in one line."""
        parts = [
            f"trained on {self.training_data}" if self.training_data else None,
            f"{self.frames} frames" if self.frames else None,
            f"{self.views} view(s)" if self.views else None,
            f"{self.candidates} candidates" if self.candidates else None,
            f"{self.splits} splits" if self.splits and self.splits > 1 else None,
            f"{self.clips} clips" if self.clips is not None else None,
            f"{self.missing} missing" if self.missing else None,
            self.notes,
        ]
        return ", ".join(part for part in parts if part)


def to_model_index(results: Iterable[MeasuredResult]) -> list[Any]:
    """`huggingface_hub.EvalResult` objects for the card's metadata."""
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="video-classification",
            task_name="Zero-shot action recognition",
            dataset_type=result.dataset_id or _slug(result.dataset),
            dataset_name=result.dataset,
            dataset_config=result.protocol,
            metric_type=result.metric,
            metric_name=f"{result.metric_name} (percent)",
            metric_value=round(result.value, 2),
        )
        for result in results
    ]


def to_eval_result_files(results: Iterable[MeasuredResult]) -> dict[str, str]:
    """`.eval_results/<data set>.yaml` -> text, for results on data sets that the Hub knows."""
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    entries: dict[str, list[EvalResultEntry]] = {}
    for result in results:
        if result.dataset_id is None:
            continue
        entry = EvalResultEntry(
            dataset_id=result.dataset_id,
            task_id=result.protocol if result.metric == "accuracy" else f"{result.protocol}_{result.metric}",
            value=round(result.value, 2),
            date=result.date,
            notes=result.conditions or None,
        )
        entries.setdefault(f".eval_results/{_slug(result.dataset)}.yaml", []).append(entry)
    return {
        path: yaml.safe_dump(eval_result_entries_to_yaml(listed), sort_keys=False, allow_unicode=True, width=119)
        for path, listed in entries.items()
    }


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
