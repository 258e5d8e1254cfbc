"""ResT configuration."""

# No postponed annotations here: `@strict` could not check the types of the fields.
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .configuration_zsar import ZSARConfig


@strict
class ResTConfig(ZSARConfig):
    r"""
    Configuration of [`ResTModel`], a re-implementation of ResT (arXiv 2205.01657). Only the idea is published: one
    cross-modal transformer over ResNet features and label text, and zero-shot inference by composing prototypes of
    unseen classes out of seen ones. All sizes, losses and recipes here are our reading.

    Args:
        cross_modal: the trained cross-modal transformer. `False` keeps only the semantic transfer on top of any vision
            backbone and any sentence encoder; nothing has to be trained then.
        backbone_type: `"r2plus1d_18"` over clips, or `"transformers"`: the vision model of `backbone_config`, over
            frames or, if it is one of videos, over clips.
        backbone_config: of a transformers vision model (ResNet, EfficientNet, ViT, ...) or video model (V-JEPA 2,
            VideoMAE, TimeSformer).
        backbone_widths, backbone_stem_width: channels of R(2+1)D.
        text_config: of BERT: the text encoder, and the transformer that both modalities share.
        text_pooling: without `cross_modal`, `"mean"` over tokens (sentence encoders) or `"cls"`.
        num_frames, image_size: frames per view and their side in pixels, which fix the position tables.
        visual_token_pooling: `"none"`, every place of the backbone's grid is a token, or `"spatial"`, one per frame.
        max_text_length: longest label in tokens; also the position that all visual tokens share.
        projection_dim: size of the joint space.
        num_seen_classes: S, the number of seen classes; sizes the class head and the prototype buffers.
        seen_class_names: the S names in the order of the class ids in training.
        text_template: template that the seen class names went through; candidates must go through the same one.
        logit_scale_init: logarithm of the scale of the class head at the start.
        align_temperature: of the alignment loss, fixed.
        loss_weights: of the losses `cls`, `align` and `match`.
        label_smoothing: of the class head's loss.
        prototype_source: `"class_mean"` over training clips, or `"classifier"`, the rows of the class head.
        transfer_method: `"softmax"` or `"ridge"` weights over seen classes.
        transfer_temperature: tau of the softmax.
        transfer_top_k: only the k most related seen classes take part; `None` is all.
        transfer_ridge_lambda: of `"ridge"`.
        exact_match_uses_seen_prototype: a candidate that is a seen class uses its own prototype.
        gzsl_offset: subtracted from the cosine of seen candidates (calibrated stacking).
        inference_logit_scale: turns cosines into logits; the order of the classes does not depend on it.
    """

    model_type = "zsar_rest"
    sub_configs_defaults = {
        "backbone_config": SubConfigSpec(AutoConfig, model_type="resnet"),
        "text_config": SubConfigSpec(AutoConfig, model_type="bert"),
    }
    keys_to_ignore_at_inference = ["logits_per_text", "video_embeds", "text_embeds"]

    cross_modal: bool = True
    backbone_type: Literal["r2plus1d_18", "transformers"] = "r2plus1d_18"
    backbone_config: dict | PreTrainedConfig | None = None
    backbone_widths: list[int] | tuple[int, ...] = (64, 128, 256, 512)
    backbone_stem_width: int = 45
    text_config: dict | PreTrainedConfig | None = None
    text_pooling: Literal["mean", "cls"] = "mean"
    num_frames: int = 16
    image_size: int = 112
    visual_token_pooling: Literal["none", "spatial"] = "none"
    max_text_length: int = 32
    projection_dim: int = 512
    num_seen_classes: int = 0
    seen_class_names: list[str] | tuple[str, ...] = ()
    text_template: str = "{}"
    logit_scale_init: float | int = 2.6593
    align_temperature: float | int = 0.07
    loss_weights: dict[str, float | int] | None = None
    label_smoothing: float | int = 0.0
    prototype_source: Literal["class_mean", "classifier"] = "class_mean"
    transfer_method: Literal["softmax", "ridge"] = "softmax"
    transfer_temperature: float | int = 0.05
    transfer_top_k: int | None = None
    transfer_ridge_lambda: float | int = 1e-2
    exact_match_uses_seen_prototype: bool = True
    gzsl_offset: float | int = 0.0
    inference_logit_scale: float | int = 20.0
    initializer_range: float | int = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        if self.seen_class_names and not self.num_seen_classes:
            self.num_seen_classes = len(self.seen_class_names)
        self.loss_weights = {"cls": 1.0, "align": 1.0, "match": 1.0, **(self.loss_weights or {})}
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        if self.seen_class_names and len(self.seen_class_names) != self.num_seen_classes:
            raise ValueError(
                f"{len(self.seen_class_names)} seen_class_names but num_seen_classes={self.num_seen_classes}."
            )
        if self.transfer_temperature <= 0:
            raise ValueError(f"transfer_temperature must be positive, got {self.transfer_temperature}.")
        unknown = set(self.loss_weights or ()) - {"cls", "align", "match"}
        if unknown:
            raise ValueError(f"loss_weights has unknown losses {sorted(unknown)}; there are cls, align and match.")


__all__ = ["ResTConfig"]
