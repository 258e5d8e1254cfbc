"""STDD configuration."""

# No postponed annotations here: `@strict` could not check the types of the fields.
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .configuration_dual_encoder import DualEncoderConfig
from .space_time_attention import Grid, check_grid


def patch_grid(vision_config: PreTrainedConfig) -> Grid:
    """Patches (rows, columns) of an image of the size that a vision tower was made for."""
    image, patch = (
        (size, size) if isinstance(size, int) else tuple(size)
        for size in (vision_config.image_size, vision_config.patch_size)
    )
    return image[0] // patch[0], image[1] // patch[1]


@strict
class STDDConfig(DualEncoderConfig):
    r"""
    Configuration of [`STDDModel`], a re-implementation of STDD (arXiv 2412.09895).

    Args:
        backbone_config: of a CLIP whose patch grid `window_size` divides; ViT-B/16 by default.
        num_frames: frames per view that the model was made for.
        use_stca: space-time cross attention in every vision block. `False` leaves plain CLIP per frame.
        window_size: patches along the side of a masking window.
        mask_rate: share of every window that stays out of the temporal pass, in [0, 1).
        channel_fold: `hidden_size // channel_fold` channels come from earlier frames and as many from later ones.
        temporal_scales: reach of each temporal pass in frames; the passes are averaged.
        spatial_repeat: in training all windows of a video share their random rotation.
        temporal_shuffle: in training permute the masks of the frames.
        eval_temporal_shuffle: permute them in evaluation as well, as the official code does; scores are then random.
        matching: `"bidirectional"` compares every frame with every prompt and averages two max/mean aggregations;
            `"mean"` compares the mean frame with the mean prompt (the official code without text augmentation).
        train_text_tower: let gradients flow into the text tower; the paper's recipe keeps CLIP's.
        distill_weight: of the loss that keeps frame embeddings close to a frozen CLIP's (see
            [`~STDDModel.set_teacher`]); 0 leaves the loss and its projector out.
        distill_alpha: how much of the projector's output is added to a frame embedding before it is compared.
        source_license: `"none"` marks weights converted from a source without a license; such weights are not pushed
            unless told.
    """

    model_type = "zsar_stdd"
    sub_configs_defaults = {
        "backbone_config": SubConfigSpec(
            AutoConfig, model_type="clip", init_kwargs={"vision_config": {"patch_size": 16}}
        ),
    }

    backbone_config: dict | PreTrainedConfig | None = None
    num_frames: int = 8
    use_stca: bool = True
    window_size: int = 2
    mask_rate: float | int = 0.5
    channel_fold: int = 32
    temporal_scales: list[int] | tuple[int, ...] = (1, 2)
    spatial_repeat: bool = True
    temporal_shuffle: bool = True
    eval_temporal_shuffle: bool = False
    matching: Literal["bidirectional", "mean"] = "bidirectional"
    train_text_tower: bool = False
    distill_weight: float | int = 2.0
    distill_alpha: float | int = 0.1
    source_license: str | None = None
    initializer_range: float | int = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        if isinstance(self.temporal_scales, tuple):
            self.temporal_scales = list(self.temporal_scales)
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        if not self.use_stca:
            return
        if self.window_size < 1 or self.channel_fold < 1:
            raise ValueError(
                f"window_size and channel_fold must be at least 1, got {self.window_size} and {self.channel_fold}."
            )
        if not 0 <= self.mask_rate < 1:
            raise ValueError(f"mask_rate must be at least 0 and below 1, got {self.mask_rate!r}.")
        if min(self.temporal_scales, default=0) < 1:
            raise ValueError(f"temporal_scales must be a list of whole numbers >= 1, got {self.temporal_scales!r}.")
        vision = getattr(self.backbone_config, "vision_config", None)
        if vision is not None:
            check_grid(patch_grid(vision), self.window_size)


__all__ = ["STDDConfig", "patch_grid"]
