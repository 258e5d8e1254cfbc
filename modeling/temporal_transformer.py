"""The transformer over frame embeddings that ActionCLIP ("Transf") and DA-STI's base share.

Six pre-norm CLIP blocks with QuickGELU and a learned position per frame (ActionCLIP, arXiv 2109.08472). The frames'
own embeddings, without positions, are added again at the end. The output is one vector per frame; ActionCLIP takes its
mean.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import CLIPTextConfig, PreTrainedConfig
from transformers import initialization as init
from transformers.models.clip.modeling_clip import CLIPEncoderLayer


def init_packed_attention(attention: nn.Module) -> None:
    """Query, key and value Xavier-uniform as one packed matrix: torch's default for attention, which the official code
    leaves alone."""
    bound = (6 / (4 * attention.embed_dim)) ** 0.5
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        init.uniform_(projection.weight, -bound, bound)


class TemporalTransformer(nn.Module):
    """Frame embeddings `[B, T, dim]` -> frame embeddings in context `[B, T, dim]`.

    Args:
        config: the model's configuration; only its attention implementation is read, at every call.
        dim: size of the joint space.
        num_layers: blocks.
        num_heads: attention heads, a divisor of `dim`.
        num_positions: longest clip, in frames.
        eps: of the layer norms, 1e-12 in the official code (TensorFlow's habit), 1e-5 in mmaction2.
    """

    def __init__(
        self, config: PreTrainedConfig, dim: int, num_layers: int, num_heads: int, num_positions: int, eps: float
    ) -> None:
        super().__init__()
        block = CLIPTextConfig(
            hidden_size=dim,
            intermediate_size=4 * dim,
            num_attention_heads=num_heads,
            num_hidden_layers=num_layers,
            layer_norm_eps=eps,
            hidden_act="quick_gelu",
        )
        self.position_embedding = nn.Embedding(num_positions, dim)
        self.layers = nn.ModuleList(CLIPEncoderLayer(block) for _ in range(num_layers))
        for layer in self.layers:
            # So that `set_attn_implementation` of the model reaches these blocks too.
            layer.self_attn.config = config

    def forward(self, frame_embeds: torch.Tensor) -> torch.Tensor:
        """
        Raises:
            ValueError: more frames than positions.
        """
        frames, positions = frame_embeds.shape[1], self.position_embedding.num_embeddings
        if frames > positions:
            raise ValueError(
                f"{frames} frames, but the temporal transformer has positions for {positions}: sample at most "
                f"{positions} frames per view, or split the clip into several views."
            )
        position_embeds = self.position_embedding(torch.arange(frames, device=frame_embeds.device))
        hidden = frame_embeds + position_embeds.to(frame_embeds.dtype)
        for layer in self.layers:
            hidden = layer(hidden, None)
        return hidden + frame_embeds

    def init_weights(self, std: float) -> None:
        """What differs from the base class's linear and embedding initialization."""
        for layer in self.layers:
            init_packed_attention(layer.self_attn)
