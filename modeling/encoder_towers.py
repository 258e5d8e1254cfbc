"""Image-text models whose image tower methods look into: its tokens, its blocks one by one, and its patches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.utils import logging

from .encoder import FrameEncoder, batches, pair
from .tensor_shapes import check_length


logger = logging.get_logger(__name__)

LayerFunction = Callable[[nn.Module, torch.Tensor, int], torch.Tensor]
TokenFunction = Callable[[torch.Tensor], torch.Tensor]


def call_in_place(function: LayerFunction, layer: nn.Module, hidden: torch.Tensor, index: int) -> torch.Tensor:
    """`function(layer, hidden, index)` between what accelerate does around a call of the layer itself, which moves the
    tokens to the layer's device where a `device_map` has put it on another one."""
    hook = getattr(layer, "_hf_hook", None)
    if hook is None:
        return function(layer, hidden, index)
    (hidden,), _ = hook.pre_forward(layer, hidden)
    return hook.post_forward(layer, function(layer, hidden, index))


class TowerEncoder(FrameEncoder):
    """Base of their adapters: the tower is the model's `vision_model`, its tokens `[N, L, width]` are
    `num_prefix_tokens` of the whole image and then the patches, row by row.

    An adapter implements [`pool`] and [`project_patches`], and whatever else of its model differs.
    """

    shows_blocks = True
    num_prefix_tokens = 1

    @property
    def vision_layers(self) -> nn.ModuleList:
        """The transformer blocks of the image tower."""
        return self.model.vision_model.encoder.layers

    @property
    def text_layers(self) -> nn.ModuleList:
        """The transformer blocks of the text tower."""
        return self.model.text_model.encoder.layers

    @property
    def dim(self) -> int:
        """Size of the joint space."""
        return self.vision_width

    @property
    def vision_width(self) -> int:
        """Size of a token in the image tower."""
        return self.model.config.vision_config.hidden_size

    @property
    def text_width(self) -> int:
        """Size of a token in the text tower."""
        return self.model.config.text_config.hidden_size

    @property
    def patch_size(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return pair(self.model.config.vision_config.patch_size)

    @staticmethod
    def branches(layer: Any) -> tuple[TokenFunction, TokenFunction]:
        """What a block of the image tower adds to its tokens, first and then: attention and feed-forward."""
        return (
            lambda hidden: layer.self_attn(layer.layer_norm1(hidden), None)[0],
            lambda hidden: layer.mlp(layer.layer_norm2(hidden)),
        )

    @staticmethod
    def attention_of(layer: Any) -> nn.Module:
        """The attention of a block of either tower."""
        return layer.self_attn

    def embed_patches(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames `[N, 3, H, W]` -> tokens with positions, before the first block."""
        if options := self.size_options(frames):
            size = tuple(frames.shape[-2:])
            logger.warning_once(f"Frames of {size} are not of the image tower's size: its positions are interpolated.")
        return self.model.vision_model.embeddings(frames, **options)

    def before_layers(self, hidden: torch.Tensor) -> torch.Tensor:
        """What stands between the embeddings and the first block."""
        return hidden

    def run_vision_layers(self, hidden: torch.Tensor, layer_function: LayerFunction | None = None) -> torch.Tensor:
        """All blocks, and what stands before them.

        Args:
            hidden: tokens of [`embed_patches`].
            layer_function: `layer_function(layer, hidden, index)` replaces the call of a block. It calls the parts of
                the block, not the block itself, which gradient checkpointing would then recompute twice.
        """
        hidden = self.before_layers(hidden)
        for index, layer in enumerate(self.vision_layers):
            if layer_function is None:
                hidden = layer(hidden, None)
            elif layer.gradient_checkpointing and self.training:
                hidden = layer._gradient_checkpointing_func(call_in_place, layer_function, layer, hidden, index)
            else:
                hidden = call_in_place(layer_function, layer, hidden, index)
        return hidden

    def pool(self, hidden: torch.Tensor) -> torch.Tensor:
        """Tokens of the last block -> the image in the joint space `[N, dim]`."""
        raise NotImplementedError

    def project_patches(self, hidden: torch.Tensor) -> torch.Tensor:
        """Tokens of the last block -> patches in the joint space `[N, P, dim]`."""
        raise NotImplementedError

    def project_words(self, hidden: torch.Tensor) -> torch.Tensor:
        """Tokens of the text tower -> joint space `[R, L, dim]`."""
        return hidden

    def encode_frames(
        self, frames: torch.Tensor, layer_function: LayerFunction | None = None, return_patches: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Frames `[N, 3, H, W]` -> pooled `[N, dim]` and, if asked, patches `[N, P, dim]`; none normalized."""
        hidden = self.run_vision_layers(self.embed_patches(frames), layer_function)
        return self.pool(hidden), self.project_patches(hidden) if return_patches else None

    def encode_words(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None, limit: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Token rows `[R, L]` -> pooled `[R, dim]` and tokens `[R, L, dim]`, none normalized, and none cut:
        tokens past the end may be asked for.

        Raises:
            ValueError: rows longer than `limit`.
        """
        check_length(input_ids, limit)
        outputs = [self.read_texts(*part) for part in batches(input_ids, attention_mask)]
        words = torch.cat([self.project_words(output.last_hidden_state) for output in outputs])
        return torch.cat([output.pooler_output for output in outputs]), words


__all__ = ["LayerFunction", "TokenFunction", "TowerEncoder"]
