"""X-CLIP (arXiv 2208.02816): the frames of a clip exchange messages, and what a text means depends on the video."""

from __future__ import annotations

import torch
from torch import nn
from transformers import initialization as init

from .encoder import Encoder, mean_prompt
from .label_bank import LabelBank
from .outputs import VideoFeatures


class XCLIPEncoder(Encoder):
    """The text tower runs once for a label set; the prompt generator, which looks at the patches of a video, when the
    two sides meet. Where a label has several prompts, each is changed by the video before they are averaged."""

    keeps_prompts = True
    score_inputs = ("view_embeds", "patch_embeds")
    roles = {
        "vision": ("vision_model.", "visual_projection.", "mit.", "prompts_visual_"),
        "text": ("text_model.", "text_projection.", "prompts_generator."),
        "scale": ("logit_scale",),
    }

    def init_weights(self, std: float) -> None:
        super().init_weights(std)
        init.constant_(self.model.prompts_generator.alpha, self.model.config.prompt_alpha)

    def embed_clips(self, clips: torch.Tensor) -> dict[str, torch.Tensor]:
        model, frames = self.model, self.model.config.vision_config.num_frames
        if clips.shape[1] != frames:
            raise ValueError(f"This X-CLIP reads clips of exactly {frames} frames, got {clips.shape[1]}.")
        size = model.config.vision_config.image_size
        output = model.vision_model(
            pixel_values=clips.flatten(0, 1), interpolate_pos_encoding=tuple(clips.shape[-2:]) != (size, size)
        )
        embeds = model.visual_projection(output.pooler_output).unflatten(0, (-1, frames))
        patches = model.prompts_visual_layernorm(output.last_hidden_state[:, 1:])
        patches = (patches @ self.own("prompts_visual_projection")).unflatten(0, (-1, frames))
        return {
            "view_embeds": model.mit(embeds).pooler_output,
            "frame_embeds": embeds,
            "patch_embeds": patches.mean(dim=1, keepdim=True),
        }

    def embed_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        # Causal and pooled at the end token: no mask, as for CLIP.
        return super().embed_texts(input_ids, None)

    def compare(self, features: VideoFeatures, bank: LabelBank, factor: float) -> torch.Tensor:
        """Mean over views of the cosine of a view with the labels as it changes them, times the learned scale."""
        prompts, mask = bank["prompt_outputs"], bank["prompt_mask"]
        views, patches = features["view_embeds"], features["patch_embeds"].flatten(2, 3)
        batch, count = views.shape[:2]
        dtype = self.model.prompts_generator.alpha.dtype  # autocast is off where scores are made
        texts = prompts.flatten(0, 1).to(dtype).expand(batch * count, -1, -1)
        texts = texts + self.model.prompts_generator(texts, patches.flatten(0, 1).to(dtype))
        labels = mean_prompt(texts.unflatten(1, prompts.shape[:2]), mask)
        cosines = nn.functional.cosine_similarity(views.flatten(0, 1).float()[:, None], labels, dim=-1)
        return self.logits_of(cosines.unflatten(0, (batch, count)).mean(dim=1))


__all__ = ["XCLIPEncoder"]
