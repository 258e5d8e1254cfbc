"""Any model that open_clip loads. The one adapter that needs another package, so it does not travel with an export."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import initialization as init

from .configuration_open_clip import OpenCLIPConfig
from .encoder import FrameEncoder


class OpenCLIPEncoder(FrameEncoder):
    """Texts are padded to their full length, as open_clip's tokenizers pad them: its text towers differ."""

    trims_texts = False
    travels = False
    roles = {
        "vision": ("visual.",),
        "scale": ("logit_scale", "logit_bias"),
        "text": ("text.", "transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection"),
    }
    lora_targets = ("c_fc", "c_proj", "out_proj", "qkv", "proj", "fc1", "fc2")

    def __init__(self, config: OpenCLIPConfig) -> None:
        nn.Module.__init__(self)
        self.model = build(config)

    @property
    def text_model(self) -> nn.Module:
        return getattr(self.model, "text", self.model)

    def init_weights(self, std: float) -> None:
        """What no file holds (masks, tables of positions) as open_clip makes it; loading plans it without contents."""
        buffers = dict(self.model.named_buffers())
        if not buffers or any(each.is_meta for each in buffers.values()):
            return
        with torch.device("cpu"):
            fresh = dict(build(self.model.config).named_buffers())
        for name, buffer in buffers.items():
            init.copy_(buffer, fresh[name])

    def bias(self) -> torch.Tensor | None:
        return self.own("logit_bias").float() if getattr(self.model, "logit_bias", None) is not None else None

    def embed_frames(self, frames: torch.Tensor) -> torch.Tensor:
        weight = next(self.model.visual.parameters())
        return self.model.encode_image(frames.to(weight.dtype))

    def embed_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        return self.model.encode_text(input_ids)


def build(config: OpenCLIPConfig) -> nn.Module:
    """A model with random weights.

    Raises:
        ImportError: open_clip is not installed.
    """
    import open_clip

    fields = {name: value for name, value in (config.model_cfg or {}).items() if name != "custom_text"}
    text = fields.get("text_cfg", {})
    if "hf_model_name" in text:
        fields["text_cfg"] = {**text, "hf_model_pretrained": False}
    model = open_clip.create_model(
        "coca_base" if "multimodal_cfg" in fields else "ViT-B-32",
        load_weights=False,
        pretrained_text=False,
        device=torch.get_default_device(),  # none at all while weights are only planned
        force_custom_text=bool((config.model_cfg or {}).get("custom_text") or "hf_model_name" in text),
        **fields,
    )
    return with_config(model, config)


def with_config(model: Any, config: OpenCLIPConfig) -> Any:
    """A model of open_clip with what the rest of this package asks a model of transformers for."""
    model.config, model._no_split_modules = config, ["ResidualAttentionBlock", "Block"]
    return model


__all__ = ["OpenCLIPEncoder", "build", "with_config"]
