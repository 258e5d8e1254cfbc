"""A model of ours around one that was trained by others. Exports with code do without."""

from __future__ import annotations

import copy
import os
from typing import Any

import torch
from transformers import AutoModel, PreTrainedModel


def start_from(
    cls: Any,
    pretrained: str | PreTrainedModel,
    dtype: torch.dtype | str | None,
    load_kwargs: dict[str, Any],
    config: dict[str, Any],
) -> Any:
    """See [`DualEncoderPreTrainedModel.from_encoder`]."""
    cls.config_class.refuse_unknown(config)
    if isinstance(pretrained, (str, os.PathLike)):
        pretrained = AutoModel.from_pretrained(pretrained, **{"use_safetensors": True, **load_kwargs}, dtype=dtype)
    elif dtype is not None or load_kwargs:
        raise ValueError("dtype and load_kwargs say how to load a checkpoint; this model is loaded already.")
    # A copy, because a new configuration resets the attention implementation of those that it takes in.
    own_config = cls.config_class(backbone_config=copy.deepcopy(pretrained.config), **config)
    own_config._attn_implementation = pretrained.config._attn_implementation
    # Without storage, so that no second backbone is ever allocated or initialized.
    with torch.device("meta"):
        model = cls(own_config)
    model.backbone.model = None
    adds_weights = next(model.parameters(), None) is not None
    if adds_weights:
        model.to_empty(device=pretrained.device).to(pretrained.dtype)
    model.backbone.model = pretrained
    model.config.backbone_config = pretrained.config
    if adds_weights:
        for part in (*pretrained.modules(), *pretrained.parameters()):
            part._is_hf_initialized = True
        model.initialize_weights()
    model.prepare_backbone()
    model.freeze_roles(*model.frozen_roles)
    return model.eval()
