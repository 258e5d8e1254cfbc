"""Why a video got its label, for methods with saliency (DA-STI): frames under a heat map, weight over time, words."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .files import replacing


if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

MAX_FRAMES = 8
ACCENT, PLAIN, INK = "#c2410c", "#b9c9dc", "#333333"


@dataclass(frozen=True)
class Explanation:
    """What moved the score of one label.

    Args:
        label, score: the label and its probability among the candidates.
        frames: uint8 `[T, H, W, 3]`, as the model saw them: resized and cropped.
        timestamps: `[T]`, seconds.
        frame_weights: `[T]`, share of each frame in the score, sums to 1.
        heat: `[T, h, w]`, how well each patch matches its best word (cosine), or None without spatial interaction.
        words: the attributes (or the words of the label) and how well they match the frames they attend to (cosine),
            the mean over the tokens of each, best first.
    """

    label: str
    score: float
    frames: torch.Tensor
    timestamps: list[float]
    frame_weights: torch.Tensor
    heat: torch.Tensor | None
    words: list[tuple[str, float]]


@torch.no_grad()
def explain(pipe: Any, video: Any, labels: Sequence[str], label: str | None = None, **options: Any) -> Explanation:
    """Explain the best label of a video, or the one asked for.

    Args:
        pipe: a [`ZeroShotVideoClassificationPipeline`] of a model with `get_saliency`.
        video: in any form.
        labels: the candidates.
        label: one of them.
        options: `hypothesis_template`, `descriptions`, and options of the video processor.

    Raises:
        ValueError: a model without saliency, a label that is no candidate, or fewer than two candidates.
        VideoReadError: a video that cannot be read.
    """
    if not hasattr(pipe.model, "get_saliency"):
        raise ValueError(f"{type(pipe.model).__name__} has no saliency: only DA-STI models explain themselves so.")
    text = {name: options.pop(name, None) for name in ("hypothesis_template", "descriptions")}
    bank = pipe.label_bank(pipe.processor.check_candidates(labels), **text).to(pipe.device)
    processor = pipe.processor.video_processor
    clip = processor.sample(video, **options)
    seen = processor.resize_crop(clip.frames)[0]
    features = pipe.encode_videos(processor.normalize(seen)[None])
    scores = pipe.model.score(features, bank).softmax(-1)[0]
    if label is not None and label not in bank.labels:
        raise ValueError(f"{label!r} is none of the candidates.")
    row = int(scores.argmax()) if label is None else bank.labels.index(label)
    chosen = bank.select([row])
    saliency = {name: tensor[0, 0].float().cpu() for name, tensor in pipe.model.get_saliency(features, chosen).items()}
    heat = saliency.get("patches")
    if heat is not None:
        side = round(heat.shape[-1] ** 0.5)
        heat = heat.view(-1, side, heat.shape[-1] // side)
    return Explanation(
        label=bank.labels[row],
        score=scores[row].item(),
        frames=seen.permute(0, 2, 3, 1),
        timestamps=[float(time) for time in clip.timestamps],
        frame_weights=saliency["frames"],
        heat=heat,
        words=_words(pipe.processor, chosen, saliency["words"]),
    )


def _words(processor: Any, bank: Any, relevance: torch.Tensor) -> list[tuple[str, float]]:
    groups, ids = bank["word_groups"][0].tolist(), bank["word_ids"][0].tolist()
    found = []
    for group, name in processor.word_names(ids, groups):
        of_group = [value for value, each in zip(relevance.tolist(), groups, strict=True) if each == group]
        found.append((name, sum(of_group) / len(of_group)))
    return sorted(found, key=lambda pair: -pair[1])


def draw_explanation(explanation: Explanation, path: str | os.PathLike, title: str = "") -> None:
    """Write a picture: PNG (or SVG, PDF) with all frames, or a GIF that plays them.

    Raises:
        ImportError: matplotlib is not installed.
    """
    with replacing(path) as temporary:
        if temporary.suffix.lower() == ".gif":
            _draw_gif(explanation, temporary, title)
        else:
            _figure(explanation, title, _shown(explanation)).savefig(temporary, dpi=110)


def _shown(explanation: Explanation) -> list[int]:
    count = len(explanation.frames)
    if count <= MAX_FRAMES:
        return list(range(count))
    return [round(i * (count - 1) / (MAX_FRAMES - 1)) for i in range(MAX_FRAMES)]


def _figure(explanation: Explanation, title: str, shown: Sequence[int], cursor: int | None = None) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Explanations need matplotlib: pip install 'hf-zsar[plot]'") from error
    columns = min(len(shown), 4)
    rows = -(-len(shown) // columns)
    tall = 2.5 * rows if len(shown) > 1 else 3.6
    words = max(len(explanation.words), 1)
    figure = Figure(figsize=(10, tall + max(2.1, 0.3 * words + 0.9) + 0.5), layout="constrained")
    heading = f"“{explanation.label}”  {100 * explanation.score:.0f} %"
    figure.suptitle(f"{title}\n{heading}" if title else heading, fontsize=12, color=INK)
    above, below = figure.subfigures(2, 1, height_ratios=[tall, max(2.1, 0.3 * words + 0.9)])
    axes = list(above.subplots(rows, columns, squeeze=False).flat)
    for axis in axes:
        axis.axis("off")
    for axis, index in zip(axes, shown, strict=False):
        _draw_frame(axis, explanation, index)
    if explanation.heat is not None:
        above.supxlabel(
            "orange: the patch matches a word; time and weight of each frame above it", fontsize=8, color=INK
        )
    curve, bars = below.subplots(1, 2, width_ratios=[3, 2])
    _draw_curve(curve, explanation, cursor)
    _draw_words(bars, explanation)
    return figure


def _draw_frame(axis: Axes, explanation: Explanation, index: int) -> None:
    axis.imshow(overlay(explanation, index))
    weight = explanation.frame_weights[index].item()
    strongest = weight == explanation.frame_weights.max().item()
    axis.set_title(
        f"{explanation.timestamps[index]:.1f} s   {100 * weight:.0f} %",
        fontsize=9,
        color=ACCENT if strongest else INK,
        fontweight="bold" if strongest else "normal",
    )


def overlay(explanation: Explanation, index: int) -> np.ndarray:
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
    grey = frame.mean(-1, keepdim=True)
    warm = torch.tensor([255.0, 90.0, 0.0])
    dimmed = 0.35 * frame + 0.25 * grey
    return ((1 - heat) * dimmed + heat * (0.65 * frame + 0.35 * warm)).clamp(0, 255).byte().numpy()


def _draw_curve(axis: Axes, explanation: Explanation, cursor: int | None) -> None:
    times, weights = explanation.timestamps, (100 * explanation.frame_weights).tolist()
    axis.fill_between(times, weights, color=PLAIN, alpha=0.6)
    axis.plot(times, weights, color=ACCENT, marker="o", markersize=4)
    axis.axhline(100 / len(weights), color=INK, linewidth=0.8, linestyle=":")
    axis.text(times[-1], 100 / len(weights), " even", fontsize=8, va="bottom", ha="right", color=INK)
    if cursor is not None:
        axis.axvline(times[cursor], color=INK)
    axis.set(xlabel="time (s)", ylabel="weight of the frame (%)", ylim=(0, None))
    axis.set_title("when", loc="left", fontsize=10, fontweight="bold", color=INK)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_words(axis: Axes, explanation: Explanation) -> None:
    names, values = zip(*explanation.words, strict=True) if explanation.words else ((), ())
    bars = axis.barh(range(len(names)), values, color=[ACCENT, *[PLAIN] * len(names)][: len(names)])
    axis.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.invert_yaxis()
    axis.margins(x=0.18)
    axis.locator_params(axis="x", nbins=4)
    axis.axvline(0, color=INK, linewidth=0.8)
    axis.set_xlabel("match with the frames (cosine)", fontsize=9)
    axis.set_title("which words", loc="left", fontsize=10, fontweight="bold", color=INK)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_gif(explanation: Explanation, path: Path, title: str) -> None:
    import io

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


__all__ = ["Explanation", "draw_explanation", "explain"]
