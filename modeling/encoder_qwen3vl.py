"""Qwen3-VL-Embedding (arXiv 2601.04720): a language model that reads frames in pairs, each after its time; its last
token stands for the input."""

from __future__ import annotations

import torch

from .encoder import Encoder


class Qwen3VLEncoder(Encoder):
    """Prompts are those of the model's card, an instruction and the chat template, made into tokens beforehand."""

    roles = {"vision": ("visual.",), "text": ("language_model.",)}
    lora_targets = ("q_proj", "k_proj", "v_proj", "o_proj")

    def embed_clips(self, clips: torch.Tensor) -> dict[str, torch.Tensor]:
        config, vision = self.model.config, self.model.config.vision_config
        patches, grid = _patches(clips, vision.patch_size, vision.temporal_patch_size, vision.spatial_merge_size)
        tokens = grid[1] * grid[2] // vision.spatial_merge_size**2
        frames = [config.vision_start_token_id, *[config.video_token_id] * tokens, config.vision_end_token_id]
        row = list(self.video_prompt["before"])
        for first in range(0, clips.shape[1], vision.temporal_patch_size):
            last = min(first + vision.temporal_patch_size, clips.shape[1]) - 1
            row += [*self._time((first + last) / 2), *frames]
        row += self.video_prompt["after"]
        ids = torch.tensor([row] * len(clips), device=clips.device)
        output = self.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=2 * (ids == config.video_token_id).int(),
            pixel_values_videos=patches,
            video_grid_thw=torch.tensor([grid] * len(clips), device=clips.device),
            use_cache=False,
        )
        return {"view_embeds": output.last_hidden_state[:, -1]}

    def _time(self, frame: float) -> list[int]:
        """The tokens of the time of a frame, of which `fps` go into a second."""
        spelled = self.video_prompt["spelled"]
        digits = (spelled[sign] for sign in f"{frame / self.video_prompt['fps']:.1f}")
        return [*spelled["<"], *(token for each in digits for token in each), *spelled[" seconds>"]]

    def embed_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        if attention_mask is None:
            return output[:, -1]
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        last = (attention_mask * places).argmax(dim=1)
        return output[torch.arange(len(output), device=output.device), last]


def _patches(clips: torch.Tensor, size: int, times: int, merge: int) -> tuple[torch.Tensor, tuple[int, int, int]]:
    """Clips `[N, T, 3, H, W]` -> the patches of all, `[N * patches, 3 * times * size * size]`, those that are merged
    one behind the other, and the grid `(time, height, width)` of one. The last frame fills the last group up.

    Raises:
        ValueError: sides that no whole number of merged patches makes up.
    """
    batch, count, _, height, width = clips.shape
    if height % (size * merge) or width % (size * merge):
        raise ValueError(f"Frames of {(height, width)}: the sides must be multiples of {size * merge}.")
    clips = torch.cat([clips, clips[:, -1:].expand(-1, -count % times, -1, -1, -1)], dim=1)
    grid = (clips.shape[1] // times, height // size, width // size)
    cut = clips.reshape(batch, grid[0], times, 3, grid[1] // merge, merge, size, grid[2] // merge, merge, size)
    return cut.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9).reshape(-1, 3 * times * size * size), grid


__all__ = ["Qwen3VLEncoder"]
