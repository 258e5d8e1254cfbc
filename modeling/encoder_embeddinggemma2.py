"""EmbeddingGemma 2: a language model that reads frames as patches; the mean over its tokens stands for the input."""

from __future__ import annotations

import torch

from .encoder import Encoder
from .modeling_zsar import masked_mean


class EmbeddingGemma2Encoder(Encoder):
    """Frames stand one behind the other between the tokens that begin and end a picture, without times."""

    roles = {"vision": ("vision_tower.", "embed_vision."), "text": ("language_model.",)}
    lora_targets = ("q_proj", "k_proj", "v_proj", "o_proj")

    def embed_clips(self, clips: torch.Tensor) -> dict[str, torch.Tensor]:
        config, vision = self.model.config, self.model.config.vision_config
        batch, count = clips.shape[:2]
        patches, (height, width) = _patches(clips.flatten(0, 1), vision.patch_size, vision.pooling_kernel_size)
        columns = torch.arange(width, device=clips.device).repeat(height)
        rows = torch.arange(height, device=clips.device).repeat_interleave(width)
        positions = torch.stack([columns, rows], dim=-1)
        soft_tokens = height * width // vision.pooling_kernel_size**2
        frame = [config.boi_token_id, *[config.video_token_id] * soft_tokens, config.eoi_token_id]
        row = [*self.video_prompt["before"], *frame * count, *self.video_prompt["after"]]
        ids = torch.tensor([row] * batch, device=clips.device)
        output = self.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values_videos=patches,
            video_position_ids=positions.expand(batch * count, -1, -1),
            num_frames_per_video=torch.full((batch,), count),
        )
        return {"view_embeds": output.last_hidden_state.mean(dim=1)}

    def embed_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        output = self.model(input_ids=input_ids, attention_mask=mask)
        return masked_mean(output.last_hidden_state, mask[..., None], dim=1)


def _patches(frames: torch.Tensor, size: int, kernel: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """Frames `[N, 3, H, W]` -> `[N, patches, size * size * 3]`, row by row, and their number in height and width.

    Raises:
        ValueError: sides that no whole number of pooled patches makes up.
    """
    height, width = frames.shape[-2] // size, frames.shape[-1] // size
    if frames.shape[-2] % (size * kernel) or frames.shape[-1] % (size * kernel):
        raise ValueError(f"Frames of {tuple(frames.shape[-2:])}: the sides must be multiples of {size * kernel}.")
    cut = frames.reshape(len(frames), 3, height, size, width, size).permute(0, 2, 4, 3, 5, 1)
    return cut.reshape(len(frames), height * width, -1), (height, width)


__all__ = ["EmbeddingGemma2Encoder"]
