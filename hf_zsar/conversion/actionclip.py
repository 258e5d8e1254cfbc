"""ActionCLIP checkpoints of the official code and of mmaction2's port.

Official files hold CLIP (`model_state_dict`) and the temporal head (`fusion_model_state_dict`, usually under
`module.`); mmaction2 files hold one `state_dict` with `clip.` and `adapter.`. The head is told from its names, sizes
from shapes. Only the number of frames stands in neither, except where a position table has one row per frame.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from transformers import CLIPConfig

from hf_zsar.modeling.configuration_actionclip import ActionCLIPConfig
from hf_zsar.modeling.modeling_actionclip import ActionCLIPModel

from .checkpoint_files import (
    Conversion,
    ConversionError,
    StateDict,
    as_float32,
    image_side,
    load_exactly,
    read_checkpoint,
    read_two_parts,
    require,
    split_packed_attention,
    tensors_of,
    without_prefix,
)
from .openai_clip import convert_blocks, convert_openai_clip, count_blocks


POSITIONS = "frame_position_embeddings.weight"
_SHIFTED_BLOCK = re.compile(r"^visual\.transformer\.resblocks\.\d+\.net\.")
_PIXEL_MEAN = (122.771, 116.746, 104.093)
_PIXEL_STD = (68.5, 66.632, 70.323)


def convert(path: str | os.PathLike, **config: Any) -> Conversion:
    """A trainer file of the official code (`model_best.pt`, `last_model.pt`) as an [`ActionCLIPModel`].

    Args:
        path: the file.
        config: fields of [`ActionCLIPConfig`] that win over what is found. `num_frames` is required, except for
            `Transf_cls`: the file does not say it.

    Raises:
        ConversionError: not such a file, an unknown head, or weights that are missing or left over.
    """
    source = os.fspath(path)
    clip, head = read_two_parts(path, "the official ActionCLIP code")
    header = detect_header(head, source)
    settings: dict[str, Any] = {"sim_header": header}
    notes = [] if header == "Transf" else drop_positions(head)
    if header == "Conv_1D" and config.get("conv1d_legacy_view") is None:
        settings["conv1d_legacy_view"] = True
        notes.append("conv1d_legacy_view=True: the official code, hence this checkpoint, mixes channels and time")
    return _build(source, "official ActionCLIP", clip, head, settings | config, notes, official_video_options)


def convert_mmaction2(path: str | os.PathLike, **config: Any) -> Conversion:
    """A file of mmaction2's ActionCLIP project as an [`ActionCLIPModel`].

    Args:
        path: the file.
        config: fields of [`ActionCLIPConfig`] that win over what is found.

    Raises:
        ConversionError: not such a file, or weights that are missing or left over.
    """
    source = os.fspath(path)
    content = read_checkpoint(path)
    if not isinstance(content.get("state_dict"), Mapping):
        raise ConversionError(
            f"{source} has no 'state_dict': it is not an mmaction2 checkpoint. It has {sorted(content)[:10]}."
        )
    state = tensors_of(content["state_dict"], source)
    clip, head = without_prefix(state, "clip."), as_float32(without_prefix(state, "adapter."))
    others = sorted(name for name in state if not name.startswith(("clip.", "adapter.")))
    if not clip or others:
        raise ConversionError(
            f"{source} is not an mmaction2 ActionCLIP checkpoint: its weights should all begin with 'clip.' or "
            f"'adapter.', but found {others[:10] or 'none'}."
        )
    settings = {"sim_header": detect_header(head, source), "temporal_layer_norm_eps": 1e-5}
    if POSITIONS in head:
        settings["num_frames"] = head[POSITIONS].shape[0]
    return _build(source, "mmaction2 ActionCLIP", clip, head, settings | config, [], mmaction2_video_options)


def detect_header(head: StateDict, source: str) -> str:
    """The `sim_header` whose weights these are (any wrapper's prefix removed).

    Raises:
        ConversionError: names of no known head.
    """
    marks = {
        "LSTM": "lstm_visual.",
        "Conv_1D": "shift.weight",
        "Transf_cls": "transformer.transformer_enc.",
        "Transf": "transformer.resblocks.",
    }
    for header, mark in marks.items():
        if any(name.startswith(mark) for name in head):
            return header
    if set(head) <= {POSITIONS}:
        return "meanP"
    raise ConversionError(f"{source} has an unknown temporal head: {sorted(head)[:10]}.")


def drop_positions(head: StateDict) -> list[str]:
    """Remove the position table that every official head carries and only `Transf` uses; what to tell the user."""
    return [f"{POSITIONS} left out: this head does not use it"] if head.pop(POSITIONS, None) is not None else []


def convert_temporal_transformer(head: StateDict, target: str) -> StateDict:
    """Take positions and blocks of a "Transf" head out of `head`: weights of a [`TemporalTransformer`] at `target`."""
    require(head, [POSITIONS], "the temporal head")
    converted = {f"{target}position_embedding.weight": head.pop(POSITIONS)}
    return converted | convert_blocks(head, "transformer.resblocks.", f"{target}layers.")


def _convert_head(head: StateDict, header: str) -> StateDict:
    """Rename the weights of any head; names that it should not have are kept, so that loading complains of them."""
    if header == "Transf":
        return convert_temporal_transformer(head, "temporal_head.") | head
    if header == "Transf_cls":
        head = _split_class_token_attention(head)
    renamed = {
        "LSTM": ("lstm_visual.", "lstm."),
        "Conv_1D": ("shift.", "conv."),
        "Transf_cls": ("transformer.", ""),
        "meanP": ("", ""),
    }
    old, new = renamed[header]
    names = {name: new + name.removeprefix(old).removeprefix("transformer_enc.") for name in head}
    return {f"temporal_head.{names[name]}": tensor for name, tensor in head.items()}


def _split_class_token_attention(head: StateDict) -> StateDict:
    head = dict(head)
    for packed in [name for name in head if name.endswith("self_attn.in_proj_weight")]:
        attention = packed.removesuffix("in_proj_weight")
        require(head, [f"{attention}in_proj_bias"], "the temporal head")
        head |= split_packed_attention(head, attention, attention)
    return head


def _head_settings(head: StateDict, header: str, source: str) -> dict[str, Any]:
    """Sizes of the head out of its shapes."""
    if header == "Transf":
        require(head, [POSITIONS], source)
        return {"temporal_layers": count_blocks(head), "max_frame_positions": head[POSITIONS].shape[0]}
    if header == "Transf_cls":
        require(head, ["transformer.pos_embed"], source)
        layers = {name.split(".")[3] for name in head if name.startswith("transformer.transformer_enc.layers.")}
        return {"temporal_layers": len(layers), "num_frames": head["transformer.pos_embed"].shape[1] - 1}
    return {}


def _build(
    source: str,
    layout: str,
    clip: StateDict,
    head: StateDict,
    settings: dict[str, Any],
    notes: list[str],
    video_options: Any,
) -> Conversion:
    header = settings["sim_header"]
    settings = _head_settings(head, header, source) | settings
    if any(_SHIFTED_BLOCK.match(name) for name in clip):
        settings["temporal_shift"] = True
    clip_config, weights, rest = convert_openai_clip(clip, source)
    weights = {f"backbone.model.{name}": tensor for name, tensor in weights.items()}
    if "visual.time_embedding" in rest:
        weights["time_embedding"] = rest.pop("visual.time_embedding")
        settings |= {"joint_space_time": True, "num_frames": weights["time_embedding"].shape[0]}
    if settings.get("num_frames") is None:
        raise ConversionError(
            f"{source} does not say how many frames it was trained with: pass num_frames (--num-frames). Published "
            "files carry it in their names: 8, 16 or 32."
        )
    try:
        model = ActionCLIPModel(ActionCLIPConfig(backbone_config=clip_config, **settings)).eval()
    except ValueError as error:
        raise ConversionError(f"{source}: {error}") from error
    load_exactly(model, weights | rest | _convert_head(head, header), source)
    options = video_options(clip_config, model.config.num_frames)
    return Conversion(model=model, source=source, layout=f"{layout}, {header}", notes=notes, video_options=options)


def official_video_options(clip: CLIPConfig, num_frames: int) -> dict[str, Any]:
    """How the official code samples and resizes, as options of the video processor."""
    size = image_side(clip)
    return {
        "num_frames": num_frames,
        "sampling": "actionclip",
        "size": {"shortest_edge": size * 256 // 224},
        "crop_size": {"height": size, "width": size},
        "resample": "bicubic",
    }


def mmaction2_video_options(clip: CLIPConfig, num_frames: int) -> dict[str, Any]:
    """How mmaction2 samples and resizes (OpenCV's bilinear filter does not antialias)."""
    return official_video_options(clip, num_frames) | {
        "sampling": "mmaction",
        "resample": "bilinear",
        "antialias": False,
        "image_mean": [value / 255 for value in _PIXEL_MEAN],
        "image_std": [value / 255 for value in _PIXEL_STD],
    }
