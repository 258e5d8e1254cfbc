"""What the configurations of all methods share: sizes are held to limits, and a bad one is refused in a sentence."""

from __future__ import annotations

from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

from .size_limits import check_sizes


class ZSARConfig(PreTrainedConfig):
    """Base of the configurations."""

    def __post_init__(self, **kwargs: Any) -> None:
        # Before the base class: it makes tables and configurations of what the fields say.
        check_sizes({**vars(self), **kwargs})
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> ZSARConfig:
        """As the base class.

        Raises:
            ValueError: a field has a value that it cannot have.
        """
        try:
            return super().from_dict(config_dict, **kwargs)
        except (StrictDataclassError, AttributeError, LookupError, RecursionError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"the configuration is not valid: {type(error).__name__}: {reason}.") from error


__all__ = ["ZSARConfig"]
