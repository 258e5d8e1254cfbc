"""Video processor of all methods: any video in, `pixel_values_videos` out. torchvision is not needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature
from transformers.processing_utils import VideosKwargs
from transformers.video_processing_utils import VideoProcessorMixin

from .frame_sampling import Generator, get_sampler
from .video_reading import VideoClip, VideoReader, open_video
from .video_sources import VideoReadError, source_name
from .video_transforms import RESAMPLES, ROUNDINGS, channels_first, crop, normalize, resize


CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
# Written by transformers into saved configurations; no options of ours.
SERVICE_KEYS = {
    "video_processor_type",
    "image_processor_type",
    "feature_extractor_type",
    "processor_class",
    "auto_map",
}


class ZSARVideosKwargs(VideosKwargs, total=False):
    """Options of [`ZSARVideoProcessor`]; see there."""

    resample: str | int | None
    antialias: bool | None
    crop_rounding: str | None
    sampling: str | None
    sampling_options: dict | None
    num_views: int | None
    num_crops: int | None
    mode: str | None


class ZSARVideoProcessor(VideoProcessorMixin):
    """Samples frames of videos and turns them into normalised pixel values.

    Args:
        do_resize, size: resize to `{"shortest_edge": 256}` (ratio kept) or `{"height", "width"}`.
        resample: `bicubic` or `bilinear`.
        antialias: filter as Pillow does when shrinking; off reproduces STDD and E2E.
        do_center_crop, crop_size: `{"height": 224, "width": 224}`.
        crop_rounding: of half pixels in the crop's offset: `round`, `floor` or `ceil`.
        do_rescale, rescale_factor, do_normalize, image_mean, image_std: as in transformers.
        do_sample_frames: off takes the frames given as they are.
        num_frames: T, frames per view.
        sampling, sampling_options: name in `SAMPLERS` and its further options.
        fps: frames a second instead of `num_frames`.
        num_views, num_crops: temporal views and spatial crops (1 or 3) per video; V = their product.
        mode: `exact`, or `keyframe`: the nearest key frame to each sampled time (fast, and another sample).
    """

    model_input_names = ["pixel_values_videos"]
    valid_kwargs = ZSARVideosKwargs

    do_resize = True
    size = {"shortest_edge": 256}
    default_to_square = False
    resample = "bicubic"
    antialias = True
    do_center_crop = True
    crop_size = {"height": 224, "width": 224}
    crop_rounding = "round"
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    image_mean = CLIP_MEAN
    image_std = CLIP_STD
    do_sample_frames = True
    num_frames = 8
    sampling = "uniform"
    sampling_options: dict = {}
    fps = None
    num_views = 1
    num_crops = 1
    mode = "exact"

    OPTIONS = (
        "do_resize", "size", "resample", "antialias", "do_center_crop", "crop_size", "crop_rounding", "do_rescale",
        "rescale_factor", "do_normalize", "image_mean", "image_std", "do_sample_frames", "num_frames", "sampling",
        "sampling_options", "fps", "num_views", "num_crops", "mode",
    )  # fmt: skip

    def __init__(self, **kwargs: Any) -> None:
        service = {key: kwargs.pop(key) for key in list(kwargs) if key in SERVICE_KEYS}
        options = self._options(kwargs, defaults={name: getattr(type(self), name) for name in self.OPTIONS})
        super().__init__(**service, **options)

    def _options(self, given: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """All options: `given` over the instance's own, checked and in plain Python types.

        Raises:
            ValueError: an unknown option or a value that means nothing.
        """
        unknown = sorted(set(given) - set(self.OPTIONS))
        if unknown:
            raise ValueError(f"Unknown video option {', '.join(unknown)}; known: {', '.join(self.OPTIONS)}.")
        options = dict(defaults) if defaults is not None else {name: getattr(self, name) for name in self.OPTIONS}
        options.update({name: value for name, value in given.items() if value is not None or name == "fps"})
        options["size"] = size_dict(options["size"], square=False)
        options["crop_size"] = size_dict(options["crop_size"], square=True)
        if options["resample"] not in RESAMPLES:
            raise ValueError(f"resample must be bicubic or bilinear, got {options['resample']!r}.")
        options["resample"] = RESAMPLES[options["resample"]]
        if options["crop_rounding"] not in ROUNDINGS:
            raise ValueError(f"crop_rounding must be one of {', '.join(ROUNDINGS)}, got {options['crop_rounding']!r}.")
        if options["num_crops"] not in (1, 3):
            raise ValueError(f"num_crops must be 1 or 3, got {options['num_crops']!r}.")
        if options["mode"] not in ("exact", "keyframe"):
            raise ValueError(f"mode must be exact or keyframe, got {options['mode']!r}.")
        get_sampler(options["sampling"])
        options["image_mean"] = [float(value) for value in options["image_mean"]]
        options["image_std"] = [float(value) for value in options["image_std"]]
        return options

    def __call__(
        self,
        videos: Any,
        *,
        generator: Generator | None = None,
        return_tensors: str | None = "pt",
        return_metadata: bool = False,
        **options: Any,
    ) -> BatchFeature:
        """Pixel values of one video or of a list of videos.

        Args:
            videos: a video (path, URL, bytes, file object, `{"path", "bytes"}`, array, tensor, list of PIL frames,
                open reader or decoder) or a list of them; lengths and sizes may differ.
            generator: for random samplers: numpy or torch generator, or a seed.
            return_metadata: also give `video_metadata`, a list of dicts: `timestamps` and `indices` `[V, T]`...
            options: override any option of the processor for this call.

        Returns:
            `pixel_values_videos` float32 `[B, T, 3, H, W]`, or `[B, V, T, 3, H, W]` with several views or crops.

        Raises:
            VideoReadError: naming the video that cannot be read.
            ValueError: an unknown option, or videos that give different numbers of frames.
        """
        options = self._options(options)
        clips = [self._sample(video, options, generator) for video in as_batch(videos)]
        pixels = [self._pixels(clip, options) for clip in clips]
        if len({tuple(each.shape) for each in pixels}) > 1:
            shapes = sorted({tuple(each.shape) for each in pixels})
            raise ValueError(f"The videos give different shapes {shapes}; pass them one by one or fix num_frames.")
        data: dict[str, Any] = {"pixel_values_videos": torch.stack(pixels)}
        if return_metadata:
            data["video_metadata"] = [self._metadata(clip, options) for clip in clips]
        return BatchFeature(data, tensor_type=return_tensors, skip_tensor_conversion=["video_metadata"])

    preprocess = __call__

    def sample(self, video: Any, generator: Generator | None = None, **options: Any) -> VideoClip:
        """The frames that `__call__` would look at, as uint8 `[V * T, H, W, 3]`, view-major."""
        return self._sample(video, self._options(options), generator)

    def resize_crop(self, frames: torch.Tensor, **options: Any) -> torch.Tensor:
        """uint8 `[N, H, W, 3]` -> `[C, N, 3, h, w]`, C crops."""
        return self._resize_crop(frames, self._options(options))

    def normalize(self, frames: torch.Tensor, **options: Any) -> torch.Tensor:
        """Grey levels `[..., 3, H, W]` -> normalised float32."""
        return self._normalize(frames, self._options(options))

    def _sample(self, video: Any, options: Mapping[str, Any], generator: Generator | None) -> VideoClip:
        with open_video(video) as reader:
            if not options["do_sample_frames"]:
                return reader.read_indices(range(len(reader.timestamps)))
            return self._read(reader, options, generator)

    def _read(self, reader: VideoReader, options: Mapping[str, Any], generator: Generator | None) -> VideoClip:
        sampler = get_sampler("fps" if options["fps"] is not None else options["sampling"])
        extra = dict(options["sampling_options"])
        if sampler.is_random:
            extra["generator"] = generator
        if options["fps"] is not None:
            extra["fps"] = options["fps"]
        elif "fps" in sampler.options and reader.info.fps:
            extra.setdefault("fps", reader.info.fps)
        count, views = options["num_frames"], options["num_views"]
        if sampler.unit == "frames":
            return reader.read_indices(sampler(len(reader.timestamps), count, views, **extra).ravel())
        return reader.read_at(sampler(reader.info.duration, count, views, **extra).ravel())

    def _pixels(self, clip: VideoClip, options: Mapping[str, Any]) -> torch.Tensor:
        pixels = self._normalize(self._resize_crop(clip.frames, options), options)
        views = options["num_views"] if options["do_sample_frames"] else 1
        crops, total = pixels.shape[:2]
        pixels = pixels.view(crops, views, total // views, *pixels.shape[2:]).transpose(0, 1).flatten(0, 1)
        return pixels[0] if len(pixels) == 1 else pixels

    def _resize_crop(self, frames: torch.Tensor, options: Mapping[str, Any]) -> torch.Tensor:
        frames = channels_first(frames)
        if options["do_resize"]:
            frames = resize(frames, options["size"], options["resample"], options["antialias"])
        if not options["do_center_crop"]:
            return frames.unsqueeze(0)
        crop_size = (options["crop_size"]["height"], options["crop_size"]["width"])
        return crop(frames, crop_size, options["num_crops"], options["crop_rounding"])

    def _normalize(self, frames: torch.Tensor, options: Mapping[str, Any]) -> torch.Tensor:
        return normalize(
            frames,
            options["rescale_factor"] if options["do_rescale"] else None,
            options["image_mean"] if options["do_normalize"] else None,
            options["image_std"],
        )

    def _metadata(self, clip: VideoClip, options: Mapping[str, Any]) -> dict[str, Any]:
        views = options["num_views"] if options["do_sample_frames"] else 1
        return {
            "name": clip.info.name,
            "duration": clip.info.duration,
            "fps": clip.info.fps,
            "num_frames": clip.info.num_frames,
            "width": clip.info.width,
            "height": clip.info.height,
            "timestamps": np.asarray(clip.timestamps).reshape(views, -1).tolist(),
            "indices": np.asarray(clip.indices).reshape(views, -1).tolist(),
        }

    def iter_windows(
        self, source: Any, window: float, stride: float | None = None, num_frames: int | None = None, **options: Any
    ) -> Iterator[tuple[float, float, torch.Tensor]]:
        """Pixel values of a sliding window: (start, end, `[T, 3, H, W]`) in seconds."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """The options in plain JSON types."""
        settings = {name: getattr(self, name) for name in self.OPTIONS}
        return {**settings, "video_processor_type": type(self).__name__}


def size_dict(size: Any, square: bool) -> dict[str, int]:
    """A size given as number, pair or mapping, as `{"shortest_edge"}` or `{"height", "width"}`."""
    if isinstance(size, int):
        return {"height": size, "width": size} if square else {"shortest_edge": size}
    if isinstance(size, Sequence) and len(size) == 2:
        return {"height": int(size[0]), "width": int(size[1])}
    plain = {name: int(value) for name, value in dict(size).items() if value is not None}
    if set(plain) in ({"height", "width"}, {"shortest_edge"}) and min(plain.values()) > 0:
        return plain
    raise ValueError(
        f"A size is a number, (height, width), {{'height', 'width'}} or {{'shortest_edge'}}, got {size!r}."
    )


def as_batch(videos: Any) -> list[Any]:
    """A list of videos out of one video or several. A list of pictures is one video, an array `[B, T, ...]` several."""
    if isinstance(videos, (np.ndarray, torch.Tensor)) and videos.ndim == 5:
        return list(videos)
    if not isinstance(videos, (list, tuple)):
        return [videos]
    if not videos:
        raise VideoReadError("no videos were given.")
    pictures = all(isinstance(each, Image.Image) for each in videos)
    arrays = all(isinstance(each, (np.ndarray, torch.Tensor)) and each.ndim == 3 for each in videos)
    return [videos] if pictures or arrays else list(videos)


__all__ = ["VideoReadError", "ZSARVideoProcessor", "source_name"]
