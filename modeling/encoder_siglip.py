"""SigLIP, and SigLIP 2 of a fixed size: attention pooling over patches, text pooled at the last position."""

from __future__ import annotations

import torch

from .encoder import FrameEncoder


class SiglipEncoder(FrameEncoder):
    """The text tower knows no mask and reads rows padded to their full length; cut, they mean another thing."""

    trims_texts = False
    roles = {"vision": ("vision_model.",), "text": ("text_model.",), "scale": ("logit_scale", "logit_bias")}

    def embed_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        return super().embed_texts(input_ids, None)


__all__ = ["SiglipEncoder"]
