"""Clips to visual tokens: the kinds of backbone that ResT can stand on, behind one face."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from transformers import AutoModel

from .configuration_rest import ResTConfig
from .r2plus1d import R2Plus1D


# model_type of video models -> the arguments that their forward pass takes besides the clips.
VIDEO_MODELS: dict[str, dict[str, Any]] = {"vjepa2": {"skip_predictor": True}, "videomae": {}, "timesformer": {}}


def grid_size(config: ResTConfig) -> tuple[int, int]:
    """(time, space) number of visual tokens of a clip with the configuration's frames and image size.

    Raises:
        ValueError: the backbone's grid cannot be told from its configuration.
    """
    if config.backbone_type == "r2plus1d_18":
        return math.ceil(config.num_frames / 8), math.ceil(config.image_size / 16) ** 2
    times = config.num_frames
    if config.backbone_config.model_type in VIDEO_MODELS:
        times = max(1, times // getattr(config.backbone_config, "tubelet_size", 1))
    if config.visual_token_pooling == "spatial":
        return times, 1
    patch = getattr(config.backbone_config, "patch_size", None)
    side = math.ceil(config.image_size / 32) if patch is None else config.image_size // patch
    return times, side**2


def backbone_width(config: ResTConfig) -> int:
    """Channels of the backbone's features.

    Raises:
        ValueError: a backbone whose configuration does not say.
    """
    if config.backbone_type == "r2plus1d_18":
        return config.backbone_widths[-1]
    for name in ("hidden_dim", "hidden_sizes", "hidden_size"):
        width = getattr(config.backbone_config, name, None)
        if width is not None:
            return width[-1] if isinstance(width, (list, tuple)) else width
    model_type = config.backbone_config.model_type
    raise ValueError(f"Cannot tell the feature width of a {model_type!r} backbone from its configuration.")


class VideoBackbone(nn.Module):
    """R(2+1)D over clips. `[B, T, 3, H, W]` -> tokens `[B, T', G, width]`."""

    def __init__(self, config: ResTConfig) -> None:
        super().__init__()
        self.model = R2Plus1D(config.backbone_widths, config.backbone_stem_width)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.model(clips.transpose(1, 2)).flatten(3).permute(0, 2, 3, 1)


class FrameBackbone(nn.Module):
    """Any transformers vision model over single frames. `[B, T, 3, H, W]` -> tokens `[B, T, G, width]`."""

    def __init__(self, config: ResTConfig) -> None:
        super().__init__()
        self.pool = config.visual_token_pooling == "spatial"
        self.model = AutoModel.from_config(config.backbone_config)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        batch, frames = clips.shape[:2]
        output = self.model(clips.flatten(0, 1))
        hidden = output.last_hidden_state
        if self.pool and getattr(output, "pooler_output", None) is not None and hidden.ndim == 4:
            tokens = output.pooler_output.flatten(1)[:, None]
        else:
            tokens = hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else drop_special_tokens(hidden)
            tokens = tokens.mean(dim=1, keepdim=True) if self.pool else tokens
        return tokens.view(batch, frames, *tokens.shape[1:])


class ClipBackbone(nn.Module):
    """A video model of transformers over whole clips. `[B, T, 3, H, W]` -> tokens `[B, T', G, width]`, where T' is
    the number of tubelets of frames."""

    def __init__(self, config: ResTConfig) -> None:
        super().__init__()
        self.config, self.pool = config.backbone_config, config.visual_token_pooling == "spatial"
        self.model = AutoModel.from_config(config.backbone_config)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        model_type, frames = self.config.model_type, clips.shape[1]
        if model_type == "videomae" and frames != self.config.num_frames:
            raise ValueError(f"This backbone has positions for exactly {self.config.num_frames} frames, got {frames}.")
        hidden = self.model(**{self.model.main_input_name: clips}, **VIDEO_MODELS[model_type]).last_hidden_state
        times = max(1, frames // getattr(self.config, "tubelet_size", 1))
        if model_type == "timesformer":  # behind a class token, and the times of a place lie together
            tokens = hidden[:, 1:].unflatten(1, (-1, times)).transpose(1, 2)
        else:
            tokens = hidden.unflatten(1, (times, -1))
        return tokens.mean(dim=2, keepdim=True) if self.pool else tokens


def drop_special_tokens(hidden: torch.Tensor) -> torch.Tensor:
    """Patch tokens of a vision transformer, `[N, L, width]`: the last square number of tokens."""
    return hidden[:, hidden.shape[1] - math.isqrt(hidden.shape[1]) ** 2 :]


def build_backbone(config: ResTConfig) -> nn.Module:
    """The backbone that the configuration names."""
    if config.backbone_type == "r2plus1d_18":
        return VideoBackbone(config)
    return (ClipBackbone if config.backbone_config.model_type in VIDEO_MODELS else FrameBackbone)(config)


__all__ = ["FrameBackbone", "VideoBackbone", "backbone_width", "build_backbone", "grid_size"]
