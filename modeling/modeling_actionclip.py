"""ActionCLIP (arXiv 2109.08472): CLIP on frames, a temporal head, and prompted label sentences.

A video and a prompt are compared by cosine; probabilities of several templates, and of several views, are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import initialization as init

from .configuration_actionclip import ActionCLIPConfig
from .dual_encoder import DualEncoderPreTrainedModel
from .guards import full_precision, is_recorded
from .losses import contrastive_losses
from .modeling_zsar import LabelBank, VideoFeatures, gather_prompts, normalize, split_views
from .stochastic_depth import add_stochastic_depth
from .temporal_heads import build_temporal_head


class ActionCLIPModel(DualEncoderPreTrainedModel):
    """CLIP's two towers and a temporal head.

    The tensors of its label banks: `prompt_embeds [K, P, dim]`, unit norm, one per label and template, and
    `text_embeds [K, dim]`, their normalized mean.
    """

    config_class = ActionCLIPConfig
    config: ActionCLIPConfig
    text_candidates = "per_sample"
    explains = ("prompts",)
    score_inputs = ("view_embeds",)

    def __init__(self, config: ActionCLIPConfig) -> None:
        super().__init__(config)
        self.temporal_head = build_temporal_head(config, self.backbone.dim, self.backbone.text_width)
        if config.joint_space_time:
            self.time_embedding = nn.Parameter(torch.zeros(config.num_frames, self.backbone.vision_width))
        self.prepare_backbone()
        self.post_init()

    def prepare_backbone(self) -> None:
        for layers in (self.backbone.vision_layers, self.backbone.text_layers):
            add_stochastic_depth(layers, self.config.drop_path_rate, self.backbone.attention_of)

    @classmethod
    def from_encoder(cls, pretrained: Any, **kwargs: Any) -> Any:
        """As [`DualEncoderPreTrainedModel.from_encoder`], with `sim_header="meanP"` unless another is asked for: an
        untrained temporal head would destroy what the encoder knows."""
        return super().from_encoder(pretrained, **{"sim_header": "meanP", **kwargs})

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ActionCLIPModel) and self.config.joint_space_time:
            init.normal_(module.time_embedding, std=self.backbone.vision_width**-0.5)

    def compute_features(self, pixel_values_videos: torch.Tensor, **kwargs: Any) -> VideoFeatures:
        """`[B, T, 3, H, W]` or `[B, V, T, 3, H, W]` -> `view_embeds [B, V, dim]` of the temporal head and, unless
        space and time are joint, `frame_embeds [B, V, T, dim]`; `video_embeds` is the normalized mean over views.

        Raises:
            ValueError: a number of frames that the head has no positions for.
        """
        clips, batch, views = split_views(pixel_values_videos)
        frames = None
        if self.config.joint_space_time:
            per_view = self._encode_jointly(clips)
        else:
            frames = self._encode_frames(clips)
            per_view = self.temporal_head(frames)
            frames = frames.view(batch, views, *frames.shape[1:])
        view_embeds = per_view.view(batch, views, -1)
        video_embeds = normalize(normalize(view_embeds.float()).mean(dim=1))
        return VideoFeatures(video_embeds=video_embeds, view_embeds=view_embeds, frame_embeds=frames)

    def _encode_frames(self, clips: torch.Tensor) -> torch.Tensor:
        batch, frames = clips.shape[:2]

        def shifted(layer: nn.Module, hidden: torch.Tensor, index: int) -> torch.Tensor:
            settings = self.config.temporal_shift_div, self.backbone.num_prefix_tokens
            hidden = shift_channels(hidden.unflatten(0, (batch, frames)), *settings).flatten(0, 1)
            for branch in self.backbone.branches(layer):
                hidden = hidden + branch(hidden)
            return hidden

        pooled, _ = self.backbone.encode_frames(clips.flatten(0, 1), shifted if self.config.temporal_shift else None)
        return pooled.view(batch, frames, -1)

    def _encode_jointly(self, clips: torch.Tensor) -> torch.Tensor:
        batch, frames = clips.shape[:2]
        if frames != self.config.num_frames:
            raise ValueError(
                f"joint_space_time has time embeddings for exactly {self.config.num_frames} frames, got {frames}."
            )
        tokens = self.backbone.embed_patches(clips.flatten(0, 1)).unflatten(0, (batch, frames))
        prefix = self.backbone.num_prefix_tokens
        # All frames have the same class token at this point, so the first stands for the video.
        patches = tokens[:, :, prefix:] + self.time_embedding[:, None].to(tokens.dtype)
        patches = patches.transpose(1, 2).flatten(1, 2)  # index of a token: patch * T + frame
        hidden = self.backbone.run_vision_layers(torch.cat([tokens[:, 0, :prefix], patches], dim=1))
        return self.backbone.pool(hidden)

    def encode_labels(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        prompt_index: torch.Tensor | None = None,
        labels: Sequence[str] | None = None,
    ) -> LabelBank:
        """Prompts `[R, L]`, and which of them each label has, `[K, P]` -> label bank.

        A label with fewer prompts than others repeats its own, in order, so that it counts as much as they do.

        Raises:
            ValueError: a label without any prompt.
        """
        pooled = self.backbone.encode_texts(input_ids, attention_mask, self.text_limit)
        index = repeat_prompts(prompt_index) if prompt_index is not None else None
        prompts, _ = gather_prompts(normalize(pooled.float()), index)
        tensors = {"text_embeds": normalize(prompts.mean(dim=1)), "prompt_embeds": prompts}
        return self.make_bank(labels, tensors, (input_ids, attention_mask, prompt_index))

    def score_prompts(self, features: VideoFeatures, bank: LabelBank) -> torch.Tensor:
        """Cosine of every view with every prompt times `eval_logit_scale`: `[B, V, P, K]`, float32."""
        with full_precision(features.view_embeds.device):
            views = normalize(features.view_embeds.float()) * self.config.eval_logit_scale
            return torch.einsum("bvd,kpd->bvpk", views, bank["prompt_embeds"].float())

    def compute_scores(self, features: VideoFeatures, bank: LabelBank) -> dict[str, torch.Tensor]:
        """Logarithm of the mean, over views and templates, of the softmax over labels: `[B, K]`, float32. Of a single
        label, whose softmax says nothing, the mean of [`score_prompts`]."""
        similarity = self.score_prompts(features, bank).flatten(1, 2)
        if similarity.shape[-1] == 1:
            return {"logits_per_video": similarity.mean(dim=1)}
        shares = similarity.log_softmax(dim=-1).logsumexp(dim=1)
        # The count as a tensor, for an export for any number of prompts.
        count = torch.ones_like(similarity[0, :, 0]).sum()
        return {"logits_per_video": shares - count.log()}

    def compute_loss(
        self, features: VideoFeatures, bank: LabelBank, targets: torch.Tensor, **inputs: Any
    ) -> torch.Tensor:
        """Mean of the two directions of [`contrastive_losses`] at the learned scale.

        In training every video brings the text of its own class in one random template: N videos, N texts, and a class
        that occurs twice is right twice.
        """
        videos = features.video_embeds.float()
        with torch.autocast(videos.device.type, enabled=False):
            logits = self.backbone.logits_of(videos @ bank["text_embeds"].float().t())
        per_video, per_text = contrastive_losses(logits, targets, self.config.loss_type, self.config.label_temperature)
        return (per_video + per_text) / 2


def shift_channels(tokens: torch.Tensor, divisor: int, prefix: int = 1) -> torch.Tensor:
    """Temporal shift of patch tokens `[B, T, prefix + N, width]`; those before them stay.

    Of the first `width // divisor` channels each frame takes its successor's, of the next as many its predecessor's;
    beyond the ends there are zeros.
    """
    fold = tokens.shape[-1] // divisor
    shifted = tokens.clone()
    shifted[:, :-1, prefix:, :fold] = tokens[:, 1:, prefix:, :fold]
    shifted[:, -1, prefix:, :fold] = 0
    shifted[:, 1:, prefix:, fold : 2 * fold] = tokens[:, :-1, prefix:, fold : 2 * fold]
    shifted[:, 0, prefix:, fold : 2 * fold] = 0
    return shifted


def repeat_prompts(prompt_index: torch.Tensor) -> torch.Tensor:
    """Fill the gaps (-1) of `prompt_index [K, P]` by repeating the label's own prompts in order.

    Raises:
        ValueError: a label without any prompt.
    """
    given = prompt_index >= 0
    count = given.sum(dim=1, keepdim=True)
    if not is_recorded() and not count.all():
        raise ValueError(f"{int((count == 0).sum())} labels have no prompt: every row of prompt_index needs one.")
    turn = torch.arange(prompt_index.shape[1], device=prompt_index.device) % count
    own = given.long().cumsum(dim=1) - 1  # which of its label's prompts each is
    chosen = given[:, None] & (own[:, None] == turn[..., None])
    repeated = (prompt_index[:, None] * chosen).sum(dim=-1)
    return torch.where(given, prompt_index, repeated)


__all__ = ["ActionCLIPModel"]
