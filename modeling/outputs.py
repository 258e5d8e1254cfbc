"""What a model gives: the video side of a score, the output of `forward`, and why a label got its score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from transformers.utils import ModelOutput


@dataclass
class VideoFeatures(ModelOutput):
    """The video side of a score, computed once per video. Every tensor has the batch as its first axis.

    Args:
        video_embeds (`torch.FloatTensor` of shape `(batch, dim)`):
            Pooled over views and time, L2-normalized: one vector per video, for retrieval.
        view_embeds (`torch.FloatTensor` of shape `(batch, views, dim)`, *optional*):
            One vector per view, as the method's temporal head gives it (not normalized).
        frame_embeds (`torch.FloatTensor` of shape `(batch, views, frames, dim)`, *optional*):
            One vector per frame in the joint space (not normalized).
        patch_embeds (`torch.FloatTensor` of shape `(batch, views, frames, patches, dim)`, *optional*):
            One vector per patch in the joint space (not normalized).
    """

    video_embeds: torch.FloatTensor | None = None
    view_embeds: torch.FloatTensor | None = None
    frame_embeds: torch.FloatTensor | None = None
    patch_embeds: torch.FloatTensor | None = None

    # Names of tensors that no other process needs for a loss over the videos of all.
    stays_here: ClassVar[tuple[str, ...]] = ()

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> VideoFeatures:
        """A new value with `function` applied to every tensor that is present."""
        return type(self)(**{name: function(tensor) for name, tensor in self.items()})

    def to(self, *args: Any, **kwargs: Any) -> VideoFeatures:
        """As `torch.Tensor.to`, for every tensor."""
        return self.map(lambda tensor: tensor.to(*args, **kwargs))

    def select(self, index: int | slice | Sequence[int]) -> VideoFeatures:
        """The features of some videos of the batch, the batch axis kept."""
        index = slice(index, index + 1 or None) if isinstance(index, int) else index
        return self.map(lambda tensor: tensor[index])

    @classmethod
    def cat(cls, parts: Sequence[VideoFeatures]) -> VideoFeatures:
        """Join batches. All parts must come from the same model with the same number of views and frames."""
        return type(parts[0])(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})


@dataclass
class ZSAROutput(ModelOutput):
    """Output of every model.

    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `labels` are given):
            The method's training loss.
        logits_per_video (`torch.FloatTensor` of shape `(batch, labels)`):
            Softmax over the labels gives the method's probabilities.
        logits_per_text (`torch.FloatTensor` of shape `(labels, batch)`): its transpose.
        video_embeds (`torch.FloatTensor` of shape `(batch, dim)`): pooled, L2-normalized.
        text_embeds (`torch.FloatTensor` of shape `(labels, dim)`): pooled, L2-normalized.
    """

    loss: torch.FloatTensor | None = None
    logits_per_video: torch.FloatTensor | None = None
    logits_per_text: torch.FloatTensor | None = None
    video_embeds: torch.FloatTensor | None = None
    text_embeds: torch.FloatTensor | None = None


@dataclass
class Explanation(ModelOutput):
    """Why labels got their scores, as far as the method tells; means over views.

    Args:
        frames (`torch.FloatTensor` of shape `(batch, labels, frames)`, *optional*): weight of each frame; sums to 1.
        patches (`torch.FloatTensor` of shape `(batch, labels, frames, patches)`, *optional*):
            Cosine of each patch with its best word.
        words (`torch.FloatTensor` of shape `(batch, labels, attributes)`, *optional*):
            Relevance of each attribute: the mean, over its tokens, of the cosine with the frames that they attend to;
            0 where a label has fewer.
        classes (`torch.FloatTensor` of shape `(batch, labels, classes)`, *optional*):
            Share of each of the model's `known_classes` in the label.
        prompts (`torch.FloatTensor` of shape `(batch, labels, prompts)`, *optional*):
            Cosine of the video with each prompt of the label, in the order of its bank.
    """

    frames: torch.FloatTensor | None = None
    patches: torch.FloatTensor | None = None
    words: torch.FloatTensor | None = None
    classes: torch.FloatTensor | None = None
    prompts: torch.FloatTensor | None = None
