"""The course of a training run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .style import BLUE, ORANGE, new_figure, plain_axes, save


if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_history(records: Sequence[Mapping[str, Any]], path: str | os.PathLike) -> None:
    """Mean loss of every epoch and, where it was measured, top-1 accuracy (from epoch 0, before training).

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure = new_figure(6, 3.2)
    axes = figure.subplots()
    plain_axes(axes, xlabel="epoch", ylabel="training loss")
    axes.xaxis.get_major_locator().set_params(integer=True)
    _draw_line(axes, records, "loss", 1, BLUE)
    if any("top1" in record for record in records):
        right = axes.twinx()
        plain_axes(right, "left", ylabel="top-1 on the evaluation set (%)", ylim=(0, 100))
        right.spines["right"].set_visible(True)
        _draw_line(right, records, "top1", 100, ORANGE)
    save(figure, path)


def _draw_line(axes: Axes, records: Sequence[Mapping[str, Any]], name: str, scale: float, color: str) -> None:
    known = [(record["epoch"], scale * record[name]) for record in records if record.get(name) is not None]
    axes.plot([x for x, _ in known], [y for _, y in known], color=color, marker="o", markersize=3)
    axes.yaxis.label.set_color(color)
