"""How far scores can be trusted: a reliability diagram, and the coverage of label sets against their size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import BLUE, GRAY, ORANGE, SMALL, plain_axes


if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_reliability(axes: Axes, record: Mapping[str, Any]) -> None:
    """How often the best label is right over its probability, one line per split; a dot is as large as its clips are
    many."""
    axes.plot([0, 100], [0, 100], color=GRAY, linewidth=0.7, linestyle=":")
    entries = [entry for entry in record["results"] if "reliability" in entry]
    for entry in entries:
        found = entry["reliability"]
        place = [100 * np.array(found[name]) for name in ("confidence", "accuracy")]
        sizes = 10 + 90 * np.array(found["clips"]) / max(found["clips"])
        axes.plot(*place, color=BLUE, linewidth=1, alpha=_alpha(entries))
        axes.scatter(*place, s=sizes, color=BLUE, alpha=_alpha(entries), linewidths=0, clip_on=False, zorder=3)
    error = 100 * np.mean([entry["metrics"]["ece"] for entry in entries])
    names = dict(xlabel="probability of the best label, %", ylabel="it is right, %")
    plain_axes(axes, title=f"reliability, ECE {error:.1f} %", xlim=(0, 100), ylim=(0, 100), aspect="equal", **names)


def draw_coverage(axes: Axes, record: Mapping[str, Any]) -> None:
    """How often a label set holds the right label over its mean size, one line per split; crosses where a calibration
    says how often it will."""
    entries = [entry for entry in record["results"] if "coverage" in entry]
    for entry in entries:
        shares, sizes = np.array(entry["coverage"]["sets"]).T
        axes.step(sizes, 100 * shares, where="post", color=BLUE, linewidth=1, alpha=_alpha(entries))
    promised = [point for entry in entries for point in entry["coverage"]["promised"]]
    if promised:
        asked, shares, sizes = np.array(promised).T
        axes.vlines(sizes, 100 * asked, 100 * shares, color=ORANGE, linewidth=1)
        axes.plot(sizes, 100 * shares, "x", color=ORANGE, markersize=6, label="calibrated: found")
        axes.plot(sizes, 100 * asked, "_", color=ORANGE, markersize=8, label="asked for")
        axes.legend(fontsize=SMALL, frameon=False, loc="lower right")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    names = dict(xlabel="labels in the set, mean", ylabel="the right one is in it, %")
    plain_axes(axes, title="label sets", ylim=(0, 102), **names)


def _alpha(entries: list[Any]) -> float:
    return 0.35 if len(entries) > 1 else 1.0
