"""The toy method: means of patches against means of words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import initialization as init

from hf_zsar.modeling.losses import cross_entropy_to_targets
from hf_zsar.modeling.modeling_zsar import (
    LabelBank,
    VideoFeatures,
    ZSARPreTrainedModel,
    gather_prompts,
    masked_mean,
    normalize,
    split_views,
)

from .configuration_toy import ToyConfig


class ToyModel(ZSARPreTrainedModel):
    """Names of parameters are its own business: `parameter_roles` says what each is for."""

    config_class = ToyConfig
    config: ToyConfig
    parameter_roles = {"vision": ("eye.",), "text": ("tongue.",), "scale": ("warmth",)}
    text_candidates = "distinct"
    explains = ("frames",)

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.eye = nn.Conv2d(3, config.width, config.patch_size, stride=config.patch_size)
        self.tongue = nn.Embedding(config.vocab_size, config.width)
        self.blend = nn.Linear(config.width, config.width)
        self.warmth = nn.Parameter(torch.tensor(2.0))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ToyModel):
            init.constant_(module.warmth, 2.0)

    def compute_features(self, pixel_values_videos: torch.Tensor, **kwargs: Any) -> VideoFeatures:
        clips, batch, views = split_views(pixel_values_videos)
        frames = self.blend(self.eye(clips.flatten(0, 1).to(self.dtype)).mean(dim=(-2, -1)).tanh())
        frames = frames.view(batch, views, clips.shape[1], -1)
        return VideoFeatures(video_embeds=normalize(frames.float().mean(dim=(1, 2))), frame_embeds=frames)

    def encode_labels(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        prompt_index: torch.Tensor | None = None,
        labels: Sequence[str] | None = None,
    ) -> LabelBank:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        rows = masked_mean(self.tongue(input_ids).float(), mask[..., None], dim=1)
        prompts, present = gather_prompts(normalize(rows), prompt_index)
        tensors = {"text_embeds": normalize(masked_mean(prompts, present[..., None], dim=1))}
        return self.make_bank(labels, tensors, (input_ids, attention_mask, prompt_index))

    def compute_scores(self, features: VideoFeatures, bank: LabelBank) -> dict[str, torch.Tensor]:
        cosines = features.video_embeds.float() @ bank["text_embeds"].float().t()
        return {"logits_per_video": self.warmth.float().exp() * cosines}

    def compute_explanation(self, features: VideoFeatures, bank: LabelBank) -> dict[str, torch.Tensor]:
        frames = normalize(features.frame_embeds.float())
        shares = torch.einsum("bvtd,kd->bvkt", frames, bank["text_embeds"].float()).softmax(dim=-1)
        return {"frames": shares.mean(dim=1)}

    def compute_loss(
        self,
        features: VideoFeatures,
        bank: LabelBank,
        targets: torch.Tensor,
        parts: dict[str, torch.Tensor] | None = None,
        **inputs: Any,
    ) -> torch.Tensor:
        logits = (parts or self.compute_scores(features, bank))["logits_per_video"]
        return cross_entropy_to_targets(logits, targets).mean()


__all__ = ["ToyModel"]
