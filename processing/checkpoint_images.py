"""How a checkpoint wants its pictures: size, crop, mean and std out of its own files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig
from transformers.image_processing_base import ImageProcessingMixin
from transformers.utils import logging

from .video_processing_zsar import ZSARVideoProcessor


logger = logging.get_logger(__name__)

TAKEN = (
    *("do_resize", "size", "resample", "do_center_crop", "crop_size"),
    *("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"),
)


def image_options(pretrained: str, **load_kwargs: Any) -> dict[str, Any]:
    """Options of [`ZSARVideoProcessor`] as the image processor of a checkpoint says (`preprocessor_config.json`, or
    `image_processor` in `processor_config.json`).

    Without these files the size is that of the vision tower, and mean and std stay CLIP's, with a warning.

    Args:
        pretrained: a Hub id or folder.
        load_kwargs: `revision`, `token`, ...

    Raises:
        OSError: no such checkpoint.
        ValueError: one without a vision tower, or with a file that describes no image processor.
    """
    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(pretrained, **load_kwargs)
    except OSError:
        size = image_size(AutoConfig.from_pretrained(pretrained, **load_kwargs), pretrained)
        logger.warning(f"{pretrained} has no preprocessor_config.json: pictures of {size}, mean and std of CLIP.")
        return {"size": {"shortest_edge": min(size)}, "crop_size": {"height": size[0], "width": size[1]}}
    return options_of(settings, pretrained)


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
        raise ValueError(f"{name} is not a CLIP: its configuration has no vision tower with an image_size.")
    return (size, size) if isinstance(size, int) else tuple(size)


def processor_of(cls: Any, name: str, load_kwargs: dict[str, Any], options: dict[str, Any]) -> Any:
    """See [`ZSARProcessor.from_clip`]; `cls` is the class of the processor."""
    video = {key: options.pop(key) for key in ZSARVideoProcessor.OPTIONS if key in options}
    video_processor = ZSARVideoProcessor(**{**image_options(name, **load_kwargs), **video})
    processor = cls(video_processor, AutoTokenizer.from_pretrained(name, **load_kwargs), **options)
    text_config = AutoConfig.from_pretrained(name, **load_kwargs).get_text_config()
    return processor.limited_to(text_config.max_position_embeddings)
