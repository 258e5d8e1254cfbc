"""OpenAI's CLIP weights to transformers' [`CLIPModel`]: the part that all CLIP-based converters share.

Projections are stored transposed and attention packed there. Sizes come from the shapes; heads are always width / 64.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from transformers import CLIPConfig, CLIPModel

from .checkpoint_files import (
    Conversion,
    ConversionError,
    StateDict,
    as_float32,
    load_exactly,
    read_checkpoint,
    require,
    split_packed_attention,
    tensors_of,
    without_common_prefix,
)


# Sizes that the official archives keep among the weights.
EXTRA_SCALARS = ("input_resolution", "context_length", "vocab_size")
HEAD_WIDTH = 64

_NAMES = {
    "logit_scale": "logit_scale",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "visual.proj": "visual_projection.weight",
}
_TRANSPOSED = ("text_projection", "visual.proj")
_BLOCK_NAMES = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_BLOCK = re.compile(r"^(?P<tower>visual\.)?transformer\.resblocks\.(?P<index>\d+)\.")


def is_openai_clip(content: Mapping[str, Any]) -> bool:
    """Whether these are the names of an OpenAI CLIP with a vision transformer or a ResNet."""
    return "visual.proj" in content or "visual.attnpool.c_proj.weight" in content


def count_blocks(state: Mapping[str, torch.Tensor], prefix: str = "") -> int:
    """Number of transformer blocks under `<prefix>transformer.resblocks.`."""
    pattern = re.compile(rf"^{re.escape(prefix)}transformer\.resblocks\.(\d+)\.")
    return 1 + max((int(match[1]) for name in state if (match := pattern.match(name))), default=-1)


def infer_clip_config(state: Mapping[str, torch.Tensor], source: str = "the checkpoint") -> CLIPConfig:
    """Sizes of both towers from the shapes of an OpenAI state dict.

    Start and end token are the last two of the vocabulary, as in CLIP's own (49406 and 49407).

    Raises:
        ConversionError: a ResNet tower, missing weights, or a position table of no square grid.
    """
    if "visual.attnpool.c_proj.weight" in state:
        raise ConversionError(f"{source} has a ResNet image tower; only vision transformers can be converted.")
    require(state, _NAMES, source)
    width, channels, patch = state["visual.conv1.weight"].shape[:3]
    patches = state["visual.positional_embedding"].shape[0] - 1
    grid = round(patches**0.5)
    if grid * grid != patches:
        raise ConversionError(f"{source}: {patches} patch positions are not square grid.")
    vocab_size, text_width = state["token_embedding.weight"].shape
    dim = state["text_projection"].shape[1]
    for name, size in (("image tower", width), ("text tower", text_width)):
        if size % HEAD_WIDTH:
            raise ConversionError(f"{source}: the {name} is {size} wide, not a multiple of {HEAD_WIDTH}.")
    common = dict(hidden_act="quick_gelu", layer_norm_eps=1e-5, projection_dim=dim)
    vision = dict(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=count_blocks(state, "visual."),
        num_attention_heads=width // HEAD_WIDTH,
        num_channels=channels,
        image_size=grid * patch,
        patch_size=patch,
    )
    text = dict(
        hidden_size=text_width,
        intermediate_size=4 * text_width,
        num_hidden_layers=count_blocks(state),
        num_attention_heads=text_width // HEAD_WIDTH,
        max_position_embeddings=state["positional_embedding"].shape[0],
        vocab_size=vocab_size,
        bos_token_id=vocab_size - 2,
        eos_token_id=vocab_size - 1,
        pad_token_id=vocab_size - 1,
    )
    return CLIPConfig(vision_config=vision | common, text_config=text | common, projection_dim=dim)


def convert_blocks(state: StateDict, source_prefix: str, target_prefix: str) -> StateDict:
    """Rename all blocks `<source_prefix>{i}.*` of `state` to CLIP layers `<target_prefix>{i}.*`, taking them out."""
    converted = {}
    for packed in [n for n in state if n.startswith(source_prefix) and n.endswith(".attn.in_proj_weight")]:
        block = packed.removesuffix("attn.in_proj_weight")
        require(state, [f"{block}attn.in_proj_bias"], "the checkpoint")
        target = f"{target_prefix}{block[len(source_prefix) :]}self_attn."
        converted.update(split_packed_attention(state, f"{block}attn.", target))
    for name in [n for n in state if n.startswith(source_prefix)]:
        index, _, rest = name[len(source_prefix) :].partition(".")
        part, _, kind = rest.rpartition(".")
        if part in _BLOCK_NAMES:
            converted[f"{target_prefix}{index}.{_BLOCK_NAMES[part]}.{kind}"] = state.pop(name)
    return converted


def convert_openai_clip(
    content: Mapping[str, Any], source: str = "the checkpoint"
) -> tuple[CLIPConfig, StateDict, StateDict]:
    """An OpenAI-layout state dict -> (config, `CLIPModel` state dict in float32, what is not CLIP's).

    The blocks of temporal-shift checkpoints (`resblocks.{i}.net.*`) are read as ordinary ones. The third value is
    empty for a plain CLIP; a method's converter takes its own weights from it, and whatever is left is unexpected.

    Raises:
        ConversionError: see [`infer_clip_config`].
    """
    state = tensors_of({name: value for name, value in content.items() if name not in EXTRA_SCALARS}, source)
    state = as_float32({_without_net(name): tensor for name, tensor in state.items()})
    config = infer_clip_config(state, source)
    converted = {}
    for name, target in _NAMES.items():
        tensor = state.pop(name)
        converted[target] = tensor.t().contiguous() if name in _TRANSPOSED else tensor
    converted.update(convert_blocks(state, "visual.transformer.resblocks.", "vision_model.encoder.layers."))
    converted.update(convert_blocks(state, "transformer.resblocks.", "text_model.encoder.layers."))
    return config, {name: tensor.contiguous() for name, tensor in converted.items()}, state


def _without_net(name: str) -> str:
    match = _BLOCK.match(name)
    if match is None or not match["tower"]:
        return name
    return match[0] + name[match.end() :].removeprefix("net.")


def convert(path: str, **options: Any) -> Conversion:
    """An OpenAI CLIP file (TorchScript archive or state dict) as a [`CLIPModel`] folder.

    Raises:
        ConversionError: not such a file, or weights that are missing or left over.
    """
    if options:
        raise ConversionError(f"openai-clip takes no options, got {sorted(options)}.")
    content = read_checkpoint(path)
    content = content.get("state_dict", content)
    content = without_common_prefix(content, "module.")
    if not is_openai_clip(content):
        raise ConversionError(f"{path} is not an OpenAI CLIP: it has no 'visual.proj'.")
    config, state, rest = convert_openai_clip(content, path)
    model = CLIPModel(config).eval()
    load_exactly(model, state | rest, path)
    return Conversion(model=model, source=path, layout="OpenAI CLIP")
