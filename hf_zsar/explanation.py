"""Why a video got its label, for methods that tell: frames under a heat map, weight over time, words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class ExplainedVideo:
    """What moved the score of one label: `model.explain(...)` of it beside what the model saw.

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
def explain(pipe: Any, video: Any, labels: Sequence[str], label: str | None = None, **options: Any) -> ExplainedVideo:
    """Explain the best label of a video, or the one asked for.

    Args:
        pipe: a [`ZeroShotVideoClassificationPipeline`] of a model that `explains` by frames.
        video: in any form.
        labels: the candidates.
        label: one of them.
        options: `hypothesis_template`, `descriptions`, and options of the video processor.

    Raises:
        ValueError: a model without saliency, a label that is not a candidate, or fewer than two candidates.
        VideoReadError: a video that cannot be read.
    """
    if "frames" not in pipe.model.explains:
        raise ValueError(f"{type(pipe.model).__name__} has no saliency: it does not say what moved its scores.")
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
    explained = {name: tensor[0, 0].float().cpu() for name, tensor in pipe.model.explain(features, chosen).items()}
    heat = explained.get("patches")
    if heat is not None:
        side = round(heat.shape[-1] ** 0.5)
        heat = heat.view(-1, side, heat.shape[-1] // side)
    return ExplainedVideo(
        label=bank.labels[row],
        score=scores[row].item(),
        frames=seen.permute(0, 2, 3, 1),
        timestamps=[float(time) for time in clip.timestamps],
        frame_weights=explained["frames"],
        heat=heat,
        words=_words(pipe.processor, chosen, explained.get("words")),
    )


def _words(processor: Any, bank: Any, relevance: torch.Tensor | None) -> list[tuple[str, float]]:
    if relevance is None:
        return []
    names = processor.word_names(bank["word_ids"][0].tolist(), bank["word_groups"][0].tolist())
    return sorted(((name, relevance[group].item()) for group, name in names), key=lambda pair: -pair[1])
