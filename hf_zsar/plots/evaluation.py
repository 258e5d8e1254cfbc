"""Pictures of a record: accuracy per class, what is taken for what, the stacking curve, and how far to trust it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_zsar.evaluation.records import main_metric
from hf_zsar.evaluation.reports import METRIC_TITLES, dataset_title, percent

from .style import BLUE, GRAY, INK, ORANGE, SMALL, TITLE, new_figure, plain_axes, save
from .trust import draw_coverage, draw_reliability


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMED_CLASSES = 60  # beyond that, names on the confusion matrix are too small to read


def confusion_matrix(record: Mapping[str, Any]) -> np.ndarray:
    """Clips `[K, K]`: row = the clip's class, column = the answer, in label order.

    Each clip counts once: one that stands in several splits counts for an equal part in each. A clip with several
    right labels stands in the row of the first.
    """
    size = len(record["classes"]["names"])
    labels = record["clips"]["labels"]
    pairs = [pair for entry in record["results"] for pair in _answers(entry)]
    splits = np.bincount(np.array([clip for clip, _ in pairs], dtype=np.int64), minlength=len(labels))
    counts = np.zeros((size, size))
    for clip, answer in pairs:
        counts[labels[clip][0], answer] += 1 / splits[clip]
    return counts


def _answers(entry: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    return zip(entry["per_clip"]["clip"], entry["per_clip"]["answer"], strict=True)


def _shares(counts: np.ndarray) -> np.ndarray:
    """Each row by its sum; rows without clips stay zero."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)


def draw_class_accuracy(axes: Axes, record: Mapping[str, Any]) -> None:
    """Horizontal bars, best class on top, with the number of clips behind each; classes without clips are left out."""
    counts = confusion_matrix(record)
    totals = counts.sum(axis=1)
    accuracy = _shares(counts).diagonal()
    order = sorted(np.flatnonzero(totals), key=lambda k: -accuracy[k])  # equal ones stay in label order
    names = record["classes"]["names"]
    axes.barh(range(len(order)), 100 * accuracy[order], color=BLUE, height=0.72)
    axes.set_yticks(range(len(order)), [f"{names[k]} ({totals[k]:.0f})" for k in order], fontsize=7)
    axes.set_ylim(len(order) - 0.4, -0.6)
    plain_axes(axes, title="accuracy per class", xlabel="top-1, % of the clips (number in brackets)", xlim=(0, 100))
    mean = 100 * counts.diagonal().sum() / totals.sum()
    axes.axvline(mean, color=ORANGE, linewidth=1)
    place = dict(xytext=(3, 2), textcoords="offset points", fontsize=7, color=ORANGE)
    axes.annotate(f"all clips {mean:.1f}", (mean, len(order) - 1), **place)


def draw_confusion(axes: Axes, record: Mapping[str, Any]) -> None:
    """Share of each class's clips (row) that is answered with each class (column)."""
    counts = confusion_matrix(record)
    # Columns may be answered without having clips; rows without clips say nothing.
    used = (counts.sum(axis=0) + counts.sum(axis=1)) > 0
    counts, names = counts[used][:, used], np.array(record["classes"]["names"])[used]
    picture = axes.imshow(100 * _shares(counts), cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    plain_axes(axes, title="confusion, % of a row", xlabel="answer", ylabel="class of the clip")
    if len(names) <= _NAMED_CLASSES:
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
        axes.set_yticks(range(len(names)), names, fontsize=6)
    axes.figure.colorbar(picture, ax=axes, fraction=0.03, pad=0.02)


def draw_stacking(axes: Axes, record: Mapping[str, Any]) -> None:
    """Unseen over seen accuracy while the calibration constant moves, one line per split; a dot without it."""
    curves = [entry for entry in record["results"] if "curve" in entry]
    for number, entry in enumerate(curves):
        seen, unseen = (100 * np.array(entry["curve"][name]) for name in ("seen", "unseen"))
        axes.plot(seen, unseen, color=BLUE, linewidth=1, alpha=0.35 if len(curves) > 1 else 1)
        point = [100 * entry["metrics"][name] for name in ("seen", "unseen")]
        axes.plot(*point, "o", color=ORANGE, markersize=4, label="without calibration" if number == 0 else None)
    limit = 1.05 * max(axes.get_xlim()[1], axes.get_ylim()[1])
    for level in range(20, 100, 20):
        # 1/S + 1/U = 2/H
        seen = np.linspace(level / 2 + 1e-3, limit, 200)
        unseen = level * seen / (2 * seen - level)
        axes.plot(seen, unseen, color=GRAY, linewidth=0.7, linestyle=":")
        if level < limit:
            axes.annotate(f"H {level}", (level, level), fontsize=7, color=GRAY)
    names = dict(xlabel="accuracy on seen classes, %", ylabel="accuracy on unseen classes, %")
    plain_axes(axes, title="calibrated stacking", xlim=(0, limit), ylim=(0, limit), aspect="equal", **names)
    axes.legend(fontsize=SMALL, frameon=False)


def result_figure(record: Mapping[str, Any]) -> Figure:
    """All pictures that the record allows: bars on the left, the others on the right.

    Raises:
        ValueError: no clip was scored.
    """
    if not record["clips"]["scored"]:
        raise ValueError("There is nothing to draw: no clip was scored.")
    bars = int((confusion_matrix(record).sum(axis=1) > 0).sum())
    on_the_right: list[tuple[Callable[[Axes, Mapping[str, Any]], None], ...]] = [(draw_confusion,)]
    if any("curve" in entry for entry in record["results"]):
        on_the_right.append((draw_stacking,))
    if any("reliability" in entry for entry in record["results"]):
        on_the_right.append((draw_reliability, draw_coverage))
    heights = [6.5 if len(row) == 1 else 3.4 for row in on_the_right]
    height = min(40.0, max(sum(heights), 1.6 + 0.16 * bars))
    figure = new_figure(14, height)
    left, right = figure.subfigures(1, 2)
    draw_class_accuracy(left.subplots(), record)
    parts = right.subfigures(len(on_the_right), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, row in zip(parts, on_the_right, strict=True):
        for axes, draw in zip(part.subplots(1, len(row), squeeze=False)[0], row, strict=True):
            draw(axes, record)
    name, value, std = main_metric(record)
    number = percent(value) + (f" ± {percent(std)}" if std is not None else "")
    figure.suptitle(
        f"{record['model']['id']}   {dataset_title(record)}, {record['protocol']['id']}   "
        f"{METRIC_TITLES[name]} {number} %   {record['clips']['scored']} of {record['clips']['expected']} clips",
        fontsize=TITLE,
        color=INK,
    )
    return figure


def plot_result(record: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Draw `result_figure` into a file; the suffix chooses the format (png, svg, pdf).

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: no clip was scored.
    """
    save(result_figure(record), path)
