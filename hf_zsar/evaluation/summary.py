"""Score tables -> the numbers of a result: per split, and over splits as the protocol says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .metrics.functions import (
    bootstrap_interval,
    class_accuracy,
    harmonic_mean,
    mean_average_precision,
    mean_class_accuracy,
    nan_mean,
    per_split,
    softmax,
    stacking_curve,
    top_k_accuracy,
    true_ranks,
    wilson_interval,
)
from .protocols import Protocol
from .scoring import SplitScores
from .trust import coverage_curve, reliability


CONFIDENCE = 0.95
INTERVALS = (
    "95 %; top-k: Wilson, clips taken as independent; others: percentile bootstrap over clips, 1000 resamples, seed 0"
)
_CURVE_POINTS = 201
TOP_K = (1, 5)


def summarize_split(
    scores: SplitScores, clip_numbers: Mapping[str, int], class_numbers: Mapping[str, int]
) -> dict[str, Any]:
    """The numbers of one split: counts, metrics, intervals, each clip's rank and answer, and which were wrong.

    `top1_if_missing_wrong` counts clips that could not be scored as wrong: no choice of files can push it up. The
    stacking curve works on softmax probabilities.

    Args:
        clip_numbers, class_numbers: what clips and classes are called in `per_clip`.
    """
    split, count = scores.split, len(scores.clips)
    top_k = [k for k in TOP_K if k == 1 or k < len(split.candidates)]
    ranks = true_ranks(scores.logits, scores.truth) if count else np.zeros(0, dtype=np.int64)
    answers = scores.logits.argmax(axis=1) if count else ranks
    hits = int((ranks == 1).sum())
    result: dict[str, Any] = {
        "split": split.name,
        "candidates": len(split.candidates),
        "clips": {"expected": scores.expected, "scored": count},
        "metrics": {f"top{k}": top_k_accuracy(ranks, k) for k in top_k},
        "intervals": {f"top{k}": wilson_interval(int((ranks <= k).sum()), count, CONFIDENCE) for k in top_k if count},
        "per_clip": {
            "clip": [clip_numbers[clip] for clip in scores.clips],
            "rank": ranks.tolist(),
            "answer": [class_numbers[split.candidates[i]] for i in answers],
        },
        "wrong": _wrong(scores, ranks, answers),
    }
    result["metrics"]["top1_if_missing_wrong"] = hits / scores.expected if scores.expected else math.nan
    if (scores.truth.sum(axis=1) > 1).any():
        result["metrics"]["map"] = mean_average_precision(scores.logits, scores.truth)[0]
    else:
        _add_class_means(result, scores, ranks)
    return result


def _wrong(scores: SplitScores, ranks: np.ndarray, answers: np.ndarray) -> list[dict[str, Any]]:
    """The clips whose best answer is not right: the right labels, and the one given."""
    names = scores.split.candidates
    return [
        {"clip": clip, "right": [names[k] for k in np.flatnonzero(scores.truth[n])], "given": names[answers[n]]}
        for n, clip in enumerate(scores.clips)
        if ranks[n] != 1
    ]


def _add_class_means(result: dict[str, Any], scores: SplitScores, ranks: np.ndarray) -> None:
    targets, num_classes = scores.targets, len(scores.split.candidates)

    def mean_class(rows: np.ndarray) -> float:
        return mean_class_accuracy(ranks[rows] == 1, targets[rows], num_classes)

    result["metrics"]["mean_class"] = mean_class(np.arange(len(ranks)))
    if len(ranks):
        probabilities = softmax(scores.logits)
        result["reliability"] = reliability(probabilities, targets)
        result["metrics"]["ece"] = result["reliability"].pop("ece")
        result["coverage"] = coverage_curve(probabilities, targets, scores.calibration)
        result["intervals"]["mean_class"] = bootstrap_interval(mean_class, len(ranks), CONFIDENCE)
    if scores.split.seen:
        _add_generalized(result, scores, ranks)


def _add_generalized(result: dict[str, Any], scores: SplitScores, ranks: np.ndarray) -> None:
    """Seen, unseen, harmonic mean and the stacking curve, averaged per class; nothing without clips on both sides."""
    split, targets = scores.split, scores.targets
    seen = np.array([name in split.seen for name in split.candidates])

    def harmonic(rows: np.ndarray) -> tuple[float, float, float]:
        each = class_accuracy(ranks[rows] == 1, targets[rows], len(seen))
        parts = nan_mean(each[seen]), nan_mean(each[~seen])
        return (*parts, harmonic_mean(*parts))

    values = harmonic(np.arange(len(ranks)))
    result["metrics"].update(zip(("seen", "unseen", "harmonic"), values, strict=True))
    if math.isnan(values[2]):
        return
    result["intervals"]["harmonic"] = bootstrap_interval(lambda rows: harmonic(rows)[2], len(ranks), CONFIDENCE)
    curve = stacking_curve(softmax(scores.logits), targets, seen)
    gamma, best = curve.best()
    result["metrics"].update(best_gamma=gamma, best_harmonic=best, area=curve.area)
    kept = np.unique(np.linspace(0, len(curve.gamma) - 1, _CURVE_POINTS).round().astype(int))
    result["curve"] = {name: getattr(curve, name)[kept].tolist() for name in ("gamma", "seen", "unseen")}


def summarize(protocol: Protocol, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Over the splits: mean and population standard deviation of each metric; for base-to-novel the harmonic mean.

    Splits without a scored clip are not counted; how many were is said.
    """
    if protocol.id == "base2novel":
        parts = {entry["split"]: entry["metrics"]["top1"] for entry in results}
        if set(parts) == {"base", "novel"}:
            return {**parts, "harmonic": harmonic_mean(parts["base"], parts["novel"])}
    # In the order of the richest split: one without clips may lack some metrics.
    names = list(dict.fromkeys(name for entry in results for name in entry["metrics"]))
    return {name: per_split([entry["metrics"].get(name, math.nan) for entry in results]) for name in names}
