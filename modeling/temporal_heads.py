"""ActionCLIP's temporal heads: embeddings of frames `[B, T, dim]` -> one embedding per video `[B, dim]`.

ActionCLIP, arXiv 2109.08472 (post-network prompts), as its official code computes them.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import CLIPTextConfig, PreTrainedConfig
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.clip.modeling_clip import CLIPAttention

from .temporal_transformer import TemporalTransformer, init_packed_attention


class MeanHead(nn.Module):
    """Mean over time; no weights."""

    def forward(self, frame_embeds: torch.Tensor) -> torch.Tensor:
        return frame_embeds.mean(dim=1)


class TransformerHead(TemporalTransformer):
    """Mean over time of the temporal transformer's output."""

    def forward(self, frame_embeds: torch.Tensor) -> torch.Tensor:
        return super().forward(frame_embeds).mean(dim=1)


class LSTMHead(nn.Module):
    """Mean over time of a one-layer LSTM's states plus its input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, batch_first=True)

    def forward(self, frame_embeds: torch.Tensor) -> torch.Tensor:
        # In the precision of its weights: recurrences lose much in half precision, so autocast stays out.
        with torch.autocast(frame_embeds.device.type, enabled=False):
            states, _ = self.lstm(frame_embeds.to(self.lstm.weight_ih_l0.dtype))
        return (states.to(frame_embeds.dtype) + frame_embeds).mean(dim=1)

    def init_weights(self, std: float) -> None:
        """torch's default, which the official code keeps."""
        bound = self.lstm.hidden_size**-0.5
        for weight in self.lstm.parameters():
            init.uniform_(weight, -bound, bound)


class ConvHead(nn.Module):
    """Mean over time of a depthwise convolution of three frames plus its input."""

    def __init__(self, dim: int, legacy_view: bool = False) -> None:
        super().__init__()
        self.legacy_view = legacy_view
        self.conv = nn.Conv1d(dim, dim, kernel_size=3, padding=1, groups=dim, bias=False)

    def forward(self, frame_embeds: torch.Tensor) -> torch.Tensor:
        batch, frames, dim = frame_embeds.shape
        channels = frame_embeds.transpose(1, 2)
        if self.legacy_view:
            # The official code relabels the axes here instead of swapping them, and swaps them on the way back.
            channels = frame_embeds.reshape(batch, dim, frames)
        with torch.autocast(frame_embeds.device.type, enabled=False):
            shifted = self.conv(channels.to(self.conv.weight.dtype)).transpose(1, 2)
        return (shifted.to(frame_embeds.dtype) + frame_embeds).mean(dim=1)

    def init_weights(self, std: float) -> None:
        """A quarter of the channels reads the frame before, a half the frame itself, a quarter the one after."""
        dim = self.conv.out_channels
        kernel = torch.zeros_like(self.conv.weight)
        kernel[: dim // 4, 0, 0] = 1
        kernel[dim // 4 : dim // 4 + dim // 2, 0, 1] = 1
        kernel[dim // 4 + dim // 2 :, 0, 2] = 1
        init.copy_(self.conv.weight, kernel)


class ClassTokenLayer(GradientCheckpointingLayer):
    """A block of torch's transformer encoder as it is by default: norms after the branches, ReLU."""

    def __init__(self, config: PreTrainedConfig, dim: int, num_heads: int, hidden_units: int, dropout: float) -> None:
        super().__init__()
        sizes = CLIPTextConfig(hidden_size=dim, num_attention_heads=num_heads, attention_dropout=dropout)
        self.self_attn = CLIPAttention(sizes)
        self.self_attn.config = config  # type: ignore[assignment]  # so that `set_attn_implementation` of the model reaches it
        self.linear1 = nn.Linear(dim, hidden_units)
        self.linear2 = nn.Linear(hidden_units, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = self.norm1(hidden + self.dropout(self.self_attn(hidden)[0]))
        branch = self.linear2(self.dropout(self.linear1(hidden).relu()))
        return self.norm2(hidden + self.dropout(branch))


class ClassTokenHead(nn.Module):
    """A learned token reads the frames through post-norm blocks (8 heads, 2048 hidden units, dropout 0.1)."""

    num_heads = 8
    hidden_units = 2048
    dropout = 0.1

    def __init__(self, config: PreTrainedConfig, dim: int, num_layers: int, num_frames: int) -> None:
        super().__init__()
        if dim % self.num_heads:
            raise ValueError(f"sim_header='Transf_cls' has {self.num_heads} heads, which do not divide {dim}.")
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, num_frames + 1, dim))
        sizes = (config, dim, self.num_heads, self.hidden_units, self.dropout)
        self.layers = nn.ModuleList(ClassTokenLayer(*sizes) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, frame_embeds: torch.Tensor) -> torch.Tensor:
        batch, frames, _ = frame_embeds.shape
        expected = self.pos_embed.shape[1] - 1
        if frames != expected:
            raise ValueError(
                f"sim_header='Transf_cls' has positions for exactly {expected} frames, got {frames}: sample "
                f"num_frames={expected}."
            )
        tokens = torch.cat([self.cls_token.expand(batch, -1, -1).to(frame_embeds.dtype), frame_embeds], dim=1)
        hidden = tokens + self.pos_embed.to(frame_embeds.dtype)
        for layer in self.layers:
            hidden = layer(hidden)
        return self.norm(hidden[:, 0])

    def init_weights(self, std: float) -> None:
        """Truncated normal; the attention's packed projection keeps torch's default."""
        linear = [module.weight for module in self.modules() if isinstance(module, nn.Linear)]
        for weight in (self.cls_token, self.pos_embed, *linear):
            init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
        for layer in self.layers:
            init_packed_attention(layer.self_attn)


def build_temporal_head(config: PreTrainedConfig, dim: int, text_width: int) -> nn.Module:
    """The head that `config.sim_header` names."""
    if config.sim_header == "Transf":
        heads = config.temporal_heads or max(text_width // 64, 1)
        if dim % heads:
            raise ValueError(f"{heads} attention heads do not divide the joint space of {dim}: set temporal_heads.")
        return TransformerHead(
            config, dim, config.temporal_layers, heads, config.max_frame_positions, config.temporal_layer_norm_eps
        )
    if config.sim_header == "Transf_cls":
        return ClassTokenHead(config, dim, config.temporal_layers, config.num_frames)
    if config.sim_header == "LSTM":
        return LSTMHead(dim)
    if config.sim_header == "Conv_1D":
        return ConvHead(dim, config.conv1d_legacy_view)
    return MeanHead()
