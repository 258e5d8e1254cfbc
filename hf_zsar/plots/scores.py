"""The picture of a classified video: the frames that were looked at, above what the model made of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .style import BLUE, INK, SMALL, TITLE, draw_bars, name_rows, new_figure, pick_evenly, plain_axes, save


if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

# More than these would be too small to see; they are then chosen evenly.
MAX_FRAMES = 8
MAX_LABELS = 12
WIDTH = 11.0  # inches


def draw_scores(path: str, record: dict[str, Any], frames: torch.Tensor, timestamps: Sequence[float]) -> None:
    """Write a PNG (or what the ending of `path` says) of a record of `hf-zsar classify`.

    Args:
        record: `video`, and `scores` (a bar chart) or `timeline` (a heat map over time).
        frames: uint8 `[T, H, W, 3]`, those the scores come from.
        timestamps: `[T]`, seconds.

    Raises:
        ImportError: matplotlib is not installed.
    """
    shown = pick_evenly(len(frames), MAX_FRAMES)
    aspect = frames.shape[1] / frames.shape[2]
    columns = len(shown) if aspect > 0.8 else min(len(shown), MAX_FRAMES // 2)
    strip = min(-(-len(shown) // columns) * (WIDTH / columns * aspect + 0.25), 5.0)
    timeline, scores = record.get("timeline"), record.get("scores", [])[:MAX_LABELS]
    rows = len(timeline_labels(timeline)) if timeline else len(scores)
    chart = 0.34 * rows + (0.75 if timeline else 0.15)
    figure = new_figure(WIDTH, strip + chart + 0.35)
    figure.suptitle(os.path.basename(record["video"].rstrip("/")), fontsize=TITLE, color=INK)
    above, below = figure.subfigures(2, 1, height_ratios=[strip, chart])
    draw_frames(above, [frames[i].numpy() for i in shown], [timestamps[i] for i in shown], columns)
    if timeline:
        draw_timeline(below.subplots(), timeline)
    else:
        draw_bars(below.subplots(), [each["label"] for each in scores], [each["score"] for each in scores])
    save(figure, path)


def draw_transfer(parts: Mapping[str, Sequence[Mapping[str, Any]]], path: str) -> None:
    """One bar chart per label, below each other: the `seen_class`es it is composed of, and the `weight` of each."""
    heights = [max(len(rows), 1) for rows in parts.values()]
    figure = new_figure(8, 0.6 * len(parts) + 0.3 * sum(heights))
    axes = figure.subplots(len(parts), 1, squeeze=False, height_ratios=heights)[:, 0]
    largest = max((row["weight"] for rows in parts.values() for row in rows), default=1.0)
    for each, (label, rows) in zip(axes, parts.items(), strict=True):
        names, weights = [row["seen_class"] for row in rows], [row["weight"] for row in rows]
        draw_bars(each, names, weights, title=f"{label}: share of each seen class")
        each.set_xlim(0, 1.15 * largest)
    save(figure, path)


def draw_frames(figure: SubFigure, frames: Sequence[Any], timestamps: Sequence[float], columns: int) -> None:
    """The frames row by row, each with its time."""
    axes = figure.subplots(-(-len(frames) // columns), columns, squeeze=False).ravel()
    for each in axes:
        each.set_axis_off()
    for each, frame, time in zip(axes, frames, timestamps, strict=False):
        each.imshow(frame)
        each.set_title(f"{time:.1f} s", fontsize=SMALL, color=INK, pad=3)


def draw_timeline(axes: Axes, timeline: Sequence[dict[str, Any]]) -> None:
    """Labels by time; the color is the score. A label outside the k best of a window has no color there."""
    from matplotlib.colors import to_rgba

    labels = timeline_labels(timeline)
    for (start, end), part in zip(cells(timeline), timeline, strict=True):
        for each in part["labels"]:
            if each["label"] in labels:
                color = to_rgba(BLUE, min(1.0, max(0.04, each["score"])))
                row = labels.index(each["label"]) - 0.4
                axes.broken_barh([(start, end - start)], (row, 0.8), color=color, linewidth=0)
    plain_axes(axes, "left", xlabel="seconds (darker: higher score)")
    axes.set_xlim(timeline[0]["start"], timeline[-1]["end"])
    name_rows(axes, labels)


def cells(timeline: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """Start and end of the stretch in which each window is the nearest: windows overlap, these do not."""
    centers = [(part["start"] + part["end"]) / 2 for part in timeline]
    edges = [(left + right) / 2 for left, right in zip(centers, centers[1:], strict=False)]
    edges = [timeline[0]["start"], *edges, timeline[-1]["end"]]
    return list(zip(edges, edges[1:], strict=False))


def timeline_labels(timeline: Sequence[dict[str, Any]]) -> list[str]:
    """The labels of a timeline, highest mean score first, at most MAX_LABELS."""
    totals: dict[str, float] = {}
    for part in timeline:
        for each in part["labels"]:
            totals[each["label"]] = totals.get(each["label"], 0.0) + each["score"]
    return sorted(totals, key=lambda label: -totals[label])[:MAX_LABELS]
