"""Configuration of a model of open_clip."""

# Without postponed annotations, which `@strict` cannot see through: it would check no field.

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class OpenCLIPConfig(PreTrainedConfig):
    r"""
    What open_clip builds a model from.

    Args:
        model_cfg: `model_cfg` of the checkpoint's `open_clip_config.json`.
    """

    model_type = "open_clip"
    model_cfg: dict | None = None

    @property
    def max_position_embeddings(self) -> int:
        """Tokens of a text."""
        return (self.model_cfg or {}).get("text_cfg", {}).get("context_length", 77)

    @property
    def image_size(self) -> Any:
        """Of the image tower, one side or both."""
        return (self.model_cfg or {}).get("vision_cfg", {}).get("image_size", 224)


__all__ = ["OpenCLIPConfig"]
