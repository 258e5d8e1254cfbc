"""The picture of an evaluation of segments: precision per class, over temporal IoU, and what is found by length."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from .style import BLUE, GRAY, INK, ORANGE, SMALL, TITLE, draw_bars, new_figure, plain_axes, save


MAX_CLASSES = 60  # best and worst of more
COLORS = (BLUE, ORANGE, GRAY)


def plot_localization(record: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Draw a record of [`score_localization`]; the suffix chooses the format."""
    ranked = sorted(record["per_class"].items(), key=lambda pair: -pair[1])
    half = MAX_CLASSES // 2
    shown = ranked if len(ranked) <= MAX_CLASSES else [*ranked[:half], *ranked[-half:]]
    figure = new_figure(12, max(5.0, 1.2 + 0.2 * len(shown)))
    left, right = figure.subfigures(1, 2)
    title = "average precision per class" + ("" if shown is ranked else f", best and worst {half}")
    draw_bars(left.subplots(), [name for name, _ in shown], [100 * value for _, value in shown], "{:.1f}", title)
    above, below = right.subplots(2, 1)
    grid = record["protocol"]["temporal_ious"]
    for color, (name, each) in zip(COLORS, record["summary"].items(), strict=False):
        known = "all classes" if name == "all" else f"{name} % known, {each['splits']} splits"
        label = f"{known}: {100 * each['average_map']:.1f}"
        above.plot(grid, [100 * value for value in each["map"]], "o-", color=color, markersize=4, label=label)
    plain_axes(above, title="mAP, %", xlabel="temporal IoU", ylim=(0, None))
    above.legend(fontsize=SMALL, frameon=False)
    lengths = {name: each for name, each in record["per_length"].items() if each["truths"]}
    names = [f"{name} ({each['truths']})" for name, each in lengths.items()]
    below.bar(names, [100 * each["recall"] for each in lengths.values()], color=BLUE, width=0.6)
    plain_axes(below, title="found at IoU 0.5, %, by length (number)", ylim=(0, 100))
    videos = record["videos"]
    text = f"{record['protocol']['id']}   {videos['scored']} of {videos['expected']} videos"
    figure.suptitle(text, fontsize=TITLE, color=INK)
    save(figure, path)
