"""What a score was made of, as far as the method tells: seen classes, attributes, prompts, places in the frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image


ROWS = 8
# Methods whose labels can be described in words beyond their names.
DESCRIBED = ("zsar_stdd", "zsar_dasti")


@dataclass(frozen=True)
class Explanation:
    """Rows of a bar chart.

    Args:
        title: what the bars are.
        rows: name and value, largest first; bars are drawn relative to the largest.
    """

    title: str
    rows: list[tuple[str, float]]


def explain(
    pipe: Any, features: Any, bank: Any, saliency: dict[str, torch.Tensor], best: int, **text: Any
) -> Explanation | None:
    """What the score of label number `best` was made of; None when the method does not tell.

    Args:
        text: `templates` and `descriptions` that the bank was made with.
    """
    label = bank.labels[best]
    if "transfer_weights" in bank and len(getattr(pipe.model.config, "seen_class_names", ())):
        return _composed_of(label, bank["transfer_weights"][best], pipe.model.config.seen_class_names)
    if "words" in saliency and "word_ids" in bank:
        return _attributes(pipe, label, saliency["words"][0, best], bank["word_ids"][best], bank["word_groups"][best])
    if "prompt_embeds" in bank:
        return _prompts(pipe, label, features.video_embeds[0], bank["prompt_embeds"][best], text)
    return None


def _composed_of(label: str, weights: torch.Tensor, names: list[str]) -> Explanation:
    values, positions = weights.float().topk(min(ROWS, len(names)))
    rows = [(names[i], value) for value, i in zip(values.tolist(), positions.tolist(), strict=True) if value > 0]
    return Explanation(f"“{label}” is composed of these seen classes", rows)


def _attributes(
    pipe: Any, label: str, relevance: torch.Tensor, ids: torch.Tensor, groups: torch.Tensor
) -> Explanation | None:
    """Mean relevance of the words of each attribute."""
    rows = []
    for group, text in pipe.processor.word_names(ids.tolist(), groups.tolist()):
        rows.append((text, relevance[groups == group].float().mean().item()))
    rows.sort(key=lambda row: -row[1])
    return Explanation(f"How well the words of “{label}” match the frames (cosine)", rows[:ROWS]) if rows else None


def _prompts(pipe: Any, label: str, video: torch.Tensor, embeds: torch.Tensor, text: dict[str, Any]) -> Explanation:
    """Cosine of the video with every prompt of the label, the prompts as the tokenizer read them."""
    inputs = pipe.processor.prepare_labels([label], **text)
    texts = pipe.processor.tokenizer.batch_decode(inputs["input_ids"], skip_special_tokens=True)
    cosines = (embeds.float() @ video.float()).tolist()
    rows = {}
    for row, cosine in zip(inputs["prompt_index"][0].tolist(), cosines, strict=False):
        if row >= 0:
            rows[texts[row].strip()] = cosine
    ranked = sorted(rows.items(), key=lambda pair: -pair[1])
    return Explanation(f"The prompts of “{label}” that fit the video best (cosine)", ranked[:ROWS])


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
