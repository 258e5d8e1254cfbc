"""Checkpoints and text features in the layout of the official STDD code, as a user has trained or computed them.

No weights of STDD were published, and its repository has no license: nothing of it ships here, and
what is converted is marked (`config.source_license = "none"`) so that it is not pushed unless told. Epoch files hold
the student (`model.`), sometimes the frozen teacher (`raw_model.`), and the projector of the distillation loss
(`projector_v.`); averaged files hold the student alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import CLIPConfig, CLIPModel
from transformers.utils import logging

from hf_zsar.modeling.configuration_stdd import STDDConfig
from hf_zsar.modeling.modeling_stdd import STDDModel
from hf_zsar.processing.processing_stdd import BASE_TEMPLATES
from hf_zsar.processing.text_files import TextFileError
from hf_zsar.yaml_files import parse_yaml

from .checkpoint_files import (
    Conversion,
    ConversionError,
    StateDict,
    as_float32,
    image_side,
    load_exactly,
    read_checkpoint,
    tensors_of,
    without_common_prefix,
    without_prefix,
)
from .openai_clip import convert_openai_clip


logger = logging.get_logger(__name__)

LICENSE_NOTE = (
    "The STDD repository has no license, so weights trained with its code may carry terms you do not know. The config "
    'says source_license="none", and such a model is not pushed unless told.'
)
TEMPORAL_ATTENTION = "stcross_attend"
_PROJECTOR = {f"projector_v.{i}.weight": f"distill_projector.{i}.weight" for i in (0, 2)}


def convert(path: str | os.PathLike, **config: Any) -> Conversion:
    """A checkpoint in the official layout as an [`STDDModel`].

    Args:
        path: an epoch file (`checkpoint_epoch_*.pyth`) or an averaged file (`swa_*.pth`).
        config: fields of [`STDDConfig`] that win over what the file says or leaves open. Averaged files have no
            settings at all; the defaults are those of the official training scripts.

    Raises:
        ConversionError: not such a file, settings that cannot be read, or weights that are missing or left over.
    """
    source = os.fspath(path)
    content = read_checkpoint(path)
    state = _model_state(content, source)
    student = without_prefix(state, "model.")
    if not student:
        raise ConversionError(f"{source} has no weights under 'model.': it is not an STDD checkpoint.")
    clip_config, clip, rest = convert_openai_clip(student, source)
    projector = as_float32({target: state[name] for name, target in _PROJECTOR.items() if name in state})
    settings, notes = _settings(content.get("cfg"), source)
    if not projector and "distill_weight" not in config:
        settings["distill_weight"] = 0.0
        notes.append("no distillation projector in the file: distill_weight=0")
    settings |= {"source_license": "none", **config}
    try:
        stdd_config = STDDConfig(backbone_config=clip_config, **settings)
    except StrictDataclassError as error:
        raise ConversionError(f"{source} does not make an STDD model: {error.__cause__ or error}") from error
    model = STDDModel(stdd_config).eval()
    weights = {f"backbone.model.{name}": tensor for name, tensor in (clip | rest).items()}
    if model.distill_projector is not None:
        # A file without a projector gets the fresh one, which adds nothing at first.
        fresh = {name: tensor for name, tensor in model.state_dict().items() if name in _PROJECTOR.values()}
        weights |= projector or fresh
    load_exactly(model, weights, source)
    logger.warning(LICENSE_NOTE)
    return Conversion(
        model=model,
        source=source,
        layout="STDD averaged file" if set(content) == {"model_state"} else "STDD epoch file",
        notes=[*notes, *_left_out(state), LICENSE_NOTE],
        video_options=official_video_options(clip_config, model.config.num_frames),
        processor_options={} if model.config.matching == "bidirectional" else {"prompt_templates": BASE_TEMPLATES},
    )


def official_video_options(clip: CLIPConfig, num_frames: int) -> dict[str, Any]:
    """How the official evaluation samples, resizes and crops one view (card of STDD, S1 and S2)."""
    size = image_side(clip)
    return {
        "num_frames": num_frames,
        "sampling": "slowfast",
        "size": {"shortest_edge": size},
        "crop_size": {"height": size, "width": size},
        "resample": "bilinear",
        "antialias": False,
        "crop_rounding": "ceil",
    }


def _model_state(content: Mapping[str, Any], source: str) -> StateDict:
    state = content.get("model_state")
    if not isinstance(state, Mapping):
        raise ConversionError(f"{source} has no 'model_state': it is not a checkpoint of the official STDD code.")
    return without_common_prefix(tensors_of(state, source), "module.")


def _left_out(state: StateDict) -> list[str]:
    notes = []
    if any(name.startswith("raw_model.") for name in state):
        notes.append("the teacher (raw_model.*) was left out; to train on, use load_teacher or the original CLIP")
    others = sorted(n for n in state if not n.startswith(("model.", "raw_model.")) and n not in _PROJECTOR)
    if others:
        notes.append(f"left out, no part of STDD: {', '.join(others)}")
    return notes


def _settings(cfg: Any, source: str) -> tuple[dict[str, Any], list[str]]:
    """Fields of [`STDDConfig`] out of the training configuration of an epoch file, and what to tell the user."""
    if cfg is None:
        return {}, ["the file has no settings: those of the official training scripts are assumed"]
    try:
        cfg = parse_yaml(cfg, f"{source}: its 'cfg'") if isinstance(cfg, str) else cfg
    except TextFileError as error:
        raise ConversionError(str(error)) from error
    sections = [cfg.get(name) if isinstance(cfg, Mapping) else None for name in ("MODEL", "DATA")]
    if not all(section is None or isinstance(section, Mapping) for section in sections):
        raise ConversionError(f"{source}: its 'cfg' has no MODEL and DATA sections.")
    model, data = (section or {} for section in sections)
    notes = []
    if (kind := model.get("TEMPORAL_MODELING_TYPE", TEMPORAL_ATTENTION)) != TEMPORAL_ATTENTION:
        notes.append(f"trained with the temporal attention {kind!r}, which is not STDD's")
    settings = {
        "mask_rate": model.get("MASK_RATE"),
        "window_size": _window(model.get("MASK_STRIDE"), source),
        "spatial_repeat": model.get("SPATIAL_REPEAT"),
        "temporal_shuffle": model.get("TEMPORAL_SHUFFLE"),
        "channel_fold": model.get("CHANNEL_FOLD"),
        "temporal_scales": _as_list(model.get("TEMPORAL_SCALE")),
        "distill_weight": model.get("DISTILLATION_RATIO"),
        "num_frames": data.get("NUM_FRAMES"),
        "matching": {True: "bidirectional", False: "mean"}.get(data["TEXT_AUG"]) if "TEXT_AUG" in data else None,
    }
    return {name: value for name, value in settings.items() if value is not None}, notes


def _as_list(scales: Any) -> list[int] | None:
    # The official ViT-L/14 configuration writes a bare number.
    return [scales] if isinstance(scales, int) else scales


def _window(stride: Any, source: str) -> int | None:
    if stride is None:
        return None
    if not isinstance(stride, (list, tuple)) or len(stride) != 3 or stride[0] != 1 or stride[1] != stride[2]:
        raise ConversionError(f"{source}: MASK_STRIDE must be [1, w, w] for a square window, got {stride!r}.")
    return stride[1]


def load_teacher(path: str | os.PathLike) -> CLIPModel | None:
    """The frozen CLIP of an epoch file, for [`STDDModel.set_teacher`]; None where the file has none.

    Raises:
        ConversionError: see [`convert`].
    """
    source = os.fspath(path)
    state = without_prefix(_model_state(read_checkpoint(path), source), "raw_model.")
    if not state:
        return None
    config, weights, rest = convert_openai_clip(state, source)
    model = CLIPModel(config).eval()
    load_exactly(model, weights | rest, source)
    return model
