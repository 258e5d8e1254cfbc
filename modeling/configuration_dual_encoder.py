"""What the configurations share of models that stand on a published one."""

from __future__ import annotations

from transformers import PreTrainedConfig

from .configuration_zsar import ZSARConfig


class DualEncoderConfig(ZSARConfig):
    """Base of configurations with a `backbone_config`, such as a [`CLIPConfig`] or a [`SiglipConfig`]."""

    # `Trainer` gathers the other outputs over batches as predictions: those that have one row per video, `[N, K]`.
    keys_to_ignore_at_inference = ["logits_per_text", "video_embeds", "text_embeds"]

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PreTrainedConfig:
        """Of the text tower: where transformers looks for `vocab_size`, e.g. when it resizes the embeddings."""
        return self.backbone_config.get_text_config(decoder=decoder, encoder=encoder)


__all__ = ["DualEncoderConfig"]
