"""The picture of an explanation: frames under a heat map, their weight over time, words."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from hf_zsar.explanation import ExplainedVideo
from hf_zsar.files import replacing

from .style import INK, ORANGE, PALE, SMALL, TEXT, TITLE, draw_bars, new_figure, pick_evenly, plain_axes, save


if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_FRAMES = 8
_WARM = (255.0, 90.0, 0.0)


def draw_explanation(explanation: ExplainedVideo, path: str | os.PathLike, title: str = "") -> None:
    """Write a picture: PNG (or SVG, PDF) with all frames, or a GIF that plays them.

    Raises:
        ImportError: matplotlib is not installed.
    """
    if os.path.splitext(path)[1].lower() == ".gif":
        with replacing(path) as temporary:
            _draw_gif(explanation, temporary, title)
    else:
        save(_figure(explanation, title, pick_evenly(len(explanation.frames), MAX_FRAMES)), path)


def _figure(explanation: ExplainedVideo, title: str, shown: Sequence[int], cursor: int | None = None) -> Figure:
    columns = min(len(shown), 4)
    rows = -(-len(shown) // columns)
    tall = 2.5 * rows if len(shown) > 1 else 3.6
    low = max(2.1, 0.3 * len(explanation.words) + 0.9)
    figure = new_figure(10, tall + low + 0.5)
    heading = f"“{explanation.label}”  {100 * explanation.score:.0f} %"
    figure.suptitle(f"{title}\n{heading}" if title else heading, fontsize=TITLE, color=INK)
    above, below = figure.subfigures(2, 1, height_ratios=[tall, low])
    places = list(above.subplots(rows, columns, squeeze=False).flat)
    for axes in places:
        axes.set_axis_off()
    for axes, index in zip(places, shown, strict=False):
        _draw_frame(axes, explanation, index)
    if explanation.heat is not None:
        above.supxlabel(
            "orange: the patch matches a word; time and weight of each frame above it", fontsize=SMALL, color=INK
        )
    curve, bars = below.subplots(1, 2, width_ratios=[3, 2])
    _draw_curve(curve, explanation, cursor)
    names, matches = zip(*explanation.words, strict=True) if explanation.words else ((), ())
    draw_bars(bars, names, matches, "{:.2f}", title="which words match the frames (cosine)")
    return figure


def _draw_frame(axes: Axes, explanation: ExplainedVideo, index: int) -> None:
    axes.imshow(overlay(explanation, index))
    weight = explanation.frame_weights[index].item()
    strongest = weight == explanation.frame_weights.max().item()
    axes.set_title(
        f"{explanation.timestamps[index]:.1f} s   {100 * weight:.0f} %",
        fontsize=TEXT,
        color=ORANGE if strongest else INK,
        fontweight="bold" if strongest else "normal",
    )


def overlay(explanation: ExplainedVideo, index: int) -> np.ndarray:
    """A frame, uint8 `[H, W, 3]`: warm where patches match the words, dimmed where they do not."""
    frame = explanation.frames[index].float()
    if explanation.heat is None:
        return frame.byte().numpy()
    # One scale for the whole clip, so that frames can be compared.
    low, high = explanation.heat.min(), explanation.heat.max()
    heat = (explanation.heat[index] - low) / (high - low).clamp(min=1e-6)
    heat = torch.nn.functional.interpolate(heat[None, None], frame.shape[:2], mode="bicubic").clamp(0, 1)[
        0, 0, ..., None
    ]
    gray = frame.mean(-1, keepdim=True)
    warm = torch.tensor(_WARM)
    dimmed = 0.35 * frame + 0.25 * gray
    return ((1 - heat) * dimmed + heat * (0.65 * frame + 0.35 * warm)).clamp(0, 255).byte().numpy()


def _draw_curve(axes: Axes, explanation: ExplainedVideo, cursor: int | None) -> None:
    times, weights = explanation.timestamps, (100 * explanation.frame_weights).tolist()
    axes.fill_between(times, weights, color=PALE, alpha=0.6)
    axes.plot(times, weights, color=ORANGE, marker="o", markersize=4)
    axes.axhline(100 / len(weights), color=INK, linewidth=0.8, linestyle=":")
    axes.text(times[-1], 100 / len(weights), " even", fontsize=SMALL, va="bottom", ha="right", color=INK)
    if cursor is not None:
        axes.axvline(times[cursor], color=INK)
    plain_axes(axes, title="when", xlabel="time (s)", ylabel="weight of the frame (%)", ylim=(0, None))


def _draw_gif(explanation: ExplainedVideo, path: Path, title: str) -> None:
    from PIL import Image

    pages = []
    for index in range(len(explanation.frames)):
        buffer = io.BytesIO()
        _figure(explanation, title, [index], cursor=index).savefig(buffer, format="png", dpi=70)
        pages.append(Image.open(buffer).convert("RGB"))
    times = explanation.timestamps
    pause = 1000 * (times[-1] - times[0]) / max(len(times) - 1, 1)
    duration = int(min(max(pause, 250), 1200))
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=duration, loop=0)
