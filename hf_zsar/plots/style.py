"""What all pictures share: colors, figures, axes, bars, and how a picture becomes a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hf_zsar.files import replacing


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What is meant, what it stands against, what is said of both, and text. Blue and orange differ to every eye.
BLUE, ORANGE, GRAY, INK = "#2f6fb5", "#d9702b", "#8a97a8", "#333333"
PALE, PALE_BLUE, PALE_ORANGE = "#b9c9dc", "#e8eef6", "#fbeee0"
# Of things side by side, in turn; white text is readable on each.
COLORS = (BLUE, "#b5482f", "#3c7d4f", "#7d4f9e", "#8a6a1f", "#2f7f8a")
SMALL, TEXT, TITLE = 8, 9.5, 11


def new_figure(width: float, height: float, layout: str | None = "constrained") -> Figure:
    """A figure in inches. It belongs to nobody but the caller: no display is needed, pyplot's figures stay alone.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'hf-zsar[plot]'") from error
    return Figure(figsize=(width, height), layout=layout)


def save(figure: Figure, path: str | os.PathLike, dpi: int = 120) -> None:
    """Write a figure, whole or not at all; the ending of `path` says the format.

    Raises:
        ValueError: an ending that matplotlib does not know.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi)


def plain_axes(axes: Axes, *hidden: str, title: str = "", **labels: Any) -> None:
    """No box: top and right are left out, and the sides in `hidden`; `labels` as for `Axes.set`."""
    axes.spines[["top", "right", *hidden]].set_visible(False)
    axes.set(**labels)
    axes.tick_params(labelsize=SMALL, colors=INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(fontsize=TEXT, color=INK)
    if title:
        axes.set_title(title, loc="left", fontsize=TEXT, fontweight="bold", color=INK)


def draw_bars(
    axes: Axes, names: Sequence[str], values: Sequence[float], style: str = "{:.3f}", title: str = ""
) -> None:
    """Horizontal bars with their values, the first on top and in the strong color; nothing else."""
    bars = axes.barh(range(len(values)), values, color=[BLUE, *[PALE] * len(values)][: len(values)], height=0.7)
    axes.bar_label(bars, labels=[style.format(value) for value in values], padding=4, fontsize=SMALL, color=INK)
    plain_axes(axes, "bottom", "left", title=title)
    name_rows(axes, names)
    axes.set_xticks([])
    low, high = min(0, *values, 0), max(1e-9, *values, 1e-9)
    room = 0.15 * (high - low)  # for the values
    axes.set_xlim(low - room * (low < 0), high + room)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """A name a row, the first on top."""
    axes.set_yticks(range(len(names)), [shorten(name) for name in names], fontsize=TEXT, color=INK)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.tick_params(axis="y", left=False)


def shorten(name: str, limit: int = 40) -> str:
    """The name, cut at `limit` characters."""
    return name if len(name) <= limit else name[: limit - 1].rstrip() + "…"


def pick_evenly(count: int, limit: int) -> list[int]:
    """At most `limit` of the positions 0..count-1, evenly spread, first and last included."""
    if count <= limit:
        return list(range(count))
    return [round(i * (count - 1) / (limit - 1)) for i in range(limit)]
