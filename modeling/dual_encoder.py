"""The backbone as the CLIP-based methods see it: frames and texts into one joint space.

A method never touches the backbone's classes. It asks for pooled and patch embeddings of frames, pooled and token
embeddings of texts, and may run its own function in place of a vision layer. A new backbone family (SigLIP2, PE-Core,
MetaCLIP, ...) is a new adapter in `DUAL_ENCODERS`; no method changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import CLIPModel, MetaClip2Model, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils import logging

from .modeling_zsar import ZSARPreTrainedModel, check_length
from .parts import needed


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


class CLIPDualEncoder(nn.Module):
    """transformers' [`CLIPModel`] behind the adapter. Holds the very modules, so weights and names are CLIP's.

    Args:
        config ([`CLIPConfig`]): sizes of the towers; image size and patch size are the checkpoint's.
    """

    model_class: type[PreTrainedModel] = CLIPModel
    model: Any  # of that class

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__()
        self.model = self.model_class._from_config(config)

    @classmethod
    def wrap(cls, model: PreTrainedModel) -> CLIPDualEncoder:
        """The adapter around a loaded model, whose modules are shared."""
        adapter = cls.__new__(cls)
        nn.Module.__init__(adapter)
        adapter.model = model
        return adapter

    def init_weights(self, std: float) -> None:
        """The one parameter that [`CLIPModel`] leaves out when it initializes itself."""
        init.constant_(self.model.logit_scale, self.model.config.logit_scale_init_value)

    @property
    def logit_scale(self) -> nn.Parameter:
        """Logarithm of the learned temperature factor, a scalar."""
        return self.model.logit_scale

    def similarity_scale(self, like: torch.Tensor) -> torch.Tensor:
        """The learned temperature factor itself, a float32 scalar on the device of `like`."""
        scale: torch.Tensor = self.logit_scale
        hook = getattr(self.model, "_hf_hook", None)
        if scale.is_meta and hook is not None:
            # accelerate brings offloaded weights for a call of the model as a whole, which never happens here.
            hook.pre_forward(self.model)
            scale = self.logit_scale.clone()
            hook.post_forward(self.model, None)
        return scale.float().exp().to(like.device)

    @property
    def vision_layers(self) -> nn.ModuleList:
        """The transformer blocks of the vision tower, each with `layer_norm1`, `self_attn`, `layer_norm2`, `mlp`."""
        return self.model.vision_model.encoder.layers

    @property
    def text_layers(self) -> nn.ModuleList:
        """The transformer blocks of the text tower, of the same make."""
        return self.model.text_model.encoder.layers

    @property
    def dim(self) -> int:
        """Size of the joint space."""
        return self.model.visual_projection.out_features

    @property
    def vision_width(self) -> int:
        """Size of a token in the vision tower."""
        return self.model.config.vision_config.hidden_size

    @property
    def text_width(self) -> int:
        """Size of a token in the text tower."""
        return self.model.config.text_config.hidden_size

    @property
    def text_limit(self) -> int:
        """Longest token row that the text tower has positions for."""
        return self.model.config.text_config.max_position_embeddings

    @property
    def patch_size(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return tuple(self.model.vision_model.embeddings.patch_embedding.kernel_size)

    def embed_frames(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Frames `[N, 3, H, W]` -> class token and patches with positions `[N, 1 + P, width]`, not normed yet."""
        embeddings = self.model.vision_model.embeddings
        size = embeddings.image_size
        size = (size, size) if isinstance(size, int) else tuple(size)
        interpolate = tuple(pixel_values.shape[-2:]) != size
        if interpolate:
            logger.warning_once(
                f"Frames of {tuple(pixel_values.shape[-2:])} for an image tower of {size}: its positions are "
                "interpolated. A processor of the tower's own size is made by from_clip of the processor's class."
            )
        return embeddings(
            pixel_values.to(embeddings.patch_embedding.weight.dtype), interpolate_pos_encoding=interpolate
        )

    def run_vision_layers(
        self,
        hidden: torch.Tensor,
        layer_function: LayerFunction | None = None,
        before_layer: TokenFunction | None = None,
    ) -> torch.Tensor:
        """Pre-norm and all blocks.

        Args:
            hidden: tokens `[N, L, width]`.
            layer_function: `layer_function(layer, hidden, index)` replaces the call of a block. It calls the parts of
                the block, not the block itself, which gradient checkpointing would then recompute twice.
            before_layer: changes the tokens before each block.
        """
        hidden = self.model.vision_model.pre_layrnorm(hidden)
        for index, layer in enumerate(self.vision_layers):
            if before_layer is not None:
                hidden = before_layer(hidden)
            if layer_function is None:
                hidden = layer(hidden, None)
            elif layer.gradient_checkpointing and self.training:
                hidden = layer._gradient_checkpointing_func(call_in_place, layer_function, layer, hidden, index)
            else:
                hidden = call_in_place(layer_function, layer, hidden, index)
        return hidden

    def project_frames(self, hidden: torch.Tensor) -> torch.Tensor:
        """Tokens `[..., width]` of the last block -> joint space `[..., dim]` (post-norm, then projection)."""
        return self.model.visual_projection(self.model.vision_model.post_layernorm(hidden))

    def encode_frames(
        self,
        pixel_values: torch.Tensor,
        layer_function: LayerFunction | None = None,
        return_patches: bool = False,
        before_layer: TokenFunction | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Frames `[N, 3, H, W]` -> pooled `[N, dim]` and, if asked, patches `[N, P, dim]`; none normalized."""
        hidden = self.run_vision_layers(self.embed_frames(pixel_values), layer_function, before_layer)
        patches = self.project_frames(hidden[:, 1:]) if return_patches else None
        return self.project_frames(hidden[:, 0]), patches

    def _encode_text(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # The text tower is causal and pools at the end token, so what follows that token changes nothing: no padding
        # mask is passed, which keeps the fast attention path.
        output = self.model.text_model(input_ids=input_ids)
        return output.pooler_output, output.last_hidden_state

    def encode_text(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        return_tokens: bool = False,
        batch_size: int = 128,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Token rows `[R, L]` -> pooled `[R, dim]` and, if asked, tokens `[R, L, dim]`; none normalized.

        Without gradients the rows are encoded in order of length, `batch_size` at a time, each batch trimmed to its
        longest row: exact, and several times faster than the full context.

        Raises:
            ValueError: rows that are longer than the tower's positions.
        """
        check_length(input_ids, self.text_limit)
        if torch.is_grad_enabled() or attention_mask is None or input_ids.device.type == "meta":
            pooled, tokens = self._encode_text(input_ids)
            return self.model.text_projection(pooled), self.model.text_projection(tokens) if return_tokens else None
        if return_tokens:  # not trimmed: tokens past the end may be asked for
            each, every = zip(*map(self._encode_text, input_ids.split(batch_size)), strict=True)
            return self.model.text_projection(torch.cat(each)), self.model.text_projection(torch.cat(every))
        positions = torch.arange(1, input_ids.shape[1] + 1, device=input_ids.device)
        lengths = (attention_mask * positions).amax(dim=1)
        order = lengths.argsort()
        parts = [self._encode_text(input_ids[rows, : int(lengths[rows].max())])[0] for rows in order.split(batch_size)]
        projected = self.model.text_projection(torch.cat(parts))
        return projected[order.argsort().to(projected.device)], None


class MetaCLIP2DualEncoder(CLIPDualEncoder):
    """MetaCLIP 2: CLIP's towers under other names, with a vocabulary of many languages."""

    model_class = MetaClip2Model


# model_type of the backbone's config -> adapter
DUAL_ENCODERS: dict[str, type[CLIPDualEncoder]] = {"clip": CLIPDualEncoder, "metaclip_2": MetaCLIP2DualEncoder}


class DualEncoderPreTrainedModel(ZSARPreTrainedModel):
    """Base class of the methods that stand on a dual encoder: `self.backbone` is the adapter."""

    parameter_roles = {
        "vision": ("backbone.model.vision_model.", "backbone.model.visual_projection."),
        "text": ("backbone.model.text_model.", "backbone.model.text_projection."),
        "scale": ("backbone.model.logit_scale",),
    }
    lora_targets = ("q_proj", "k_proj", "v_proj", "out_proj")
    text_is_causal = True
    config_class: Any
    backbone: Any  # the adapter

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        backbone_type = config.backbone_config.model_type
        if backbone_type not in DUAL_ENCODERS:
            raise ValueError(f"No adapter for a {backbone_type!r} backbone; there are: {sorted(DUAL_ENCODERS)}.")
        self.backbone = DUAL_ENCODERS[backbone_type](config.backbone_config)
        self._no_split_modules = self.backbone.model._no_split_modules

    def get_input_embeddings(self) -> nn.Module:
        return self.backbone.model.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.backbone.model.text_model.set_input_embeddings(value)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        # The modules of ours that start otherwise than transformers' default say so themselves.
        if hasattr(module, "init_weights") and not isinstance(module, PreTrainedModel):
            module.init_weights(self.config.initializer_range)

    def prepare_backbone(self) -> None:
        """Change the backbone as the configuration says. Called again when a loaded backbone takes its place."""

    @classmethod
    def from_clip(
        cls,
        pretrained: str | PreTrainedModel,
        *,
        dtype: torch.dtype | str | None = None,
        load_kwargs: dict[str, Any] | None = None,
        **config: Any,
    ) -> DualEncoderPreTrainedModel:
        """Start from any CLIP.

        Args:
            pretrained: a Hub id or folder of a CLIP checkpoint, or a loaded model, whose modules are then shared.
            dtype: of the weights, as in `from_pretrained`; not with a loaded model.
            load_kwargs: passed to `AutoModel.from_pretrained` (revision, token, attn_implementation, ...).
            config: fields of the method's configuration.

        New parameters of the method are initialized as its paper says; image and patch size are the checkpoint's.

        Raises:
            ValueError: no such field, or options of loading with a loaded model.
        """
        starting = needed("starting", "other checkpoints")
        return starting.start_from_clip(cls, pretrained, dtype, load_kwargs or {}, config)
