"""ResT configuration."""

from __future__ import annotations

from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec


@strict
class ResTConfig(PreTrainedConfig):
    r"""
    Configuration of [`ResTModel`], a re-implementation of ResT (arXiv 2205.01657). Only the idea is published: one
    cross-modal transformer over ResNet features and label text, and zero-shot inference by composing prototypes of
    unseen classes out of seen ones. All sizes, losses and recipes here are our reading.

    Args:
        cross_modal: the trained cross-modal transformer. `False` keeps only the semantic transfer on top of any vision
            backbone and any sentence encoder; nothing has to be trained then.
        backbone_config: of a transformers vision backbone.
        text_config: of the BERT text encoder.
        text_pooling: `"mean"` over tokens (sentence encoders) or `"cls"`.
        num_frames: frames per view that the model was made for.
        max_text_length: longest label in tokens.
        num_seen_classes: S, the number of seen classes; sizes the prototype buffers.
        seen_class_names: the S names in the order of the prototypes.
        text_template: template that the seen class names went through; candidates must go through the same one.
        transfer_method: `"softmax"` or `"ridge"` weights over seen classes.
        transfer_temperature: tau of the softmax.
        transfer_top_k: only the k most related seen classes take part; `None` is all.
        transfer_ridge_lambda: of `"ridge"`.
        exact_match_uses_seen_prototype: a candidate that is a seen class uses its own prototype.
        inference_logit_scale: turns cosines into logits; the order of the classes does not depend on it.
    """

    model_type = "zsar_rest"
    sub_configs_defaults = {
        "backbone_config": SubConfigSpec(AutoConfig, model_type="resnet"),
        "text_config": SubConfigSpec(AutoConfig, model_type="bert"),
    }

    cross_modal: bool = False
    backbone_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    text_pooling: Literal["mean", "cls"] = "mean"
    num_frames: int = 8
    max_text_length: int = 32
    num_seen_classes: int = 0
    seen_class_names: list[str] | tuple[str, ...] = ()
    text_template: str = "{}"
    transfer_method: Literal["softmax", "ridge"] = "softmax"
    transfer_temperature: float = 0.05
    transfer_top_k: int | None = None
    transfer_ridge_lambda: float = 1e-2
    exact_match_uses_seen_prototype: bool = True
    inference_logit_scale: float = 20.0
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        if self.seen_class_names and not self.num_seen_classes:
            self.num_seen_classes = len(self.seen_class_names)
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        if self.seen_class_names and len(self.seen_class_names) != self.num_seen_classes:
            raise ValueError(
                f"{len(self.seen_class_names)} seen_class_names but num_seen_classes={self.num_seen_classes}."
            )
        if self.transfer_temperature <= 0:
            raise ValueError(f"transfer_temperature must be positive, got {self.transfer_temperature}.")


__all__ = ["ResTConfig"]
