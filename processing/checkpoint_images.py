"""How a checkpoint wants its pictures: size, crop, mean and std out of its own files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedConfig
from transformers.image_processing_base import ImageProcessingMixin

from .video_processing_zsar import ZSARVideoProcessor


TAKEN = (
    *("do_resize", "size", "resample", "do_center_crop", "crop_size"),
    *("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"),
)


def options_of(settings: Any, name: str) -> dict[str, Any]:
    """Options of [`ZSARVideoProcessor`] out of the fields of an image or video processor; `name` is the checkpoint's.

    Raises:
        ValueError: no fields.
    """
    if not isinstance(settings, Mapping):
        raise ValueError(f"{name}: its image processor is described by a {type(settings).__name__}, not by fields.")
    options = {name: settings[name] for name in TAKEN if settings.get(name) is not None}
    if "crop_size" not in options:
        options["do_center_crop"] = False
    return options


def frame_settings(pretrained: str, **load_kwargs: Any) -> Mapping[str, Any]:
    """The fields of the video processor of a checkpoint, or else of its image processor.

    Raises:
        OSError: no such checkpoint, or neither file.
    """
    try:
        return ZSARVideoProcessor.get_video_processor_dict(pretrained, **load_kwargs)[0]
    except OSError:  # an image processor may stand in processor_config.json alone
        return ImageProcessingMixin.get_image_processor_dict(pretrained, **load_kwargs)[0]


def image_size(config: PreTrainedConfig, name: str) -> tuple[int, int]:
    """Height and width that the vision tower of a configuration was made for.

    Raises:
        ValueError: it has none.
    """
    size = getattr(getattr(config, "vision_config", config), "image_size", None)
    if size is None:
        raise ValueError(f"{name}: its configuration has no vision tower with an image_size.")
    return (size, size) if isinstance(size, int) else tuple(size)
