"""SigLIP, and SigLIP 2 of a fixed size: attention pooling over patches, text pooled at the last position."""

from __future__ import annotations

import torch

from .encoder_towers import TowerEncoder


class SiglipEncoder(TowerEncoder):
    """The text tower knows no mask and reads rows padded to their full length; cut, they mean another thing. There is
    no token of the whole image."""

    trims_texts = False
    reads_mask = False
    num_prefix_tokens = 0
    roles = {"vision": ("vision_model.",), "text": ("text_model.",), "scale": ("logit_scale", "logit_bias")}

    def pool(self, hidden: torch.Tensor) -> torch.Tensor:
        tower = self.model.vision_model
        return tower.head(tower.post_layernorm(hidden))

    def project_patches(self, hidden: torch.Tensor) -> torch.Tensor:
        """Each patch through the pooling head by itself, as if the image were that patch alone. SigLIP defines no
        patches in the joint space: this is our choice, after what MaskCLIP (arXiv 2112.01071) does with the attention
        pooling of CLIP's ResNets."""
        return self.pool(hidden.flatten(0, 1)[:, None]).unflatten(0, hidden.shape[:2])

    def project_words(self, hidden: torch.Tensor) -> torch.Tensor:
        """As the one position that the tower pools; of the others that is our choice."""
        return self.text_model.head(hidden)


__all__ = ["SiglipEncoder"]
