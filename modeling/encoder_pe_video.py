"""PE-Video and the video side of PE-AudioVideo (Perception Encoder): a dot product, scaled and shifted."""

from __future__ import annotations

import torch
from torch import nn

from .encoder import Encoder
from .label_bank import LabelBank
from .modeling_zsar import masked_mean
from .outputs import VideoFeatures


class PeVideoEncoder(Encoder):
    """The model has no functions for the features of one side, so its parts are called.

    The score is not a cosine: the embeddings of both sides keep their length, and the scale is not a logarithm.
    """

    keeps_prompts = True
    score_inputs = ("view_embeds",)
    roles = {
        "vision": ("video_encoder.", "video_head."),
        "text": ("text_model.", "text_video_head."),
        "scale": ("text_video_logit_",),
    }
    lora_targets = ("q_proj", "k_proj", "v_proj", "o_proj", "Wqkv", "Wo")

    def scale(self) -> torch.Tensor:
        return self.own("text_video_logit_scale").float()

    def bias(self) -> torch.Tensor:
        return self.own("text_video_logit_bias").float()

    def embed_clips(self, clips: torch.Tensor) -> dict[str, torch.Tensor]:
        pooled = self.both.video_encoder(pixel_values_videos=clips).pooler_output
        return {"view_embeds": self.both.video_head(pooled)}

    def embed_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        output = self.both.text_model(input_ids=input_ids, attention_mask=attention_mask)
        return self.both.text_video_head(output.last_hidden_state[:, 0])

    def compare(self, features: VideoFeatures, bank: LabelBank, factor: float) -> torch.Tensor:
        labels = masked_mean(bank["prompt_outputs"].float(), bank["prompt_mask"][..., None], dim=1)
        return self.logits_of(features["view_embeds"].float().mean(dim=1) @ labels.t())


class PeAudioVideoEncoder(PeVideoEncoder):
    """The audio side is loaded with the rest and not used."""

    roles = {role: tuple(f"video_model.{prefix}" for prefix in each) for role, each in PeVideoEncoder.roles.items()}

    @property
    def both(self) -> nn.Module:
        return self.model.video_model


__all__ = ["PeAudioVideoEncoder", "PeVideoEncoder"]
