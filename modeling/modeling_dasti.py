"""DA-STI: description attributes and spatio-temporal interaction (arXiv 2510.27255) on BIKE's encoder.

Each class brings a few attributes, keywords out of descriptions. Their words are compared with the patches and the
frames of the video, which weighs the frames anew for every class; the weighted video is compared with the class name
and with the attributes. The paper's equations are not public: the module follows its figure, the rest follows BIKE's
code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .configuration_dasti import DASTIConfig
from .dual_encoder import DualEncoderPreTrainedModel
from .encoder import mean_prompt
from .guards import is_exported
from .losses import contrastive_losses
from .modeling_zsar import LabelBank, VideoFeatures, ZSAROutput
from .spatio_temporal_interaction import (
    IdentityLinear,
    gate_frames,
    patch_saliency,
    pool_frames,
    temporal_saliency,
    word_attention,
)
from .temporal_transformer import TemporalTransformer
from .tensor_shapes import gather_prompts, masked_mean, normalize, split_views


# In `word_groups`: a token that is not a word. Words of no attribute have another negative number.
NO_WORD = -1
# Patch-word similarities held at a time where `class_chunk_size` is not set: 128 MiB of float32.
MAX_SIMILARITIES = 2**25


@dataclass
class DASTIOutput(ZSAROutput):
    """[`ZSAROutput`] and the method's parts, means over views.

    Args:
        class_scores (`[batch, labels]`): cosine of the gated video with the class prompt.
        attribute_scores (`[batch, labels]`): cosine of the gated video with the attributes.
        temporal_saliency (`[batch, views, labels, frames]`): attention of the words over time; sums to 1.
        spatial_saliency (`[batch, views, labels, frames]`): cosine of the best patch with its best word.
    """

    class_scores: torch.FloatTensor | None = None
    attribute_scores: torch.FloatTensor | None = None
    temporal_saliency: torch.FloatTensor | None = None
    spatial_saliency: torch.FloatTensor | None = None


class DASTIModel(DualEncoderPreTrainedModel):
    """CLIP's two towers, BIKE's temporal transformer, and the interaction of words with patches and frames.

    The tensors of its label banks, all unit-norm: `text_embeds [K, dim]` of the class prompt, `attribute_embeds [K,
    dim]`, `word_embeds [K, L, dim]`; and `word_groups [K, L]`, the attribute each word belongs to (-1: no word), with
    `word_ids [K, L]`, its token.
    """

    config_class = DASTIConfig
    config: DASTIConfig
    output_class = DASTIOutput
    explains = ("frames", "patches", "words")
    text_input_names = (*DualEncoderPreTrainedModel.text_input_names, "attribute_index", "word_index", "word_groups")

    def __init__(self, config: DASTIConfig) -> None:
        super().__init__(config)
        dim = self.backbone.dim
        if config.use_temporal_transformer:
            heads = config.temporal_num_heads or max(self.backbone.text_width // 64, 1)
            sizes = config.temporal_num_layers, heads, config.temporal_max_positions, config.temporal_layer_norm_eps
            self.temporal_transformer = TemporalTransformer(config, dim, *sizes)
        if config.patch_projection == "linear":
            self.patch_projection, self.word_projection = IdentityLinear(dim), IdentityLinear(dim)
        self.post_init()

    @property
    def score_inputs(self) -> tuple[str, ...]:
        return ("frame_embeds", "patch_embeds") if self.config.use_spatial_interaction else ("frame_embeds",)

    @property
    def text_candidates(self) -> str:
        return "per_sample" if self.config.loss_mode == "in_batch" else "all"

    @property
    def frozen_roles(self) -> tuple[str, ...]:
        return ("text",) if self.config.freeze_text else ()

    def compute_features(self, pixel_values_videos: torch.Tensor, **kwargs: Any) -> VideoFeatures:
        """`[B, T, 3, H, W]` or `[B, V, T, 3, H, W]` -> `frame_embeds [B, V, T, dim]` after the temporal transformer
        and, with the spatial interaction, `patch_embeds [B, V, T, N, dim]`."""
        clips, batch, views = split_views(pixel_values_videos)
        frames = clips.shape[1]
        spatial = self.config.use_spatial_interaction
        pooled, patches = self.backbone.encode_frames(clips.flatten(0, 1), return_patches=spatial)
        embeds = pooled.view(batch * views, frames, -1)
        if self.config.use_temporal_transformer:
            embeds = self.temporal_transformer(embeds)
        if patches is not None:
            if self.config.patch_projection == "linear":
                patches = self.patch_projection(patches)
            patches = patches.view(batch, views, frames, *patches.shape[1:])
        embeds = embeds.view(batch, views, frames, -1)
        view_embeds = normalize(embeds.float()).mean(2)
        video_embeds = normalize(normalize(view_embeds).mean(1))
        return VideoFeatures(
            video_embeds=video_embeds, view_embeds=view_embeds, frame_embeds=embeds, patch_embeds=patches
        )

    def encode_labels(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        prompt_index: torch.Tensor | None = None,
        attribute_index: torch.Tensor | None = None,
        word_index: torch.Tensor | None = None,
        word_groups: torch.Tensor | None = None,
        labels: Sequence[str] | None = None,
    ) -> LabelBank:
        """Prompts `[R, L]` -> label bank.

        Args:
            prompt_index: `[K, P]`, rows of the class prompts.
            attribute_index: `[K, A]`, rows that hold the attributes; default the class prompts.
            word_index: `[K, A]`, rows whose words look at the video; default `attribute_index`.
            word_groups: `[R, L]`, attribute of each token, -1 where it is not a word. Without it all tokens are.
        """
        pooled, tokens = self.backbone.encode_words(input_ids, attention_mask, self.text_limit)
        attribute_index = prompt_index if attribute_index is None else attribute_index
        groups = torch.zeros_like(input_ids) if word_groups is None else word_groups
        words, ids, groups = gather_words(
            tokens, input_ids, groups, attribute_index if word_index is None else word_index
        )
        if self.config.patch_projection == "linear":
            words = self.word_projection(words)
        tensors = {
            "text_embeds": mean_prompt(*gather_prompts(pooled, prompt_index)),
            "attribute_embeds": mean_prompt(*gather_prompts(pooled, attribute_index)),
            "word_embeds": normalize(words.float()),
            "word_groups": groups,
            "word_ids": ids,
        }
        inputs = (input_ids, attention_mask, prompt_index, attribute_index, word_index, word_groups)
        return self.make_bank(labels, tensors, inputs)

    def branch_scores(self, features: VideoFeatures, bank: LabelBank) -> dict[str, torch.Tensor]:
        """Scores of the two branches and the saliencies, per view.

        Returns:
            `class_scores` and `attribute_scores`, cosines `[B, V, K]`; `temporal_saliency` and, with the spatial
            interaction, `spatial_saliency` `[B, V, K, T]`.
        """
        batch, views = features.frame_embeds.shape[:2]
        chunks = [self._score_chunk(features, part) for part in self._chunks(features, bank)]
        joined = {name: torch.cat([chunk[name] for chunk in chunks], dim=1) for name in chunks[0]}
        return {name: value.view(batch, views, *value.shape[1:]) for name, value in joined.items()}

    def _chunks(self, features: VideoFeatures, bank: LabelBank) -> Iterator[LabelBank]:
        if is_exported():
            yield bank
            return
        size = self.config.class_chunk_size
        if size is None:
            spatial = features.patch_embeds is not None
            places = (features.patch_embeds if spatial else features.frame_embeds)[..., 0].numel()
            size = max(1, MAX_SIMILARITIES // max(1, places * bank["word_groups"].shape[1]))
        if size >= len(bank):
            yield bank
            return
        for start in range(0, len(bank), size):
            yield bank.select(range(start, min(start + size, len(bank))))

    def _score_chunk(self, features: VideoFeatures, bank: LabelBank) -> dict[str, torch.Tensor]:
        frames = normalize(features.frame_embeds.flatten(0, 1).float())
        temporal, patches = self._saliencies(features, frames, bank)
        saliency = {"temporal_saliency": temporal}
        if patches is not None:
            saliency["spatial_saliency"] = patches.amax(dim=-1)
        pooled = pool_frames(self._gate(saliency), frames, self.config.normalize_pooled)
        return {
            "class_scores": torch.einsum("bkd,kd->bk", pooled, bank["text_embeds"].float()),
            "attribute_scores": torch.einsum("bkd,kd->bk", pooled, bank["attribute_embeds"].float()),
            **saliency,
        }

    def _saliencies(
        self, features: VideoFeatures, frames: torch.Tensor, bank: LabelBank
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Of frames `[B * V, K, T]` and, with the spatial interaction, of patches `[B * V, K, T, N]`."""
        words, mask = bank["word_embeds"].float(), bank["word_groups"] != NO_WORD
        if self.config.use_temporal_interaction:
            temporal = temporal_saliency(words, mask, frames, self.config.saliency_temperature)
        else:
            temporal = frames.new_full((len(frames), len(words), frames.shape[1]), 1 / frames.shape[1])
        if not self.config.use_spatial_interaction:
            return temporal, None
        return temporal, patch_saliency(words, mask, normalize(features.patch_embeds.flatten(0, 1).float()))

    def _gate(self, saliency: dict[str, torch.Tensor]) -> torch.Tensor:
        config, spatial = self.config, saliency.get("spatial_saliency")
        settings = config.spatial_fusion, config.spatial_floor, config.saliency_temperature
        return gate_frames(saliency["temporal_saliency"], spatial, *settings)

    def _mix(self, parts: dict[str, torch.Tensor]) -> torch.Tensor:
        weight = self.config.class_score_weight
        score = weight * parts["class_scores"] + (1 - weight) * parts["attribute_scores"]
        if self.config.bike_compat and score.shape[-1] > 1:  # the share of a single label says nothing
            return score.softmax(dim=-1).mean(dim=1)
        return self.backbone.logits_of(score.mean(dim=1))

    def compute_scores(self, features: VideoFeatures, bank: LabelBank) -> dict[str, torch.Tensor]:
        """Mixture of the class and the attribute branch, mean over views, times the learned scale: `[B, K]`; and the
        parts of [`DASTIOutput`]."""
        parts = self.branch_scores(features, bank)
        means = {name: parts[name].mean(dim=1) for name in ("class_scores", "attribute_scores")}
        return {"logits_per_video": self._mix(parts), **parts, **means}

    def compute_loss(
        self,
        features: VideoFeatures,
        bank: LabelBank,
        targets: torch.Tensor,
        parts: dict[str, torch.Tensor] | None = None,
        **inputs: Any,
    ) -> torch.Tensor:
        """Loss of the class branch plus `attribute_loss_weight` times that of the attribute branch."""
        config, parts = self.config, parts or self.compute_scores(features, bank)
        total: Any = 0.0
        for name, weight in (("class_scores", 1.0), ("attribute_scores", config.attribute_loss_weight)):
            if weight == 0:
                continue
            settings = config.loss_divergence, config.loss_target_gain, config.loss_target
            losses = contrastive_losses(self.backbone.logits_of(parts[name]), targets, *settings)
            total = total + weight * (losses[0] if config.loss_mode == "all_classes" else (losses[0] + losses[1]) / 2)
        return total

    def compute_explanation(self, features: VideoFeatures, bank: LabelBank) -> dict[str, torch.Tensor]:
        """Weights of frames, patches (with the spatial interaction) and relevance of attributes."""
        batch, views = features.frame_embeds.shape[:2]
        frames = normalize(features.frame_embeds.flatten(0, 1).float())
        chunks = [self._saliencies(features, frames, part) for part in self._chunks(features, bank)]
        saliency, result = {"temporal_saliency": torch.cat([temporal for temporal, _ in chunks], dim=1)}, {}
        if self.config.use_spatial_interaction:
            result["patches"] = torch.cat([patches for _, patches in chunks if patches is not None], dim=1)
            saliency["spatial_saliency"] = result["patches"].amax(dim=-1)
        gate = self._gate(saliency)
        result |= {"frames": gate / gate.sum(-1, keepdim=True), "words": self._relevance(frames, bank)}
        return {name: value.view(batch, views, *value.shape[1:]).mean(dim=1) for name, value in result.items()}

    def _relevance(self, frames: torch.Tensor, bank: LabelBank) -> torch.Tensor:
        """Of each attribute `[B * V, K, W]`: mean cosine of its tokens with the frames that each attends to."""
        words, groups = bank["word_embeds"].float(), bank["word_groups"]
        attention = word_attention(words, frames, self.config.saliency_temperature)
        cosines = (attention * torch.einsum("kld,btd->bklt", words, frames)).sum(-1)
        numbers = torch.arange(int(groups.max().clamp(min=0)) + 1, device=groups.device)
        return masked_mean(cosines[..., None], groups[..., None] == numbers, dim=-2)


def gather_words(
    tokens: torch.Tensor, input_ids: torch.Tensor, groups: torch.Tensor, word_index: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The kept words of each label, in order, padded to the label with the most.

    Args:
        tokens, input_ids, groups: `[R, L, dim]`, `[R, L]`, `[R, L]` of the distinct rows.
        word_index: `[K, A]`, rows of each label, -1 for none; every row is a label of its own without it.

    Returns:
        Words `[K, W, dim]`, their token ids and groups `[K, W]`; at padding the group is -1 and the word 0. Where a
        label has several rows, the groups of a row are counted on from those of the rows before it.
    """
    if word_index is None:
        word_index = torch.arange(len(tokens), device=tokens.device)[:, None]
    rows = word_index.clamp(min=0)
    per_row = groups[rows].masked_fill(word_index[..., None] < 0, NO_WORD)
    sizes = per_row.amax(dim=-1, keepdim=True).clamp(min=-1) + 1
    flat = torch.where(per_row >= 0, per_row + sizes.cumsum(dim=1) - sizes, per_row).flatten(1)
    kept = flat != NO_WORD
    if is_exported():  # padding stays where it is: the sizes must not depend on it
        words = tokens[rows].flatten(1, 2) * kept[..., None].to(tokens.dtype)
        return words, input_ids[rows].flatten(1), flat
    order = kept.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, : int(kept.sum(dim=1).max())]
    words = tokens[rows].flatten(1, 2).gather(1, order[..., None].expand(-1, -1, tokens.shape[-1]))
    words = words * kept.gather(1, order)[..., None].to(words.dtype)
    return words, input_ids[rows].flatten(1).gather(1, order), flat.gather(1, order)


__all__ = ["DASTIModel"]
