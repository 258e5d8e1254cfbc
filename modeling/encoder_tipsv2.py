"""TIPSv2: an image tower whose patches are aligned with text, and a text tower pooled over its tokens."""

from __future__ import annotations

import torch

from .encoder import FrameEncoder


class Tipsv2Encoder(FrameEncoder):
    """Cosines are divided by a temperature. It is not part of the published files: there it is the configuration's."""

    roles = {"vision": ("vision_model.",), "text": ("text_model.",), "scale": ("temperature",)}
    lora_targets = ("query", "key", "value", "q_proj", "k_proj", "v_proj")

    def scale(self) -> torch.Tensor:
        return 1 / self.own("temperature").float()

    def embed_frames(self, frames: torch.Tensor) -> torch.Tensor:
        return self.model.get_image_features(pixel_values=frames).pooler_output


__all__ = ["Tipsv2Encoder"]
