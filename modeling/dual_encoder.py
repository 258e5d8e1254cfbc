"""What the models share that stand on a published image-text or video-text model.

They never touch its classes: `self.backbone` is its adapter (see `encoder`). A new family is a new adapter; no model
changes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from .encoder import ADAPTERS
from .modeling_zsar import ZSARPreTrainedModel
from .parts import needed


class DualEncoderPreTrainedModel(ZSARPreTrainedModel):
    """Base class of these models."""

    # Whether the model looks into the image tower; see `TowerEncoder`.
    needs_blocks = True
    config_class: Any
    backbone: Any  # the adapter

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        model_type, name = config.backbone_config.model_type, type(self).__name__
        if model_type not in ADAPTERS or (self.needs_blocks and not ADAPTERS[model_type]().shows_blocks):
            fitting = [each for each, adapter in ADAPTERS.items() if adapter().shows_blocks or not self.needs_blocks]
            raise ValueError(f"{name} cannot stand on a {model_type!r} model, only on {', '.join(sorted(fitting))}.")
        self.backbone = ADAPTERS[model_type]()(config.backbone_config)
        self._no_split_modules = self.backbone.model._no_split_modules

    @property
    def parameter_roles(self) -> dict[str, tuple[str, ...]]:
        roles = self.backbone.roles.items()
        return {role: tuple(f"backbone.model.{prefix}" for prefix in prefixes) for role, prefixes in roles}

    @property
    def lora_targets(self) -> tuple[str, ...]:
        return self.backbone.lora_targets

    def get_input_embeddings(self) -> nn.Module:
        return self.backbone.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.backbone.text_model.set_input_embeddings(value)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        # The modules of ours that start otherwise than transformers' default say so themselves.
        if hasattr(module, "init_weights") and not isinstance(module, PreTrainedModel):
            module.init_weights(self.config.initializer_range)

    def prepare_backbone(self) -> None:
        """Change the backbone as the configuration says. Called again when a loaded backbone takes its place."""

    @classmethod
    def from_encoder(cls, pretrained: Any, *, dtype: Any = None, load_kwargs: Any = None, **config: Any) -> Any:
        """Stand on a published model. [`hf_zsar.load`] with `method=` gives the processor that goes with it, too.

        Args:
            pretrained: a Hub id or folder, or a loaded model, whose modules are then shared.
            dtype: of the weights, as in `from_pretrained`; not with a loaded model.
            load_kwargs: passed to `AutoModel.from_pretrained` (revision, token, attn_implementation, ...).
            config: fields of the method's configuration.

        New parameters of the method are initialized as its paper says; image and patch size are the checkpoint's.

        Raises:
            ValueError: a model that there is no fitting adapter for, no such field, or options of loading with a
                loaded model.
        """
        return needed("starting", "other checkpoints").start_from(cls, pretrained, dtype, load_kwargs or {}, config)
