"""Average precision of temporal detections, by the definition of the ActivityNet challenge; numpy alone.

A prediction is right at a temporal IoU when it overlaps a truth of its video and class at least that much and no
prediction of a higher score took that truth before. Precision is interpolated (its largest value at any recall from
there on) and averaged over recall. All times are in seconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np


# The grids of thresholds under which results are published.
TEMPORAL_IOUS: dict[str, tuple[float, ...]] = {
    "activitynet": tuple(np.linspace(0.5, 0.95, 10).tolist()),
    "thumos14": tuple(np.linspace(0.3, 0.7, 5).tolist()),
}

Segment = Mapping[str, Any]


def check_segments(segments: Iterable[Segment], scored: bool = False) -> list[Segment]:
    """The segments as a list.

    Raises:
        ValueError: one without `video`, `label`, `start` and `end` (and `score`, where `scored`), with an end before
            its start, or with a number that is not finite.
    """
    numbers = ("start", "end", "score") if scored else ("start", "end")
    listed = list(segments)
    for position, segment in enumerate(listed):
        missing = [name for name in ("video", "label", *numbers) if name not in segment]
        if missing:
            raise ValueError(f"segment {position} has no {', '.join(missing)}.")
        if not np.isfinite([float(segment[name]) for name in numbers]).all():
            raise ValueError(f"segment {position} has a number that is not finite: {dict(segment)}.")
        if segment["end"] < segment["start"]:
            raise ValueError(f"segment {position} ends before it starts: {dict(segment)}.")
    return listed


def temporal_iou(segment: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Overlap over union of `[2]` (start, end) with each of `[n, 2]`; 0 where both have no length."""
    overlap = np.minimum(segment[1], others[:, 1]) - np.maximum(segment[0], others[:, 0])
    overlap = overlap.clip(min=0)
    union = (others[:, 1] - others[:, 0]) + (segment[1] - segment[0]) - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def interpolated_average_precision(hits: np.ndarray, truths: int) -> float:
    """Average precision of predictions in order of falling score.

    Args:
        hits: bool `[n]`, whether each is right.
        truths: how many right ones there could be.
    """
    found = np.cumsum(hits)
    precision = np.concatenate([[0.0], found / np.arange(1, len(hits) + 1), [0.0]])
    recall = np.concatenate([[0.0], found / truths, [1.0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(((recall[steps] - recall[steps - 1]) * envelope[steps]).sum())


def detection_average_precision(
    truths: Sequence[Segment], predictions: Sequence[Segment], temporal_ious: Sequence[float]
) -> np.ndarray:
    """Average precision `[len(temporal_ious)]` of one class; of equal scores the earlier prediction leads."""
    thresholds = np.asarray(temporal_ious, dtype=np.float64)
    spans: dict[Any, list[tuple[float, float]]] = defaultdict(list)
    for truth in truths:
        spans[truth["video"]].append((truth["start"], truth["end"]))
    of_video = {video: np.asarray(rows, dtype=np.float64) for video, rows in spans.items()}
    taken = {video: np.zeros((len(thresholds), len(rows)), dtype=bool) for video, rows in of_video.items()}
    hits = np.zeros((len(thresholds), len(predictions)), dtype=bool)
    order = np.argsort([-float(prediction["score"]) for prediction in predictions], kind="stable")
    for rank, position in enumerate(order):
        prediction = predictions[position]
        video = prediction["video"]
        if video not in of_video:
            continue
        span = np.array([prediction["start"], prediction["end"]], dtype=np.float64)
        overlaps = temporal_iou(span, of_video[video])
        for row, threshold in enumerate(thresholds):
            free = np.flatnonzero((overlaps >= threshold) & ~taken[video][row])
            if len(free):
                taken[video][row, free[overlaps[free].argmax()]] = hits[row, rank] = True
    return np.array([interpolated_average_precision(row, len(truths)) for row in hits])


def localization_map(
    ground_truth: Iterable[Segment],
    predictions: Iterable[Segment],
    temporal_ious: Sequence[float] = TEMPORAL_IOUS["activitynet"],
) -> dict[str, Any]:
    """Mean average precision of temporal detections.

    Args:
        ground_truth: segments with `video`, `label`, `start`, `end`.
        predictions: the same with `score`; those of a label without any truth are left out, as the official code does.
        temporal_ious: thresholds in (0, 1].

    Returns:
        `average_map`; `map` per threshold and `average_precision` per label and threshold, as lists in the order of
        the thresholds.

    Raises:
        ValueError: no truth at all, or a segment that is none (see [`check_segments`]).
    """
    by_label: dict[Any, tuple[list[Segment], list[Segment]]] = {}
    for truth in check_segments(ground_truth):
        by_label.setdefault(truth["label"], ([], []))[0].append(truth)
    if not by_label:
        raise ValueError("ground_truth is empty: there is nothing to find.")
    for prediction in check_segments(predictions, scored=True):
        if prediction["label"] in by_label:
            by_label[prediction["label"]][1].append(prediction)
    each = {label: detection_average_precision(*sides, temporal_ious) for label, sides in by_label.items()}
    means = np.mean(list(each.values()), axis=0)
    return {
        "average_map": float(means.mean()),
        "map": means.tolist(),
        "average_precision": {label: row.tolist() for label, row in each.items()},
    }
