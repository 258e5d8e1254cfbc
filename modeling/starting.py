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
        pretrained = _load(pretrained, **load_kwargs, dtype=dtype)
    elif dtype is not None or load_kwargs:
        raise ValueError("dtype and load_kwargs say how to load a checkpoint; this model is loaded already.")
    model = _around(cls, {"backbone": pretrained}, config)
    model.prepare_backbone()
    model.freeze_roles(*model.frozen_roles)
    return model.eval()


def start_on_backbone(cls: Any, backbone: Any, text_encoder: Any, load_kwargs: dict, config: dict) -> Any:
    """See [`ResTModel.from_backbone`]."""
    cls.config_class.refuse_unknown(config)
    if isinstance(backbone, (str, os.PathLike)):
        backbone = _load(backbone, **load_kwargs)
    if isinstance(text_encoder, (str, os.PathLike)):
        text_encoder = _load(text_encoder)
    if text_encoder.config.model_type != "bert":
        raise ValueError(f"The text encoder is a {text_encoder.config.model_type!r} model; a BERT is needed.")
    text_encoder.pooler = None
    of_clips = backbone.config
    sizes = {
        "num_frames": getattr(of_clips, "num_frames", None) or getattr(of_clips, "frames_per_clip", 16),
        "image_size": getattr(of_clips, "image_size", None) or getattr(of_clips, "crop_size", 224),
    }
    defaults = {"backbone_type": "transformers", "cross_modal": False, "visual_token_pooling": "spatial", **sizes}
    return _around(cls, {"backbone": backbone, "text": text_encoder}, {**defaults, **config}).eval()


# What is published -> where it stands in a model.
PLACES = {"backbone": "backbone.model", "text": "text_model"}


def _load(name: str | os.PathLike, **options: Any) -> PreTrainedModel:
    return AutoModel.from_pretrained(name, **{"use_safetensors": True, **options})


def _around(cls: Any, loaded: dict[str, PreTrainedModel], config: dict[str, Any]) -> Any:
    """A model with loaded ones as its parts, whose modules are shared; what it adds to them starts fresh."""
    # Copies, because a new configuration resets the attention implementation of those that it takes in.
    of_parts = {f"{name}_config": copy.deepcopy(part.config) for name, part in loaded.items()}
    own_config, first = cls.config_class(**of_parts, **config), loaded["backbone"]
    own_config._attn_implementation = first.config._attn_implementation
    # Without storage, so that no second backbone is ever allocated or initialized.
    with torch.device("meta"):
        model = cls(own_config)
    homes = {name: PLACES[name].rpartition(".") for name in loaded}
    for home, _, attribute in homes.values():
        setattr(model.get_submodule(home), attribute, None)
    adds_weights = any(True for _ in (*model.parameters(), *model.buffers()))
    if adds_weights:
        model.to_empty(device=first.device).to(first.dtype)
    for name, (home, _, attribute) in homes.items():
        setattr(model.get_submodule(home), attribute, loaded[name])
        setattr(model.config, f"{name}_config", loaded[name].config)
    if adds_weights:
        for each in loaded.values():
            part: Any
            for part in (*each.modules(), *each.parameters()):
                part._is_hf_initialized = True
        model.initialize_weights()
    return model
