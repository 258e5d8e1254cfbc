"""The processor that a converted checkpoint gets: the sampling and resizing of its code, and a tokenizer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from transformers import AutoTokenizer, CLIPConfig, PreTrainedConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from hf_zsar import METHODS, ZSARVideoProcessor
from hf_zsar.errors import sentence
from hf_zsar.hub.loading import readable

from .checkpoint_files import Conversion, ConversionError, image_side


NO_TOKENIZER = (
    "no tokenizer, so labels cannot be read yet: convert with --tokenizer and the Hub id or folder of CLIP's "
    "tokenizer (such as openai/clip-vit-base-patch16), or copy its files into the folder"
)


def attach_processor(conversion: Conversion, tokenizer: Any = None, templates: Sequence[str] | None = None) -> None:
    """Give the conversion its processor.

    Args:
        conversion: changed in place.
        tokenizer: a Hub id, a folder, a loaded tokenizer, or None; without one only the video side is saved, and the
            processor loads as soon as tokenizer files lie beside it.
        templates: prompt templates instead of the method's own; they are saved with a tokenizer only.

    Raises:
        ConversionError: a tokenizer that cannot be loaded or has another vocabulary than the checkpoint, or templates
            without a tokenizer.
    """
    config = conversion.model.config
    if isinstance(tokenizer, (str, os.PathLike)):
        tokenizer = load_tokenizer(tokenizer)
    if tokenizer is None:
        if templates:
            raise ConversionError("prompt templates are saved with the tokenizer: pass --tokenizer too.")
        conversion.notes.append(NO_TOKENIZER)
    else:
        check_vocabulary(tokenizer, config)
    if isinstance(config, CLIPConfig):
        size = image_side(config)
        image_processor = CLIPImageProcessorPil(
            size={"shortest_edge": size}, crop_size={"height": size, "width": size}
        )
        conversion.extras = [image_processor, *([tokenizer] if tokenizer is not None else [])]
        return
    method = METHODS[config.model_type.removeprefix("zsar_")]
    video_processor = ZSARVideoProcessor(**{"num_frames": config.num_frames, **conversion.video_options})
    if tokenizer is None:
        conversion.extras = [video_processor]
        return
    options = conversion.processor_options | ({"prompt_templates": list(templates)} if templates else {})
    processor = method.processor_class(video_processor, tokenizer, **options)
    conversion.extras = [processor.limited_to(conversion.model.text_limit)]


def load_tokenizer(name: str | os.PathLike) -> Any:
    """
    Raises:
        ConversionError: no such tokenizer.
    """
    try:
        with readable(name):
            return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ConversionError(f"no tokenizer can be loaded from {os.fspath(name)!r}: {sentence(error)}") from error


def check_vocabulary(tokenizer: Any, config: PreTrainedConfig) -> None:
    """
    Raises:
        ConversionError: the tokenizer gives other ids than the text tower was trained with.
    """
    text_config = getattr(config, "backbone_config", config).text_config
    found = len(tokenizer), tokenizer.eos_token_id
    expected = text_config.vocab_size, text_config.eos_token_id
    if found != expected:
        raise ConversionError(
            f"the tokenizer has {found[0]} entries and end token {found[1]}, but the checkpoint was trained with "
            f"{expected[0]} entries and end token {expected[1]}."
        )
