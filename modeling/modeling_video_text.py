"""Any published video-text or image-text model, unmodified, behind our contract: what it scores is its own score."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from .configuration_video_text import VideoTextConfig
from .encoder import ADAPTERS, Encoder, mean_prompt
from .losses import contrastive_losses
from .modeling_zsar import LabelBank, VideoFeatures, ZSARPreTrainedModel, gather_prompts, normalize, split_views


class VideoTextModel(ZSARPreTrainedModel):
    """An encoder of `ADAPTERS` and nothing else: it has no weights of its own.

    The tensors of its label banks: `text_embeds [K, dim]`, the normalized mean of a label's normalized prompts and,
    where the score asks for them, `prompt_outputs [K, P, dim]` as the text tower gives them and `prompt_mask [K, P]`.
    """

    config_class = VideoTextConfig
    config: VideoTextConfig

    def __init__(self, config: VideoTextConfig) -> None:
        super().__init__(config)
        model_type = config.encoder_config.model_type
        if model_type not in ADAPTERS:
            raise ValueError(f"No adapter for a {model_type!r} model; there are: {', '.join(sorted(ADAPTERS))}.")
        self.encoder: Encoder = ADAPTERS[model_type]()(config.encoder_config)
        self.encoder.video_prompt = config.video_prompt or {}
        self._no_split_modules = self.encoder.model._no_split_modules
        self.post_init()

    @classmethod
    def from_encoder(cls, pretrained: PreTrainedModel, **config: Any) -> VideoTextModel:
        """Stand on a loaded model, whose modules are shared.

        Args:
            config: fields of [`VideoTextConfig`].

        Raises:
            ValueError: no adapter for a model of this type, or no such field.
        """
        cls.config_class.refuse_unknown(config)
        # A copy, because a new configuration resets the attention implementation of those that it takes in.
        own = cls.config_class(encoder_config=copy.deepcopy(pretrained.config), **config)
        own._attn_implementation = pretrained.config._attn_implementation
        with torch.device("meta"):  # so that nothing is allocated for the model that the given one replaces
            model = cls(own)
        model.encoder.model = pretrained
        model.config.encoder_config = pretrained.config
        return model.eval()

    @property
    def parameter_roles(self) -> dict[str, tuple[str, ...]]:
        roles = self.encoder.roles.items()
        return {role: tuple(f"encoder.model.{prefix}" for prefix in prefixes) for role, prefixes in roles}

    @property
    def score_inputs(self) -> tuple[str, ...]:
        return self.encoder.score_inputs

    @property
    def lora_targets(self) -> tuple[str, ...]:
        return self.encoder.lora_targets

    @property
    def scores_each_label(self) -> bool:
        """Whether the sigmoid of a logit is the model's own probability of that label, whatever the others are."""
        return self.encoder.bias() is not None

    def check_exportable(self) -> None:
        if self.config.video_prompt:
            raise ValueError("A language model cannot be exported: it builds its prompts by the size of the frames.")

    def get_input_embeddings(self) -> nn.Module:
        return self.encoder.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.encoder.text_model.set_input_embeddings(value)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Encoder):
            module.init_weights(self.config.initializer_range)

    def compute_features(self, pixel_values_videos: torch.Tensor, **kwargs: Any) -> VideoFeatures:
        """`[B, T, 3, H, W]` or `[B, V, T, 3, H, W]` -> `view_embeds [B, V, dim]`, and `frame_embeds` and
        `patch_embeds` where the encoder has them; `video_embeds` is the normalized mean over normalized views.

        Raises:
            ValueError: a number of frames that the encoder was not made for.
        """
        clips, batch, views = split_views(pixel_values_videos)
        found = self.encoder.embed_clips(clips)
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
        rows = self.encoder.encode_texts(input_ids, attention_mask, self.text_limit)
        prompts, mask = gather_prompts(rows, prompt_index)
        tensors = {"text_embeds": mean_prompt(prompts, mask)}
        if self.encoder.keeps_prompts:
            tensors.update(prompt_outputs=prompts, prompt_mask=mask)
        return self.make_bank(labels, tensors, (input_ids, attention_mask, prompt_index))

    def compute_scores(self, features: VideoFeatures, bank: LabelBank) -> dict[str, torch.Tensor]:
        """The encoder's own logits `[B, K]`, float32."""
        return {"logits_per_video": self.encoder.compare(features, bank, self.config.cosine_scale).float()}

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
