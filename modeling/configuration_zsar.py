"""What the configurations of all methods share: sizes are held to limits, and a bad one is refused in a sentence."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import GenerationConfig, PreTrainedConfig
from transformers.utils import logging

from .parts import part


logger = logging.get_logger(__name__)

# What transformers, its older versions and the Hub put into any configuration without declaring a field for it.
_EXTRAS = frozenset(
    "add_cross_attention attn_implementation auto_map cross_attention_hidden_size custom_pipelines "
    "experts_implementation finetuning_task is_decoder prefix pruned_heads quantization_config "
    "task_specific_params tie_encoder_decoder tie_last_hidden_states tie_word_embeddings tokenizer_class torchscript "
    "use_bfloat16 use_cache".split()
)


class ZSARConfig(PreTrainedConfig):
    """Base of the configurations."""

    def __post_init__(self, **kwargs: Any) -> None:
        self.refuse_unknown(kwargs)
        # Before the base class: it makes tables and configurations of what the fields say.
        if sizes := part("size_limits"):  # who runs the code of an export trusts its configuration
            sizes.check_sizes({**vars(self), **kwargs})
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> ZSARConfig:
        """As the base class. Fields that this version does not know are left out with a warning that names them: kept,
        they would be saved again beside weights that were trained without them.

        Raises:
            ValueError: a field has a value that it cannot have, or an argument is a field's name misspelled.
        """
        # Other arguments may be for whoever called: a model, a pipeline.
        cls.refuse_unknown(name for name in kwargs if cls._nearest(name, cutoff=0.8))
        unknown = cls._unknown(config_dict)
        # Settings of text generation come from configurations that older versions of transformers wrote.
        news = sorted(set(unknown) - GenerationConfig._get_default_generation_params().keys())
        if news:
            logger.warning(
                f"{config_dict.get('_name_or_path') or 'The configuration'}: {cls.__name__} does not know "
                f"{', '.join(map(repr, news))}, which a newer version may have written: left out, so the model may "
                "give other numbers than there."
            )
        known = {name: value for name, value in config_dict.items() if name not in unknown}
        try:
            return super().from_dict(known, **kwargs)
        except (StrictDataclassError, AttributeError, LookupError, RecursionError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"the configuration is not valid: {type(error).__name__}: {reason}.") from error

    @classmethod
    def from_json_file(cls, json_file: str | os.PathLike) -> ZSARConfig:
        """As the base class, and as [`from_dict`]."""
        return cls.from_dict(cls._dict_from_json_file(json_file))

    @classmethod
    def refuse_unknown(cls, names: Iterable[str]) -> None:
        """
        Raises:
            ValueError: names that are not fields, with the nearest that are.
        """
        if unknown := cls._unknown(names):
            hints = [
                f"{name!r}" + "".join(f" (did you mean {near}?)" for near in cls._nearest(name)) for name in unknown
            ]
            raise ValueError(f"{cls.__name__} has no field {', '.join(hints)}. Its fields: help({cls.__name__}).")

    @classmethod
    def _unknown(cls, names: Iterable[str]) -> list[str]:
        return [name for name in names if not (name.startswith("_") or name in _EXTRAS or hasattr(cls, name))]

    @classmethod
    def _nearest(cls, name: str, cutoff: float = 0.6) -> list[str]:
        return difflib.get_close_matches(name, [field.name for field in fields(cls)], n=1, cutoff=cutoff)


__all__ = ["ZSARConfig"]
