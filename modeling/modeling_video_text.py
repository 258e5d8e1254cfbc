"""Any published video-text or image-text model, unmodified, behind our contract: what it scores is its own score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .configuration_video_text import VideoTextConfig
from .dual_encoder import DualEncoderPreTrainedModel
from .encoder import mean_prompt
from .losses import contrastive_losses
from .modeling_zsar import LabelBank, VideoFeatures, gather_prompts, normalize, split_views


class VideoTextModel(DualEncoderPreTrainedModel):
    """An encoder of `ADAPTERS` and nothing else: it has no weights of its own.

    The tensors of its label banks: `text_embeds [K, dim]`, the normalized mean of a label's normalized prompts and,
    where the score asks for them, `prompt_outputs [K, P, dim]` as the text tower gives them and `prompt_mask [K, P]`.
    """

    config_class = VideoTextConfig
    config: VideoTextConfig
    needs_blocks = False

    def __init__(self, config: VideoTextConfig) -> None:
        super().__init__(config)
        self.backbone.video_prompt = config.video_prompt or {}
        self.post_init()

    @property
    def score_inputs(self) -> tuple[str, ...]:
        return self.backbone.score_inputs

    @property
    def scores_each_label(self) -> bool:
        """Whether the sigmoid of a logit is the model's own probability of that label, whatever the others are."""
        return self.backbone.bias() is not None

    def check_exportable(self) -> None:
        if self.config.video_prompt:
            raise ValueError("A language model cannot be exported: it builds its prompts by the size of the frames.")

    def compute_features(self, pixel_values_videos: torch.Tensor, **kwargs: Any) -> VideoFeatures:
        """`[B, T, 3, H, W]` or `[B, V, T, 3, H, W]` -> `view_embeds [B, V, dim]`, and `frame_embeds` and
        `patch_embeds` where the encoder has them; `video_embeds` is the normalized mean over normalized views.

        Raises:
            ValueError: a number of frames that the encoder was not made for.
        """
        clips, batch, views = split_views(pixel_values_videos)
        found = self.backbone.embed_clips(clips)
        found = {name: each.unflatten(0, (batch, views)) for name, each in found.items()}
        video_embeds = normalize(normalize(found["view_embeds"].float()).mean(dim=1))
        return VideoFeatures(video_embeds=video_embeds, **found)

    def encode_labels(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        prompt_index: torch.Tensor | None = None,
        labels: Sequence[str] | None = None,
    ) -> LabelBank:
        """Prompts `[R, L]`, and which of them each label has, `[K, P]` -> label bank."""
        rows = self.backbone.encode_texts(input_ids, attention_mask, self.text_limit)
        prompts, mask = gather_prompts(rows, prompt_index)
        tensors = {"text_embeds": mean_prompt(prompts, mask)}
        if self.backbone.keeps_prompts:
            tensors.update(prompt_outputs=prompts, prompt_mask=mask)
        return self.make_bank(labels, tensors, (input_ids, attention_mask, prompt_index))

    def compute_scores(self, features: VideoFeatures, bank: LabelBank) -> dict[str, torch.Tensor]:
        """The encoder's own logits `[B, K]`, float32."""
        return {"logits_per_video": self.backbone.compare(features, bank, self.config.cosine_scale).float()}

    def compute_loss(
        self, features: VideoFeatures, bank: LabelBank, targets: torch.Tensor, **inputs: Any
    ) -> torch.Tensor:
        """The sigmoid loss of SigLIP for an encoder with a bias; for others the mean of both directions of
        [`contrastive_losses`]."""
        logits = inputs["parts"]["logits_per_video"]
        if self.scores_each_label:
            return -nn.functional.logsigmoid(torch.where(targets, logits, -logits)).sum(dim=1).mean()
        there, back = contrastive_losses(logits, targets, "ce")
        return (there + back) / 2


__all__ = ["VideoTextModel"]
