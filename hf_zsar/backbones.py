"""Published video and vision models without text as backbones of ResT."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .encoders import SOURCE, EncoderSpec, build_processor
from .methods import METHODS


if TYPE_CHECKING:
    from hf_zsar.modeling.modeling_rest import ResTModel
    from hf_zsar.processing.processing_zsar import ZSARProcessor


def load_backbone(
    source: str | os.PathLike,
    *,
    text_encoder: str | os.PathLike | None = None,
    processor: Mapping[str, Any] | None = None,
    video_processor: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[ResTModel, ZSARProcessor]:
    """ResT on a published backbone, and its processor: frames as the backbone's files say, texts as the encoder's do.

    Args:
        source: repository id or folder of the backbone.
        text_encoder: the same of a sentence encoder, a BERT.
        processor, video_processor: options of these instead of what the files say.
        options: fields of [`ResTConfig`], and options of `from_pretrained` of the backbone.

    Raises:
        OSError: no such model, or files are missing.
        ValueError: no text encoder, or one that is not a BERT.
    """
    from transformers import AutoTokenizer

    from hf_zsar.processing.checkpoint_images import frame_settings

    if text_encoder is None:
        raise ValueError(
            "ResT reads labels with a sentence encoder: text_encoder=, e.g. sentence-transformers/all-MiniLM-L6-v2."
        )
    method: Any = next(spec for spec in METHODS.values() if hasattr(spec.model_class, "from_backbone"))
    source, text_encoder = os.fspath(source), os.fspath(text_encoder)
    place = {name: options[name] for name in SOURCE if name in options}
    known = method.config_class.__dataclass_fields__
    fields = {name: options.pop(name) for name in list(options) if name in known}
    model = method.model_class.from_backbone(source, text_encoder, load_kwargs=options, **fields)
    video = {"num_frames": model.config.num_frames, **(video_processor or {})}
    text = {"max_text_length": model.text_limit, **(processor or {})}
    config, tokenizer = model.config.backbone_config, AutoTokenizer.from_pretrained(text_encoder)
    described = EncoderSpec(config.model_type, config.model_type, "")
    settings = frame_settings(source, **place)
    return model, build_processor(described, config, settings, tokenizer, method.processor_class, text, video)
