"""CLIP and its kin: image and text towers with a projection each."""

from __future__ import annotations

import torch

from .encoder import FrameEncoder


class CLIPEncoder(FrameEncoder):
    """CLIP and MetaCLIP 2, whose text tower is causal and pools at the end token: what follows it changes nothing, so
    no mask is passed, which keeps the fast attention path."""

    def embed_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        return super().embed_texts(input_ids, None)


class MaskedCLIPEncoder(FrameEncoder):
    """AltCLIP and ChineseCLIP, whose text tower looks both ways, heeds the mask and pools at the first token."""

    lora_targets = ("q_proj", "k_proj", "v_proj", "out_proj", "query", "key", "value")


__all__ = ["CLIPEncoder", "MaskedCLIPEncoder"]
