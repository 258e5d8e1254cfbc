"""AltCLIP and ChineseCLIP: CLIP with a text tower that looks both ways."""

from __future__ import annotations

from .encoder import FrameEncoder


class MaskedCLIPEncoder(FrameEncoder):
    """The text tower heeds the mask and pools at the first token."""

    lora_targets = ("q_proj", "k_proj", "v_proj", "out_proj", "query", "key", "value")


__all__ = ["MaskedCLIPEncoder"]
