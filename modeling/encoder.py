"""A published video-text or image-text model behind one contract: videos and texts into one space, and their score.

An adapter holds the very model, so weights and names are the checkpoint's. Each kind of checkpoint has an adapter in a
file of its own; which one goes with a `model_type` stands in `ADAPTERS`, filled by the package or by an export.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, PreTrainedConfig
from transformers import initialization as init

from .guards import is_recorded
from .label_bank import LabelBank
from .modeling_zsar import check_length, masked_mean, normalize
from .outputs import VideoFeatures


# Rows of tokens that go through a text tower together, without gradients.
TEXT_BATCH = 128
# model_type of a checkpoint -> what gives the class of its adapter
ADAPTERS: dict[str, Callable[[], type[Encoder]]] = {}


class Encoder(nn.Module):
    """Base of the adapters: an encoder of whole clips, compared with texts by cosine.

    Args:
        config: of the published model.

    An adapter implements [`embed_clips`] and [`embed_texts`]; those of images [`FrameEncoder.embed_frames`] instead.
    """

    # Whether rows of tokens may be cut to the longest of a batch: a tower that is causal and pools at the end token,
    # or that heeds the attention mask.
    trims_texts = True
    # Whether what is padding changes a text, so that the tower has to be told.
    reads_mask = True
    # Whether methods can look into its image tower; see `TowerEncoder`.
    shows_blocks = False
    # Whether the score needs every prompt as it comes out of the tower; else one normalized mean stands for a label.
    keeps_prompts = False
    # The tensors of [`VideoFeatures`] that [`compare`] reads besides `video_embeds`.
    score_inputs: tuple[str, ...] = ()
    # Whether its code can stand beside the weights, without other packages than the remote code of an export may need.
    travels = True
    # role of parameters -> prefixes of their names in the model
    roles: Mapping[str, tuple[str, ...]] = {
        "vision": ("vision_model.", "visual_projection."),
        "text": ("text_model.", "text_projection."),
        "scale": ("logit_scale", "logit_bias"),
    }
    lora_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "out_proj")
    # Token ids around the frames, of a language model; see `VideoTextConfig`.
    video_prompt: Mapping[str, Any] = {}

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__()
        self.model: Any = AutoModel.from_config(config)

    @property
    def text_model(self) -> nn.Module:
        """The text tower, which holds the embeddings of tokens."""
        return self.model.text_model

    def init_weights(self, std: float) -> None:
        """The parameters that the model leaves out when it initializes itself."""
        if hasattr(self.model.config, "logit_scale_init_value"):
            init.constant_(self.model.logit_scale, self.model.config.logit_scale_init_value)

    @property
    def both(self) -> nn.Module:
        """What holds the two towers: the model, or the part of it that is used."""
        return self.model

    def own(self, name: str) -> torch.Tensor:
        """A parameter of [`both`] itself, not of a part of it."""
        value, hook = getattr(self.both, name), getattr(self.both, "_hf_hook", None)
        if value.is_meta and hook is not None:
            # accelerate brings offloaded weights for a call of the model as a whole, which never happens here.
            hook.pre_forward(self.both)
            value = getattr(self.both, name).clone()
            hook.post_forward(self.both, None)
        return value

    def scale(self) -> torch.Tensor | None:
        """The learned factor on cosines, a scalar; `None` where there is none."""
        return self.own("logit_scale").float().exp() if hasattr(self.model, "logit_scale") else None

    def bias(self) -> torch.Tensor | None:
        """What is added to scaled cosines: then the sigmoid of a logit is the model's own probability."""
        return self.own("logit_bias").float() if hasattr(self.model, "logit_bias") else None

    def embed_clips(self, clips: torch.Tensor) -> dict[str, torch.Tensor]:
        """Clips `[N, T, 3, H, W]` -> `view_embeds [N, dim]` and whatever else of [`VideoFeatures`] the score needs.

        Raises:
            ValueError: a number of frames that the model was not made for.
        """
        raise NotImplementedError

    def embed_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Token rows `[R, L]` -> `[R, dim]`, not normalized."""
        return self.read_texts(input_ids, attention_mask).pooler_output

    def read_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> Any:
        """What the text side of the model gives."""
        mask = attention_mask if self.reads_mask else None
        return self.model.get_text_features(input_ids=input_ids, attention_mask=mask)

    def encode_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None, limit: int) -> torch.Tensor:
        """As [`embed_texts`]. Without gradients the rows go in order of length, some at a time, each batch cut to its
        longest row where the tower allows it.

        Raises:
            ValueError: rows longer than `limit`.
        """
        check_length(input_ids, limit)
        if attention_mask is None or not self.trims_texts or goes_whole(input_ids):
            return torch.cat([self.embed_texts(*part) for part in batches(input_ids, attention_mask)])
        positions = torch.arange(1, input_ids.shape[1] + 1, device=input_ids.device)
        lengths = (attention_mask * positions).amax(dim=1)
        order = lengths.argsort()
        rows = []
        for batch in order.split(TEXT_BATCH):
            longest = int(lengths[batch].max())
            rows.append(self.embed_texts(input_ids[batch, :longest], attention_mask[batch, :longest]))
        embeds = torch.cat(rows)
        return embeds[order.argsort().to(embeds.device)]

    def compare(self, features: VideoFeatures, bank: LabelBank, factor: float) -> torch.Tensor:
        """Logits `[B, K]`: cosine times the learned scale, or `factor` where there is none, plus the bias."""
        cosines = features["video_embeds"].float() @ bank["text_embeds"].float().t()
        return self.logits_of(cosines, factor)

    def logits_of(self, cosines: torch.Tensor, factor: float = 1.0) -> torch.Tensor:
        """Similarities -> logits."""
        scale, bias = self.scale(), self.bias()
        logits = cosines * (factor if scale is None else scale.to(cosines.device))
        return logits if bias is None else logits + bias.to(cosines.device)


class FrameEncoder(Encoder):
    """Base of the adapters of image-text models: frames one by one, their normalized embeddings averaged."""

    def embed_frames(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames `[N, 3, H, W]` -> `[N, dim]`, not normalized."""
        return self.model.get_image_features(pixel_values=frames, **self.size_options(frames)).pooler_output

    def size_options(self, frames: torch.Tensor) -> dict[str, bool]:
        """What the image tower is told of frames of another size than its own."""
        size = pair(self.model.config.vision_config.image_size)
        return {"interpolate_pos_encoding": True} if tuple(frames.shape[-2:]) != size else {}

    def embed_clips(self, clips: torch.Tensor) -> dict[str, torch.Tensor]:
        embeds = self.embed_frames(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        return {"view_embeds": normalize(embeds.float()).mean(dim=1), "frame_embeds": embeds}


def mean_prompt(prompts: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Prompts `[..., P, dim]`, of which `mask [..., P]` are there -> the normalized mean of the normalized ones."""
    return normalize(masked_mean(normalize(prompts.float()), mask[..., None], dim=-2))


def goes_whole(input_ids: torch.Tensor) -> bool:
    """Whether all rows must go through a text tower together."""
    return torch.is_grad_enabled() or is_recorded() or input_ids.device.type == "meta"


def batches(input_ids: torch.Tensor, mask: torch.Tensor | None) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Rows and their masks, some at a time."""
    if goes_whole(input_ids):
        return [(input_ids, mask)]
    rows = input_ids.split(TEXT_BATCH)
    return list(zip(rows, [None] * len(rows) if mask is None else mask.split(TEXT_BATCH), strict=True))


def pair(size: Any) -> tuple[int, int]:
    """Height and width of what a configuration gives as one number or two."""
    return (size, size) if isinstance(size, int) else tuple(size)


__all__ = ["ADAPTERS", "Encoder", "FrameEncoder", "batches", "mean_prompt", "pair"]
