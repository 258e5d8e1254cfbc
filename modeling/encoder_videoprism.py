"""VideoPrism LvT (arXiv 2402.13217): a video tower and a text tower, compared by cosine without a learned scale."""

from __future__ import annotations

import torch

from .encoder import Encoder


class VideoPrismEncoder(Encoder):
    """The model's own `forward` is not asked: its scores are normalized over the videos of a batch.

    The text tower appends its pooled position to a row of full length, so rows are not cut.
    """

    trims_texts = False
    roles = {"vision": ("video_model.",), "text": ("text_model.",)}
    lora_targets = ("query", "key", "value", "q_proj", "k_proj", "v_proj")

    def embed_clips(self, clips: torch.Tensor) -> dict[str, torch.Tensor]:
        config = self.model.config.vision_config
        size = config.image_size
        size = [size, size] if isinstance(size, int) else list(size)
        other = [clips.shape[1], *clips.shape[-2:]] != [config.num_frames, *size]
        output = self.model.get_video_features(pixel_values_videos=clips, interpolate_pos_encoding=other)
        return {"view_embeds": output.pooler_output.flatten(1)}


__all__ = ["VideoPrismEncoder"]
