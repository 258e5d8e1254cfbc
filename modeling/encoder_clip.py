"""CLIP and its kin: image and text towers with a projection each."""

from __future__ import annotations

import torch

from .encoder_towers import TowerEncoder


class CLIPEncoder(TowerEncoder):
    """CLIP and MetaCLIP 2, whose text tower is causal and pools at the end token: what follows it changes nothing, so
    no mask is passed, which keeps the fast attention path."""

    reads_mask = False

    @property
    def dim(self) -> int:
        return self.model.config.projection_dim

    def before_layers(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.model.vision_model.pre_layrnorm(hidden)

    def pool(self, hidden: torch.Tensor) -> torch.Tensor:
        return self._project(hidden[:, 0])

    def project_patches(self, hidden: torch.Tensor) -> torch.Tensor:
        return self._project(hidden[:, 1:])

    def _project(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.model.visual_projection(self.model.vision_model.post_layernorm(hidden))

    def project_words(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.model.text_projection(hidden)


__all__ = ["CLIPEncoder"]
