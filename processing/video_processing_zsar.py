"""Video processor of all methods: any video in, `pixel_values_videos` out. torchvision is not needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from transformers.processing_utils import VideosKwargs
from transformers.video_processing_utils import VideoProcessorMixin

from .frame_sampling import Generator, get_sampler
from .label_checks import check_choice, shown
from .optional_parts import needed
from .prefetching import prefetch
from .video_reading import VideoClip, VideoReader, open_video
from .video_sources import VideoReadError, is_one_video, source_name
from .video_transforms import RESAMPLES, ROUNDINGS, channels_first, crop, normalize, resize, stack


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
# How to get at a video. Given per call and never saved: a downloaded configuration must not loosen them.
READ_OPTIONS = ("timeout", "max_bytes", "allow_private_urls", "thread_count")


class ZSARVideoProcessorKwargs(VideosKwargs, total=False):
    """Options of [`ZSARVideoProcessor`]; see there."""

    resample: str | int | None  # type: ignore[misc]  # by name, too
    antialias: bool | None
    crop_rounding: str | None
    sampling: str | None
    sampling_options: dict | None
    num_views: int | None
    num_crops: int | None
    mode: str | None


class ZSARVideoProcessor(VideoProcessorMixin):
    """Samples frames of videos and turns them into normalized pixel values.

    Every option can be set here and overridden in each call. The three steps are there alone, too: [`sample`],
    [`resize_crop`] and [`normalize`], for training code that puts augmentation between them.

    Args:
        do_resize, size: resize to `{"shortest_edge": 256}` (ratio kept), `{"height", "width"}`, or sides that are
            multiples within a range of areas, `{"min_pixels", "max_pixels", "multiple"}`.
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
    is_one_video = staticmethod(is_one_video)
    prefetch = staticmethod(prefetch)
    valid_kwargs = ZSARVideoProcessorKwargs  # type: ignore[assignment]

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

    name_of = staticmethod(source_name)

    def __init__(self, **kwargs: Any) -> None:
        service = {key: kwargs.pop(key) for key in list(kwargs) if key in SERVICE_KEYS}
        defaults = {name: getattr(type(self), name) for name in self.OPTIONS}
        super().__init__(**service, **checked_options({**defaults, **kwargs}, self.OPTIONS))

    def all_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All options of a call: the instance's own, overridden by those `given` that are not None."""
        given = {name: value for name, value in given.items() if value is not None}
        if "fps" in given and "num_frames" in given:
            raise ValueError("Pass num_frames or fps, not both.")
        if "num_frames" in given or "sampling" in given:
            given.setdefault("fps", None)
        own = {name: getattr(self, name) for name in self.OPTIONS}
        return checked_options({**own, **given}, (*self.OPTIONS, *READ_OPTIONS))

    def __call__(
        self,
        videos: Any,
        *,
        generator: Generator | None = None,
        return_tensors: str | None = "pt",
        return_metadata: bool = False,
        **options: Any,
    ) -> BatchFeature:
        """Pixel values of one video or of several.

        Args:
            videos: a video, or a list, column, array or generator of them; lengths and sizes may differ. For the forms
                of a video see [`open_video`]; an open reader is taken, too.
            generator: for random samplers: a numpy or torch generator, or a seed.
            return_metadata: also give `video_metadata`, a dict for each video: `timestamps` (seconds) and `indices`
                of the frames, `[V, T]` each, with V temporal views, and the video's `name`, `duration`, `fps`,
                `num_frames`, `width`, `height`, `rotation`.
            options: override any option of the processor for this call; also `timeout`, `max_bytes`,
                `allow_private_urls` and `thread_count` of [`open_video`].

        Returns:
            `pixel_values_videos` float32 `[B, T, 3, H, W]`, or `[B, V, T, 3, H, W]` with several views or crops (all
            crops of the first view, then of the second...).

        Raises:
            VideoReadError: a video that cannot be read; the message names it.
            ValueError: an unknown option, or videos that give different numbers of frames.
        """
        options = self.all_options(options)
        clips = [self._sample(video, options, generator) for video in as_batch(videos)]
        pixels = [self.pixels(clip, options) for clip in clips]
        shapes = sorted({tuple(each.shape) for each in pixels})
        if len(shapes) > 1:
            raise ValueError(f"These videos give different shapes, {shapes}: pass them one by one.")
        data: dict[str, Any] = {"pixel_values_videos": stack(pixels)}
        if return_metadata:
            data["video_metadata"] = [metadata(clip, views_of(options)) for clip in clips]
        return BatchFeature(data, tensor_type=return_tensors, skip_tensor_conversion=["video_metadata"])

    preprocess = __call__

    def sample(self, video: Any, generator: Generator | None = None, **options: Any) -> VideoClip:
        """The frames that `__call__` looks at: uint8 `[V * T, H, W, 3]`, view after view, with times and numbers."""
        return self._sample(video, self.all_options(options), generator)

    def resize_crop(self, frames: torch.Tensor, **options: Any) -> torch.Tensor:
        """uint8 `[N, H, W, 3]` -> `[C, N, 3, h, w]` in C crops; uint8, or float in 0..255 without `antialias`."""
        return self._resize_crop(frames, self.all_options(options))

    def normalize(self, frames: torch.Tensor, **options: Any) -> torch.Tensor:
        """Gray levels `[..., 3, H, W]` in 0..255 -> float32, rescaled and normalized."""
        return self._normalize(frames, self.all_options(options))

    def iter_windows(
        self, source: Any, window: float, stride: float | None = None, num_frames: int | None = None, **options: Any
    ) -> Iterator[tuple[float, float, torch.Tensor]]:
        """Pixel values of stretches of a video, decoded in one pass with flat memory; see [`VideoReader.windows`].

        Args:
            source: a video in any form, also a stream that can be read only once.
            window, stride: in seconds; `stride` defaults to `window`.
            num_frames: frames per window, taken at segment centers.
            options: as in `__call__`, but for `sampling`, `num_views` and `fps`, which would change nothing; also
                `live=True` for a URL that never ends.

        Yields:
            start and end in seconds, and `[T, 3, H, W]`, or `[C, T, 3, H, W]` with several crops.
        """
        windows = needed("video_windows", "windows of videos", VideoReadError)
        return windows.pixel_windows(self, source, window, stride, num_frames=num_frames, **options)

    def _sample(self, video: Any, options: Mapping[str, Any], generator: Generator | None) -> VideoClip:
        with open_video(video, **read_options(options)) as reader:
            if not options["do_sample_frames"]:
                return reader.read_indices(range(len(reader.timestamps)))
            duration = reader.duration
            clip = sample_clip(reader, options, generator)
            if reader.duration < duration:
                # A damaged file that ends earlier than it says: spread the frames over what there is.
                clip = sample_clip(reader, options, generator)
            return clip

    def pixels(self, clip: VideoClip, options: Mapping[str, Any]) -> torch.Tensor:
        """`[T, 3, H, W]`, or `[V * C, T, 3, H, W]`."""
        pixels = self._resize_crop(clip.frames, options)
        crops, total, views = len(pixels), len(clip), views_of(options)
        if crops * views == 1:
            return self._normalize(pixels[0], options)
        pixels = pixels.unflatten(1, (views, total // views)).transpose(0, 1).flatten(0, 1)
        return self._normalize(pixels, options)

    def _resize_crop(self, frames: torch.Tensor, options: Mapping[str, Any]) -> torch.Tensor:
        frames = channels_first(frames)
        if options["do_resize"]:
            frames = resize(frames, options["size"], options["resample"], options["antialias"])
        if not options["do_center_crop"]:
            return frames.unsqueeze(0)
        size = (options["crop_size"]["height"], options["crop_size"]["width"])
        return crop(frames, size, options["num_crops"], options["crop_rounding"])

    def _normalize(self, frames: torch.Tensor, options: Mapping[str, Any]) -> torch.Tensor:
        return normalize(
            frames,
            options["rescale_factor"] if options["do_rescale"] else None,
            options["image_mean"] if options["do_normalize"] else None,
            options["image_std"],
        )

    def to_dict(self) -> dict[str, Any]:
        """The options in plain JSON types."""
        settings = {name: getattr(self, name) for name in self.OPTIONS}
        if pointers := getattr(self, "auto_map", None):
            settings["auto_map"] = pointers
        return {**settings, "video_processor_type": type(self).__name__}


def checked_options(options: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any]:
    """`options` in plain Python types.

    Raises:
        ValueError: an unknown option or a value that means nothing.
    """
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"Unknown video option {', '.join(unknown)}; known: {', '.join(known)}.")
    checked = dict(options)
    for name, check in _CHECKS.items():
        try:
            checked[name] = check(name, options[name])
        except (TypeError, OverflowError) as error:
            raise ValueError(f"{name} cannot be {shown(options[name])}: {error}.") from error
    return checked


def _size(name: str, value: Any) -> dict[str, int]:
    return size_dict(value, square=name == "crop_size")


def _chosen(*choices: Any) -> Callable[[str, Any], Any]:
    return lambda name, value: check_choice(name, value, choices)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a positive whole number, got {shown(value)}.")
    return value


def _rate(name: str, value: Any) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise ValueError(f"{name} must be positive, got {shown(value)}.")
    return value


def _channels(name: str, value: Any) -> list[float]:
    values = [value] * 3 if isinstance(value, (int, float)) else list(value)
    if len(values) != 3:
        raise ValueError(f"{name} must be one or three numbers, got {shown(value)}.")
    return [float(each) for each in values]


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "size": _size,
    "crop_size": _size,
    "resample": lambda name, value: RESAMPLES[check_choice(name, value, RESAMPLES)],
    "crop_rounding": _chosen(*ROUNDINGS),
    "mode": _chosen("exact", "keyframe"),
    "num_frames": _count,
    "num_views": _count,
    "num_crops": _chosen(1, 3),
    "fps": _rate,
    "sampling": lambda name, value: get_sampler(value).name,
    "rescale_factor": lambda name, value: None if value is None else float(value),
    "image_mean": _channels,
    "image_std": _channels,
    "sampling_options": lambda name, value: dict(value),
}


def read_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that go to `open_video`."""
    return {name: options[name] for name in READ_OPTIONS if options.get(name) is not None}


def views_of(options: Mapping[str, Any]) -> int:
    """Temporal views in a clip."""
    return options["num_views"] if options["do_sample_frames"] else 1


def sample_clip(reader: VideoReader, options: Mapping[str, Any], generator: Generator | None) -> VideoClip:
    """The frames that the configured sampler names, `[V * T, H, W, 3]`, view after view."""
    fps, count, views = options["fps"], options["num_frames"], options["num_views"]
    sampler = get_sampler("fps" if fps is not None else options["sampling"])
    extra = dict(options["sampling_options"])
    if sampler.is_random:
        extra["generator"] = generator
    if fps is not None:
        extra["fps"] = fps
    elif "fps" in sampler.options and sampler.unit == "frames" and reader.fps:
        extra.setdefault("fps", reader.fps)
    if sampler.unit == "frames":
        return reader.read_indices(sampler(len(reader.timestamps), count, views, **extra).ravel().tolist())
    # A time that falls on the start of a frame means that frame, however the container rounded it.
    times = sampler(reader.duration, count, views, **extra).ravel() + reader.clock_tick
    return reader.read_at(times.tolist(), mode=options["mode"])


def metadata(clip: VideoClip, views: int) -> dict[str, Any]:
    """What `return_metadata` gives for one video."""
    info = clip.info
    return {
        "name": info.name,
        "duration": info.duration,
        "fps": info.fps,
        "num_frames": info.num_frames,
        "width": info.width,
        "height": info.height,
        "rotation": info.rotation,
        "timestamps": np.asarray(clip.timestamps).reshape(views, -1).tolist(),
        "indices": np.asarray(clip.indices).reshape(views, -1).tolist(),
    }


def size_dict(size: Any, square: bool) -> dict[str, int]:
    """A size given as number, (height, width) or mapping as one of the mappings that a processor takes."""
    if isinstance(size, int):
        size = {"height": size, "width": size} if square else {"shortest_edge": size}
    elif isinstance(size, (list, tuple)) and len(size) == 2:
        size = {"height": size[0], "width": size[1]}
    plain = {name: int(value) for name, value in dict(size).items() if value is not None}
    kinds = ({"height", "width"}, {"shortest_edge"}, {"min_pixels", "max_pixels", "multiple"})
    if set(plain) not in kinds[: 2 if square else 3] or min(plain.values()) < 1:
        raise ValueError(f"A size is {{'shortest_edge'}} or {{'height', 'width'}} in pixels, got {shown(size)}.")
    if square and set(plain) == {"shortest_edge"}:
        plain = {"height": plain["shortest_edge"], "width": plain["shortest_edge"]}
    return plain


def as_batch(videos: Any) -> list[Any]:
    """The videos in `videos`: one, or a collection of them.

    Raises:
        VideoReadError: none, or something else.
    """
    try:
        batch = [videos] if is_one_video(videos) else list(videos)
    except (ValueError, RuntimeError) as error:  # nested tensors do not even tell their shape
        raise VideoReadError(str(error)) from error
    if not batch:
        raise VideoReadError("No videos were given.")
    return batch


__all__ = ["ZSARVideoProcessor"]
