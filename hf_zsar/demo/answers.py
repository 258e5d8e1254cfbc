"""From a video and typed labels to everything that the page shows. No web framework here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from .explanations import DESCRIBED, Explanation, explain, heat_maps


MOST_LABELS = 200
LONGEST_VIDEO = 600.0  # seconds
MOST_WINDOWS = 30
TIMELINE_LABELS = 5


class Refusal(ValueError):
    """Something that the person at the page can put right; the message is for them."""


@dataclass(frozen=True)
class Answer:
    """What the page shows.

    Args:
        scores: label -> probability, best first.
        frames: the pictures that the model saw, each with its caption.
        timeline: rows with `seconds` (middle of the window), `label`, `score`; empty for short videos.
        explanation: what the best label's score was made of, where the method tells.
        about: one line about the video and what was looked at.
    """

    scores: dict[str, float]
    frames: list[tuple[Image.Image, str]]
    timeline: list[dict[str, Any]]
    explanation: Explanation | None
    about: str


def parse_labels(text: str) -> tuple[list[str], dict[str, list[str]]]:
    """Labels and their descriptions, as typed.

    One label a line, or all in one line with commas. `label: phrase, phrase` also describes the label.

    Raises:
        Refusal: fewer than two labels, too many, or a description without a label.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) == 1 and ":" not in lines[0]:
        lines = [part.strip() for part in lines[0].split(",") if part.strip()]
    labels: dict[str, list[str]] = {}
    for line in lines:
        label, _, phrases = (part.strip() for part in line.partition(":"))
        if not label:
            raise Refusal(f"There is no label before the colon in “{line}”.")
        labels.setdefault(label, []).extend(phrase.strip() for phrase in phrases.split(",") if phrase.strip())
    if len(labels) < 2:
        raise Refusal("Type at least two labels, one a line: scores say which of them fits best.")
    if len(labels) > MOST_LABELS:
        raise Refusal(f"These are {len(labels)} labels; at most {MOST_LABELS} are possible here.")
    return list(labels), {label: phrases for label, phrases in labels.items() if phrases}


def answer(
    pipe: Any, video: str | None, text: str | None, template: str | None = None, window: float | None = None
) -> Answer:
    """Score a video against typed labels and explain the best one.

    Args:
        pipe: a zero-shot video classification pipeline.
        video: path of the file.
        text: labels, see `parse_labels`.
        template: prompt with `{}` for the label; the model's own when empty.
        window: seconds of a window of the timeline; 0 or None for none.

    Raises:
        Refusal: something is missing or wrong, in words for the person at the page.
    """
    if not video:
        raise Refusal("Drop a video or record one first.")
    labels, descriptions = parse_labels(text or "")
    template = (template or "").strip() or None
    if descriptions and pipe.model.config.model_type not in DESCRIBED:
        raise Refusal("This model knows labels by their names only: leave out the colon and what follows it.")
    if template and template.count("{}") != 1:
        raise Refusal("A prompt needs {} exactly once, where the label goes.")
    try:
        return _answer(pipe, video, labels, descriptions, template, window or 0.0)
    except (ValueError, OSError) as error:  # a video that cannot be read, labels that cannot be used
        raise Refusal(_sentence(error, video)) from error


@torch.inference_mode()
def _answer(
    pipe: Any,
    video: str,
    labels: list[str],
    descriptions: dict[str, list[str]],
    template: str | None,
    window: float,
) -> Answer:
    processor = pipe.processor.video_processor
    clip = processor.sample(video, num_views=1)
    if clip.info.duration > LONGEST_VIDEO:
        minutes = clip.info.duration / 60
        raise Refusal(f"This video has {minutes:.0f} minutes; at most {LONGEST_VIDEO / 60:.0f} are possible here.")
    inputs = processor([clip.frames], do_sample_frames=False, num_views=1, num_crops=1)
    text = {"templates": [template] if template else None, "descriptions": descriptions or None}
    bank = pipe.label_bank(labels, template, text["descriptions"])
    features = pipe.model.encode_videos(inputs["pixel_values_videos"].to(pipe.device))
    probabilities = pipe.model.score(features, bank).float().softmax(-1)[0]
    order = probabilities.argsort(descending=True, stable=True).tolist()
    saliency = pipe.model.get_saliency(features, bank) if hasattr(pipe.model, "get_saliency") else {}
    pictures = processor.resize_crop(clip.frames)[0].clamp(0, 255).to(torch.uint8)
    return Answer(
        scores={labels[i]: probabilities[i].item() for i in order},
        frames=_captioned(pictures, clip.timestamps, saliency, order[0]),
        timeline=timeline(pipe, video, bank, [labels[i] for i in order[:TIMELINE_LABELS]], window, clip.info.duration),
        explanation=explain(pipe, features, bank, saliency, order[0], **text),
        about=_about(clip, len(pictures), saliency),
    )


def _captioned(
    pictures: torch.Tensor, timestamps: Sequence[float], saliency: dict[str, torch.Tensor], best: int
) -> list[tuple[Image.Image, str]]:
    weights = saliency["frames"][0, best].tolist() if "frames" in saliency else None
    heats = heat_maps(saliency["patches"][0, best]) if "patches" in saliency else None
    captioned = []
    for index, picture in enumerate(pictures):
        image = Image.fromarray(picture.permute(1, 2, 0).cpu().numpy())
        caption = f"{timestamps[index]:.1f} s"
        if heats is not None:
            image = heats.over(image, index)
        if weights is not None:
            caption += f" · {weights[index]:.0%}"
        captioned.append((image, caption))
    return captioned


def timeline(
    pipe: Any, video: str, bank: Any, labels: Sequence[str], window: float, duration: float
) -> list[dict[str, Any]]:
    """Scores of the given labels in windows over the video; nothing when it is shorter than two windows.

    Windows lie side by side, further apart in a long video, so that there are at most `MOST_WINDOWS`.
    """
    if window <= 0 or duration < 2 * window:
        return []
    stride = max(window, (duration - window) / (MOST_WINDOWS - 1))
    rows = []
    for part in pipe(video, label_bank=bank, window=window, stride=stride):
        scores = {entry["label"]: entry["score"] for entry in part["labels"]}
        middle = round((part["start"] + part["end"]) / 2, 2)
        rows += [{"seconds": middle, "label": label, "score": scores[label]} for label in labels]
    return rows


def _about(clip: Any, count: int, saliency: dict[str, torch.Tensor]) -> str:
    info = clip.info
    text = f"{info.duration:.1f} s, {info.width} x {info.height}; the model looked at {count} frames."
    if "frames" in saliency:
        text += " The percentage under a frame is its weight for the best label."
    if "patches" in saliency:
        text += " Orange marks the places that match that label's words."
    return text


def _sentence(error: Exception, video: str) -> str:
    """An error message without the path of the temporary file."""
    text = str(error).replace(str(video), "the video").replace(os.path.basename(video), "the video")
    first = text.strip().splitlines()[0] if text.strip() else "it could not be used."
    if first.startswith("the video: "):
        return f"This video cannot be read: {first.removeprefix('the video: ')}"
    return first[0].upper() + first[1:]
