"""What a score was made of, as far as the method tells: seen classes, attributes, prompts, places in the frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image


ROWS = 8


@dataclass(frozen=True)
class BarChart:
    """What a score was made of.

    Args:
        title: what the bars are.
        rows: name and value, largest first; bars are drawn relative to the largest.
    """

    title: str
    rows: list[tuple[str, float]]


def chart_of(pipe: Any, explanation: Any, bank: Any, best: int, **text: Any) -> BarChart | None:
    """What the score of label number `best` was made of; None when the method does not tell.

    Args:
        explanation: of one video, as `model.explain` gives it.
        text: `templates` and `descriptions` that the bank was made with.
    """
    label = bank.labels[best]
    values = {name: value[0, best].tolist() for name, value in explanation.items()}
    if names := values.get("classes") and pipe.model.known_classes:
        title, rows = f"“{label}” is composed of these seen classes", zip(names, values["classes"], strict=True)
        rows = [(name, value) for name, value in rows if value > 0]
    elif "words" in values:
        title = f"How well the words of “{label}” match the frames (cosine)"
        names = pipe.processor.word_names(bank["word_ids"][best].tolist(), bank["word_groups"][best].tolist())
        rows = [(name, values["words"][group]) for group, name in names]
    elif "prompts" in values:
        title = f"The prompts of “{label}” that fit the video best (cosine)"
        inputs = pipe.processor.prepare_labels([label], **text)
        texts = pipe.processor.tokenizer.batch_decode(inputs["input_ids"], skip_special_tokens=True)
        prompts = zip(inputs["prompt_index"][0].tolist(), values["prompts"], strict=False)
        rows = list({texts[row].strip(): value for row, value in prompts if row >= 0}.items())
    else:
        return None
    return BarChart(title, sorted(rows, key=lambda row: -row[1])[:ROWS]) if rows else None


class HeatMaps:
    """Saliency of patches as a warm layer over frames; one scale for all frames of the video."""

    def __init__(self, values: torch.Tensor) -> None:
        """`values [T, N]`: N patches of a square grid per frame, row by row."""
        side = round(values.shape[-1] ** 0.5)
        low, high = values.amin(), values.amax()
        scaled = (values.float() - low) / (high - low).clamp(min=1e-6)
        self.grids = scaled.view(len(values), side, side).cpu().numpy()

    def over(self, image: Image.Image, index: int) -> Image.Image:
        """The frame with its heat on it: untouched where there is none, orange where there is most."""
        grid = Image.fromarray((255 * self.grids[index]).astype(np.uint8)).resize(image.size, Image.Resampling.BICUBIC)
        heat = np.asarray(grid, dtype=np.float32)[..., None] / 255
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
        warm = np.array([255.0, 120.0, 0.0])
        strength = 0.65 * heat**2
        return Image.fromarray((pixels * (1 - strength) + warm * strength).astype(np.uint8))


def heat_maps(values: torch.Tensor) -> HeatMaps | None:
    """Heat maps of `[T, N]`, or None when the patches form no square."""
    side = round(values.shape[-1] ** 0.5)
    return HeatMaps(values) if side * side == values.shape[-1] else None
