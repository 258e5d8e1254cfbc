"""BIKE's checkpoints (video branch) as DA-STI models with the `bike` preset.

An epoch file holds CLIP (`model_state_dict`) and the temporal transformer (`fusion_model_state_dict`, empty where
`sim_header` is "None"). The attribute branch has the same top level but another head and is not a video model.
"""

from __future__ import annotations

import os
import re
from typing import Any

from hf_zsar.modeling.configuration_dasti import DASTIConfig
from hf_zsar.modeling.modeling_dasti import DASTIModel

from .actionclip import POSITIONS, convert_temporal_transformer, official_video_options
from .checkpoint_files import (
    Conversion,
    ConversionError,
    image_side,
    load_exactly,
    read_two_parts,
    require,
)
from .openai_clip import convert_openai_clip, count_blocks


# BIKE's Video Concept Spotting: no spatial interaction, class branch only, no normalization of the pooled feature.
BIKE: dict[str, Any] = dict(
    use_spatial_interaction=False,
    spatial_fusion="none",
    normalize_pooled=False,
    class_score_weight=1.0,
    attribute_loss_weight=0.0,
    loss_divergence="kl",
)
# How BIKE reads labels (card of DA-STI, S6).
BIKE_TEXT: dict[str, Any] = dict(word_source="class", word_mask_mode="all", text_pad_token_id=0, clean_labels=False)
_FRAMES_IN_NAME = re.compile(r"-f(\d+)\.\w+$")


def convert(path: str | os.PathLike, **config: Any) -> Conversion:
    """An epoch file of the official code (`k400-vit-l-14-f8.pt`, `model_best.pt`) as a [`DASTIModel`].

    Args:
        path: the file.
        config: fields of [`DASTIConfig`] that win over the `bike` preset and what is found. `num_frames` is not in the
            file: it is read off names that end in `-f8.pt`, else it must be given.

    Raises:
        ConversionError: not such a file, the attribute branch, joint space-time, or weights missing or left over.
    """
    source = os.fspath(path)
    clip, head = read_two_parts(path, "BIKE")
    if any(name.startswith(("query_fc.", "sentence_fc.")) for name in head):
        raise ConversionError(
            f"{source} is BIKE's attribute branch, which compares texts with texts; convert the video branch instead."
        )
    if "visual.time_embedding" in clip:
        raise ConversionError(
            f"{source} was trained with joint space-time, which no released model is; not supported."
        )
    settings: dict[str, Any] = {"use_temporal_transformer": bool(head), "num_frames": _frames_in_name(source)}
    if head:
        require(head, [POSITIONS], source)
        settings |= {"temporal_num_layers": count_blocks(head), "temporal_max_positions": head[POSITIONS].shape[0]}
    settings |= config
    if settings["num_frames"] is None:
        raise ConversionError(
            f"{source} does not say how many frames it was trained with: pass num_frames (--num-frames)."
        )
    clip_config, weights, rest = convert_openai_clip(clip, source)
    model = DASTIModel(DASTIConfig(**{**BIKE, **settings}, backbone_config=clip_config)).eval()
    weights = {f"backbone.model.{name}": tensor for name, tensor in weights.items()}
    if head:
        weights |= convert_temporal_transformer(head, "temporal_transformer.")
    load_exactly(model, weights | rest | head, source)
    options = official_video_options(clip_config, model.config.num_frames) | {"sampling": "bike"}
    if (size := image_side(clip_config)) > 256:
        options["size"] = {"shortest_edge": size}
    return Conversion(
        model=model,
        source=source,
        layout="BIKE video branch",
        notes=["DA-STI's parts are off (bike preset): set them in config.json once description attributes are there"],
        video_options=options,
        processor_options=BIKE_TEXT,
    )


def _frames_in_name(source: str) -> int | None:
    match = _FRAMES_IN_NAME.search(source)
    return int(match[1]) if match else None
