"""The picture of a classified video: the frames that were looked at, above what the model made of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hf_zsar.files import replacing


if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

# More than these would be too small to see; they are then chosen evenly.
MAX_FRAMES = 8
MAX_LABELS = 12
WIDTH = 11.0  # inches
ACCENT, PLAIN, INK = "#2f6fb5", "#b9c9dc", "#333333"


def draw_scores(path: str, record: dict[str, Any], frames: torch.Tensor, timestamps: Sequence[float]) -> None:
    """Write a PNG (or what the ending of `path` says) of a record of `hf-zsar classify`.

    Args:
        record: `video`, and `scores` (a bar chart) or `timeline` (a heat map over time).
        frames: uint8 `[T, H, W, 3]`, those the scores come from.
        timestamps: `[T]`, seconds.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("--picture needs matplotlib: pip install 'hf-zsar[plot]'") from error

    shown = pick_evenly(len(frames), MAX_FRAMES)
    aspect = frames.shape[1] / frames.shape[2]
    columns = len(shown) if aspect > 0.8 else min(len(shown), MAX_FRAMES // 2)
    strip = min(-(-len(shown) // columns) * (WIDTH / columns * aspect + 0.25), 5.0)
    timeline = record.get("timeline")
    rows = len(timeline_labels(timeline)) if timeline else len(record["scores"][:MAX_LABELS])
    chart = 0.34 * rows + (0.75 if timeline else 0.15)
    figure = Figure(figsize=(WIDTH, strip + chart + 0.35), layout="constrained")
    figure.suptitle(os.path.basename(record["video"].rstrip("/")), fontsize=11, color=INK)
    above, below = figure.subfigures(2, 1, height_ratios=[strip, chart])
    draw_frames(above, [frames[i].numpy() for i in shown], [timestamps[i] for i in shown], columns)
    if timeline:
        draw_timeline(below.subplots(), timeline)
    else:
        draw_bars(below.subplots(), record["scores"][:MAX_LABELS])
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)


def pick_evenly(count: int, limit: int) -> list[int]:
    """At most `limit` of the positions 0..count-1, evenly spread, first and last included."""
    if count <= limit:
        return list(range(count))
    return [round(i * (count - 1) / (limit - 1)) for i in range(limit)]


def draw_frames(figure: SubFigure, frames: Sequence[Any], timestamps: Sequence[float], columns: int) -> None:
    """The frames row by row, each with its time."""
    axes = figure.subplots(-(-len(frames) // columns), columns, squeeze=False).ravel()
    for each in axes:
        each.set_axis_off()
    for each, frame, time in zip(axes, frames, timestamps, strict=False):
        each.imshow(frame)
        each.set_title(f"{time:.1f} s", fontsize=8, color=INK, pad=3)


def draw_bars(axes: Axes, scores: Sequence[dict[str, Any]]) -> None:
    """Horizontal bars, the best on top."""
    labels, values = [each["label"] for each in scores], [each["score"] for each in scores]
    positions = range(len(scores))
    bars = axes.barh(positions, values, color=[ACCENT] + [PLAIN] * (len(scores) - 1), height=0.7)
    axes.bar_label(bars, labels=[f"{value:.3f}" for value in values], padding=4, fontsize=9, color=INK)
    axes.set_yticks(positions, [shorten(label) for label in labels], fontsize=10, color=INK)
    axes.invert_yaxis()
    axes.set_xlim(0, max(1e-9, 1.12 * max(values)))
    axes.set_xticks([])
    axes.tick_params(left=False)
    axes.spines[:].set_visible(False)


def draw_timeline(axes: Axes, timeline: Sequence[dict[str, Any]]) -> None:
    """Labels by time; the colour is the score. A label outside the k best of a window has no colour there."""
    labels = timeline_labels(timeline)
    for (start, end), part in zip(cells(timeline), timeline, strict=True):
        for each in part["labels"]:
            if each["label"] in labels:
                colour = (*_rgb(ACCENT), min(1.0, max(0.04, each["score"])))
                row = labels.index(each["label"]) - 0.4
                axes.broken_barh([(start, end - start)], (row, 0.8), color=colour, linewidth=0)
    axes.set_yticks(range(len(labels)), [shorten(label) for label in labels], fontsize=10, color=INK)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(timeline[0]["start"], timeline[-1]["end"])
    axes.set_xlabel("seconds (darker: higher score)", fontsize=9, color=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)


def cells(timeline: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """Start and end of the stretch in which each window is the nearest: windows overlap, these do not."""
    centres = [(part["start"] + part["end"]) / 2 for part in timeline]
    edges = [(left + right) / 2 for left, right in zip(centres, centres[1:], strict=False)]
    edges = [timeline[0]["start"], *edges, timeline[-1]["end"]]
    return list(zip(edges, edges[1:], strict=False))


def timeline_labels(timeline: Sequence[dict[str, Any]]) -> list[str]:
    """The labels of a timeline, highest mean score first, at most MAX_LABELS."""
    totals: dict[str, float] = {}
    for part in timeline:
        for each in part["labels"]:
            totals[each["label"]] = totals.get(each["label"], 0.0) + each["score"]
    return sorted(totals, key=lambda label: -totals[label])[:MAX_LABELS]


def shorten(label: str, limit: int = 40) -> str:
    """The label, cut at `limit` characters."""
    return label if len(label) <= limit else label[: limit - 1].rstrip() + "…"


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
