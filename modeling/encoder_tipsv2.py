"""TIPSv2: an image tower whose patches are aligned with text, and a text tower pooled over its tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig

from .encoder_towers import TokenFunction, TowerEncoder


class Tipsv2Encoder(TowerEncoder):
    """Cosines are divided by a temperature. It is not part of the published files: there it is the configuration's."""

    roles = {"vision": ("vision_model.",), "text": ("text_model.",), "scale": ("temperature",)}
    lora_targets = ("q_proj", "k_proj", "v_proj", "o_proj", "out_proj")

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        # Stands for patches that are hidden in pretraining, and nowhere else: it never gets a gradient.
        self.model.vision_model.embeddings.mask_token.requires_grad_(False)

    def scale(self) -> torch.Tensor:
        return 1 / self.own("temperature").float()

    def size_options(self, frames: torch.Tensor) -> dict[str, bool]:
        return {}  # the tower sees for itself

    @property
    def num_prefix_tokens(self) -> int:
        return 1 + self.model.config.vision_config.num_register_tokens

    @property
    def vision_layers(self) -> nn.ModuleList:
        return self.model.vision_model.encoder.layer

    @staticmethod
    def branches(layer: Any) -> tuple[TokenFunction, TokenFunction]:
        return (
            lambda hidden: layer.drop_path(layer.layer_scale1(layer.attention(layer.norm1(hidden))[0])),
            lambda hidden: layer.drop_path(layer.layer_scale2(layer.mlp(layer.norm2(hidden)))),
        )

    @staticmethod
    def attention_of(layer: Any) -> nn.Module:
        return getattr(layer, "attention", None) or layer.self_attn

    def pool(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.model.vision_model.layernorm(hidden[:, 0])

    def project_patches(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.model.vision_model.layernorm(hidden[:, self.num_prefix_tokens :])


__all__ = ["Tipsv2Encoder"]
