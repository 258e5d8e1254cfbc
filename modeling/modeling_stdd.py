"""STDD: CLIP whose vision blocks also attend across frames, scored frame by frame against many prompts per class.

Re-implementation of STDD (arXiv 2412.09895; card of STDD, S1 to R4). The vision tower gains no parameters: a second
pass of each block's own attention runs over part of the patches with channels exchanged between frames (see
`space_time_attention`). Frames and prompts are matched in both directions, and a frozen CLIP teaches the frame
embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import logging

from .configuration_stdd import STDDConfig
from .dual_encoder import DualEncoderPreTrainedModel
from .encoder_towers import LayerFunction
from .guards import is_exported
from .losses import cross_entropy_to_targets
from .modeling_zsar import (
    LabelBank,
    VideoFeatures,
    gather_prompts,
    masked_mean,
    normalize,
    split_views,
)
from .parts import needed
from .space_time_attention import (
    check_grid,
    kept_count,
    kept_patches,
    random_window_mask,
    space_time_block,
    window_mask,
)


logger = logging.get_logger(__name__)

# Similarities of frames and prompts held at once, float32: 64 MiB.
MAX_SIMILARITIES = 1 << 24


class DistillProjector(nn.Sequential):
    """Student frame embeddings -> correction added before they are compared with the teacher's; zero at first."""

    def __init__(self, dim: int) -> None:
        super().__init__(nn.Linear(dim, dim, bias=False), nn.GELU(), nn.Linear(dim, dim, bias=False))

    def init_weights(self, std: float) -> None:
        init.kaiming_normal_(self[0].weight)
        init.zeros_(self[2].weight)


def bidirectional_match(frames: torch.Tensor, prompts: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Half the mean over prompts of the best frame plus half the mean over frames of the best prompt.

    Args:
        frames: `[B, V, T, D]`, unit norm.
        prompts: `[K, A, D]`, unit norm.
        mask: boolean `[K, A]`, the prompts that a label has; every label needs one.

    Returns:
        `[B, K]`, the mean over the views.
    """
    similarity = torch.einsum("bvtd,kad->bvtka", frames, prompts)
    best_frame = masked_mean(similarity.amax(dim=2), mask, dim=-1)
    best_prompt = similarity.masked_fill(~mask, -torch.inf).amax(dim=-1).mean(dim=2)
    return (0.5 * (best_frame + best_prompt)).mean(dim=1)


class STDDModel(DualEncoderPreTrainedModel):
    """CLIP with space-time cross attention in every vision block.

    Any encoder with a fitting patch grid can be opened as an STDD model without training
    ([`~STDDModel.from_encoder`]); that changes its features and is not the published model, whose weights were not
    released. Tokens before the patches, of which CLIP has one, stay in both passes.
    """

    config_class = STDDConfig
    config: STDDConfig
    text_candidates = "all"
    explains = ("prompts",)
    score_inputs = ("frame_embeds",)

    def __init__(self, config: STDDConfig) -> None:
        super().__init__(config)
        self.distill_projector: Any = None
        if config.distill_weight:
            self.distill_projector = DistillProjector(self.backbone.dim)
        self._teacher: nn.Module | None = None
        self.post_init()

    # -- video side ------------------------------------------------------------------------------------------------

    def compute_features(
        self,
        pixel_values_videos: torch.Tensor,
        generator: torch.Generator | None = None,
        patch_masks: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> VideoFeatures:
        """Frames -> one embedding per frame; neighboring frames have seen each other.

        Args:
            pixel_values_videos: `[B, T, 3, H, W]` or `[B, V, T, 3, H, W]`. A window must tile the patch grid.
            generator: source of the random masks, in training and with `eval_temporal_shuffle`; without it torch's
                global CPU generator. Evaluation is deterministic otherwise.
            patch_masks: boolean `[blocks, B * V, T, N]` (or broadcastable to it), true = the patch stays out of the
                temporal pass of that block; in raster order. Used instead of the masks the configuration asks for.

        Raises:
            ValueError: the patch grid or the masks do not fit.
        """
        clips, batch, views = split_views(pixel_values_videos)
        num_frames = clips.shape[1]
        layer_function = None
        if self.config.use_stca:
            kept = self._kept_patches(clips, patch_masks, generator)
            layer_function = self._layer_function(kept)
        embeds, _ = self.backbone.encode_frames(clips.flatten(0, 1), layer_function)
        frame_embeds = embeds.view(batch, views, num_frames, -1)
        video_embeds = normalize(normalize(frame_embeds.float()).mean(dim=(1, 2)))
        return VideoFeatures(video_embeds=video_embeds.to(frame_embeds.dtype), frame_embeds=frame_embeds)

    def _layer_function(self, kept: torch.Tensor) -> LayerFunction:
        # The masks are drawn before the first block, so that recomputing a block (gradient checkpointing) repeats it.
        def block(layer: nn.Module, hidden: torch.Tensor, index: int) -> torch.Tensor:
            # One mask for all blocks has no axis for them.
            of_block = kept[index] if kept.ndim == 4 else kept
            settings = self.config.channel_fold, self.config.temporal_scales, self.backbone.num_prefix_tokens
            return space_time_block(self.backbone.branches(layer), hidden, of_block.to(hidden.device), *settings)

        return block

    def _kept_patches(
        self, clips: torch.Tensor, patch_masks: torch.Tensor | None, generator: torch.Generator | None
    ) -> torch.Tensor:
        """Patches of the temporal passes: `[T, M]`, the same everywhere, or `[blocks, B * V, T, M]`."""
        config, (videos, num_frames) = self.config, clips.shape[:2]
        patch = self.backbone.patch_size
        grid = check_grid((clips.shape[-2] // patch[0], clips.shape[-1] // patch[1]), config.window_size)
        count = kept_count(grid, config.window_size, config.mask_rate)
        shape = (len(self.backbone.vision_layers), videos)
        settings = (num_frames, grid, config.window_size, config.mask_rate)
        if patch_masks is not None:
            masks, count = self._check_masks(patch_masks, (*shape, num_frames, grid[0] * grid[1]))
        elif self.training:
            masks = random_window_mask(
                shape, *settings, True, config.spatial_repeat, config.temporal_shuffle, generator
            )
        elif config.eval_temporal_shuffle:
            masks = random_window_mask(shape, *settings, rotate=False, generator=generator)
        else:
            masks = window_mask(*settings, device=clips.device)
        return kept_patches(masks.to(clips.device), grid, config.window_size, count)

    @staticmethod
    def _check_masks(patch_masks: torch.Tensor, shape: tuple[int, ...]) -> tuple[torch.Tensor, int]:
        try:
            masks = patch_masks.bool().expand(shape)
        except RuntimeError as error:
            raise ValueError(
                f"patch_masks has shape {tuple(patch_masks.shape)}: expected [blocks, videos, frames, patches] = "
                f"{list(shape)} or something that broadcasts to it."
            ) from error
        counts = (~masks).sum(dim=-1)
        if counts.min() < 1 or counts.min() != counts.max():
            raise ValueError("patch_masks must keep (false) the same number of patches, at least one, in every frame.")
        return masks, int(counts.min())

    # -- text side and matching ------------------------------------------------------------------------------------

    def encode_labels(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        prompt_index: torch.Tensor | None = None,
        labels: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> LabelBank:
        """Prompts -> bank with `prompt_embeds [K, A, D]` (unit norm), `prompt_mask [K, A]` and `text_embeds [K, D]`.

        Without gradient, unless the configuration says `train_text_tower`.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.train_text_tower):
            rows = self.backbone.encode_texts(input_ids, attention_mask, self.text_limit)
            tensors = text_tensors(*gather_prompts(normalize(rows.float()), prompt_index))
        return self.make_bank(labels, tensors, (input_ids, attention_mask, prompt_index))

    def compute_scores(self, features: VideoFeatures, bank: LabelBank) -> dict[str, torch.Tensor]:
        """Logits `[B, K]` at the learned scale, in float32; views are averaged. Memory is bounded in K."""
        return {
            "logits_per_video": self.backbone.logits_of(self._match(normalize(features.frame_embeds.float()), bank))
        }

    def _match(self, frames: torch.Tensor, bank: LabelBank) -> torch.Tensor:
        if self.config.matching == "mean":
            return frames.mean(dim=(1, 2)) @ bank["text_embeds"].float().t()
        prompts, mask = bank["prompt_embeds"].float(), bank["prompt_mask"]
        if is_exported():
            return bidirectional_match(frames, prompts, mask)
        step = max(1, MAX_SIMILARITIES // (frames.shape[:3].numel() * prompts.shape[1]))
        parts = zip(prompts.split(step), mask.split(step), strict=True)
        return torch.cat([bidirectional_match(frames, *part) for part in parts], dim=-1)

    @property
    def text_is_static(self) -> bool:
        return not self.config.train_text_tower

    def check_exportable(self) -> None:
        if self.config.eval_temporal_shuffle:
            raise ValueError("A model with eval_temporal_shuffle=True cannot be exported: it draws masks at random.")

    # -- training --------------------------------------------------------------------------------------------------

    def prepare_training(self, classes: Sequence[str], teacher: str | PreTrainedModel | None = None) -> None:
        super().prepare_training(classes, teacher)
        if self.config.distill_weight:
            self.set_teacher(teacher)

    @property
    def teacher(self) -> nn.Module | None:
        """The frozen image tower that frame embeddings are kept close to. Not a part of this module: it is neither
        saved, trained, nor listed among the parameters."""
        return self._teacher

    def set_teacher(self, encoder: str | PreTrainedModel | None = None, **load_kwargs: Any) -> None:
        """Choose the teacher of the distillation loss; a frozen copy of its image tower is taken.

        Args:
            encoder: a loaded CLIP or other encoder that STDD can stand on, a Hub id or a folder. Without it, this
                model's own tower as it is now, without the space-time attention: right after [`from_encoder`], that is
                the original.
            load_kwargs: passed to `AutoModel.from_pretrained`.

        Raises:
            ValueError: the teacher's embeddings have another size than the student's.
            RuntimeError: the code that an export carries does without.
        """
        teacher = needed("distillation", "a teacher").make_teacher(self.backbone, encoder, load_kwargs)
        # Past nn.Module's own __setattr__, which would register it.
        object.__setattr__(self, "_teacher", teacher)

    def compute_loss(
        self,
        features: VideoFeatures,
        bank: LabelBank,
        targets: torch.Tensor,
        pixel_values_videos: torch.Tensor | None = None,
        parts: dict[str, torch.Tensor] | None = None,
        **inputs: Any,
    ) -> torch.Tensor:
        """Cross-entropy over the candidates plus `distill_weight` times the distillation loss (card of STDD, S9).

        The gradient of the distillation goes through student and projector. In the released code that term is a
        constant (card of STDD, R2): `distill_weight=0` gives the gradients of that code.

        Raises:
            ValueError: a teacher is set and `pixel_values_videos` is missing.
        """
        logits = (parts or self.compute_scores(features, bank))["logits_per_video"]
        loss = cross_entropy_to_targets(logits, targets).mean()
        if not self.config.distill_weight:
            return loss
        if self.teacher is None:
            logger.warning_once(
                f"distill_weight={self.config.distill_weight} but there is no teacher: training without distillation. "
                "Call model.set_teacher(...), or set distill_weight=0."
            )
            return loss
        if pixel_values_videos is None:
            raise ValueError("The distillation loss needs pixel_values_videos, for the teacher.")
        distillation = needed("distillation", "a teacher").distillation(self, features, pixel_values_videos)
        return loss + self.config.distill_weight * distillation


def text_tensors(prompt_embeds: torch.Tensor, prompt_mask: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a bank of STDD holds, from unit-norm prompts `[K, A, D]` and the mask of those that exist `[K, A]`."""
    pooled = normalize(masked_mean(prompt_embeds, prompt_mask[..., None], dim=1))
    return {"prompt_embeds": prompt_embeds, "prompt_mask": prompt_mask, "text_embeds": pooled}


__all__ = ["STDDModel", "bidirectional_match", "text_tensors"]
