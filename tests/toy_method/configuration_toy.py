"""Configuration of the toy method."""

# No postponed annotations here: `@strict` could not check the types of the fields.
from huggingface_hub.dataclasses import strict

from hf_zsar.modeling.configuration_zsar import ZSARConfig


@strict
class ToyConfig(ZSARConfig):
    """Sizes of [`ToyModel`]."""

    model_type = "zsar_toy"
    keys_to_ignore_at_inference = ["logits_per_text", "video_embeds", "text_embeds"]

    num_frames: int = 4
    width: int = 32
    patch_size: int = 8
    vocab_size: int = 1024
    max_position_embeddings: int = 77


__all__ = ["ToyConfig"]
