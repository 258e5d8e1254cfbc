"""ResT: zero-shot action recognition by semantic transfer among visual prototypes.

Re-implementation of the idea of arXiv 2205.01657, whose architecture and losses are not fully published. Candidates
are never compared with a video through text: their visual prototypes are composed out of those of seen classes, by how
related the labels are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, BertModel
from transformers import initialization as init

from .configuration_rest import ResTConfig
from .modeling_zsar import LabelBank, VideoFeatures, ZSARPreTrainedModel, gather_prompts, normalize, split_views
from .semantic_transfer import compose_prototypes, transfer_weights


class ResTModel(ZSARPreTrainedModel):
    """Vision backbone, BERT text encoder and the prototypes of the seen classes.

    Buffers saved with the weights: `seen_prototypes [S, d]`, `seen_text_embeds [S, D]` and `seen_counts [S]` (training
    clips behind each prototype; 0 = not set).
    """

    config_class = ResTConfig
    config: ResTConfig

    def __init__(self, config: ResTConfig) -> None:
        super().__init__(config)
        self.backbone = AutoModel.from_config(config.backbone_config)
        self.text_model = BertModel._from_config(config.text_config, add_pooling_layer=False)
        seen = config.num_seen_classes
        self.register_buffer("seen_prototypes", torch.zeros(seen, backbone_width(config.backbone_config)))
        self.register_buffer("seen_text_embeds", torch.zeros(seen, config.text_config.hidden_size))
        self.register_buffer("seen_counts", torch.zeros(seen, dtype=torch.long))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text_model.set_input_embeddings(value)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ResTModel):
            for buffer in (module.seen_prototypes, module.seen_text_embeds, module.seen_counts):
                init.zeros_(buffer)

    def encode_videos(self, pixel_values_videos: torch.Tensor, **kwargs: Any) -> VideoFeatures:
        """Frames -> mean over time of the backbone's pooled feature; views are averaged after normalisation."""
        clips, batch, views = split_views(pixel_values_videos)
        pooled = self.backbone(clips.flatten(0, 1).to(self.dtype)).pooler_output.flatten(1)
        frames = pooled.view(batch, views, -1, pooled.shape[-1])
        view_embeds = normalize(frames.float().mean(2))
        return VideoFeatures(video_embeds=normalize(view_embeds.mean(1)), view_embeds=view_embeds, frame_embeds=frames)

    def encode_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Token rows `[R, L]` -> unit-norm text embeddings `[R, D]`, float32."""
        attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        hidden = self.text_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
        if self.config.text_pooling == "cls":
            return normalize(hidden[:, 0])
        mask = attention_mask[..., None].to(hidden.dtype)
        return normalize((hidden * mask).sum(1) / mask.sum(1))

    def encode_labels(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        prompt_index: torch.Tensor | None = None,
        labels: Sequence[str] | None = None,
    ) -> LabelBank:
        """Candidate labels -> their visual prototypes.

        Returns:
            Bank with `prototypes [K, d]`, `transfer_weights [K, S]` and `text_embeds [K, D]`.

        Raises:
            ValueError: the model has no prototypes yet.
        """
        if not bool((self.seen_counts > 0).any()):
            raise ValueError("This model has no prototypes of seen classes: set them first (see set_prototypes).")
        spread, mask = gather_prompts(self.encode_texts(input_ids, attention_mask), prompt_index)
        text_embeds = normalize(spread.sum(1) / mask.sum(1, keepdim=True).clamp(min=1))
        weights = self._transfer_weights(text_embeds, labels)
        tensors = {
            "prototypes": compose_prototypes(weights, self.seen_prototypes),
            "transfer_weights": weights,
            "text_embeds": text_embeds,
        }
        return self.make_bank(labels, tensors, (input_ids, attention_mask, prompt_index))

    def _transfer_weights(self, text_embeds: torch.Tensor, labels: Sequence[str] | None) -> torch.Tensor:
        config, known = self.config, self.seen_counts > 0
        weights = torch.zeros(len(text_embeds), len(known), device=text_embeds.device)
        weights[:, known] = transfer_weights(
            text_embeds,
            self.seen_text_embeds[known],
            method=config.transfer_method,
            temperature=config.transfer_temperature,
            top_k=config.transfer_top_k,
            ridge_lambda=config.transfer_ridge_lambda,
        )
        if config.exact_match_uses_seen_prototype and labels is not None:
            seen = {name.casefold(): i for i, name in enumerate(config.seen_class_names)}
            for row, label in enumerate(labels):
                match = seen.get(" ".join(label.split()).casefold())
                if match is not None and known[match]:
                    weights[row] = nn.functional.one_hot(torch.tensor(match), len(known)).to(weights)
        return weights

    def score(self, features: VideoFeatures, bank: LabelBank) -> torch.Tensor:
        """Cosine of the video with each candidate's prototype, times `inference_logit_scale`: `[B, K]`."""
        return self.config.inference_logit_scale * features.video_embeds.float() @ bank["prototypes"].float().T

    def compute_loss(
        self, features: VideoFeatures, bank: LabelBank, targets: torch.Tensor, **inputs: Any
    ) -> torch.Tensor:
        """Cross-entropy over the candidates."""
        return nn.functional.cross_entropy(self.score(features, bank), targets.float().argmax(1))

    @torch.no_grad()
    def set_prototypes(
        self, prototypes: torch.Tensor, text_embeds: torch.Tensor, counts: torch.Tensor, names: Sequence[str]
    ) -> None:
        """Replace the seen classes: prototypes `[S, d]` (normalised here), text embeddings `[S, D]`, counts `[S]`.

        Raises:
            ValueError: the lengths differ.
        """
        if not len(prototypes) == len(text_embeds) == len(counts) == len(names):
            raise ValueError("prototypes, text_embeds, counts and names must have one row per seen class.")
        device = self.seen_prototypes.device
        self.seen_prototypes = normalize(prototypes.float()).to(device)
        self.seen_text_embeds = normalize(text_embeds.float()).to(device)
        self.seen_counts = counts.to(device, torch.long)
        self.config.num_seen_classes, self.config.seen_class_names = len(names), list(names)


def backbone_width(config: Any) -> int:
    """Channels of the pooled feature that a vision backbone gives."""
    for name in ("hidden_dim", "hidden_sizes", "hidden_size"):
        width = getattr(config, name, None)
        if width is not None:
            return width[-1] if isinstance(width, (list, tuple)) else width
    raise ValueError(f"Cannot tell the feature width of a {config.model_type!r} backbone from its configuration.")


__all__ = ["ResTModel"]
