"""What a video may come from: every input form is reduced to one [`MediaSource`] or to an array of frames.

Paths are always opened through the operating system's file protocol, so that a string such as `concat:...` or
`rtsp://...` is a file name that does not exist and never a request.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from .limits import hold_to
from .urls import is_url, redacted


class VideoReadError(ValueError):
    """A video cannot be read. The message names the video and what is wrong with it."""


class VideoReadWarning(UserWarning):
    """Only a part of a video could be decoded; that part was used."""


@dataclass
class MediaSource:
    """An encoded video: a local `path`, or a binary `file`, which stays open unless `on_close` closes it; `data` are
    the bytes of the file when they are in memory."""

    name: str
    path: str | None = None
    file: Any = None
    data: bytes | None = None
    on_close: list[Callable[[], None]] = field(default_factory=list)

    @property
    def seekable(self) -> bool:
        """Whether the bytes can be read more than once."""
        if self.path is not None:
            return True
        probe = getattr(self.file, "seekable", None)
        return bool(probe()) if callable(probe) else hasattr(self.file, "seek")

    def close(self) -> None:
        while self.on_close:
            self.on_close.pop()()


def check_clip(name: str, count: int, shape: Sequence[int]) -> None:
    """Refuse a clip of `count` pictures `[H, W]` that would take too much memory.

    Raises:
        VideoReadError: naming the video and the limit.
    """
    what = f"{name}: {count} frames of {shape[1]}x{shape[0]}, pixels in all"
    hold_to("clip_pixels", count * shape[0] * shape[1], what, VideoReadError)


def check_size(name: str, width: int, height: int) -> None:
    """Refuse pictures that are too large or too long.

    Raises:
        VideoReadError: naming the video and the limit.
    """
    what = f"{name}: pictures of {width}x{height}"
    hold_to("picture_pixels", width * height, f"{what}, so many pixels", VideoReadError)
    ratio = max(width, height) / max(1, min(width, height))
    hold_to("picture_ratio", ratio, f"{what}, sides of such a ratio", VideoReadError)


def source_name(source: Any) -> str:
    """How messages call a source: its path or URL (without its secrets), `bytes`, `array`, ..."""
    if isinstance(source, (str, os.PathLike)):
        # Names need not be UTF-8, messages must be.
        return redacted(os.fsdecode(source).encode("utf-8", "backslashreplace").decode())
    if isinstance(source, Mapping):
        return source_name(source.get("path") or b"")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "bytes"
    if isinstance(source, (np.ndarray, torch.Tensor)):
        return "array"
    if isinstance(source, (list, tuple)):
        return "list of frames"
    name = getattr(source, "name", None)
    return redacted(name) if isinstance(name, str) else f"{type(source).__name__} object"


def media_source(source: Any) -> MediaSource | None:
    """The encoded video behind `source`, or None when it is none of path, bytes, mapping and file object."""
    name = source_name(source)
    if isinstance(source, Mapping):
        return _from_mapping(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        if len(source) == 0:
            raise VideoReadError(f"{name}: empty (0 bytes).")
        return MediaSource(name, file=io.BytesIO(source), data=source if isinstance(source, bytes) else None)
    if isinstance(source, (str, os.PathLike)):
        return MediaSource(name, path=_checked_path(os.fspath(source)))
    if callable(getattr(source, "read", None)):
        if getattr(source, "closed", False):
            raise VideoReadError(f"{name}: cannot be read (the file object is closed).")
        return MediaSource(name, file=source)
    return None


def _from_mapping(source: Mapping) -> MediaSource | None:
    if source.get("bytes") is not None:
        inner = media_source(source["bytes"])
        if inner is not None:
            inner.name = source_name(source)
        return inner
    if source.get("path"):
        return media_source(source["path"])
    raise VideoReadError(f"a mapping must hold `bytes` or `path`, got the keys {sorted(map(str, source))}.")


def _checked_path(path: str | bytes) -> str:
    path = os.fsdecode(path)
    name = redacted(path)
    if os.path.isdir(path):
        raise VideoReadError(f"{name}: a folder, not a video file.")
    if not os.path.exists(path):
        raise VideoReadError(f"{name}: no such file.")
    if not os.path.isfile(path):
        raise VideoReadError(f"{name}: a pipe or device, which may never end; pass it as an open binary file.")
    if os.path.getsize(path) == 0:
        raise VideoReadError(f"{name}: empty (0 bytes).")
    return os.path.abspath(path)


def is_one_video(videos: Any) -> bool:
    """Whether this is a single video, not a collection of them. A list of pictures is one video.

    Raises:
        ValueError: it is neither: None, a number, a single picture, a table.
    """
    if isinstance(videos, (str, bytes, bytearray, memoryview, os.PathLike, Mapping)):
        return True
    if any(hasattr(videos, name) for name in ("read", "read_at", "get_frames_played_at")):
        return True  # an open file, reader or decoder
    if isinstance(videos, (list, tuple)):
        first = videos[0] if videos else None
        return type(first).__module__.startswith("PIL.") or getattr(first, "ndim", 0) == 3
    kind = type(videos).__name__
    shape = getattr(videos, "shape", None)
    if shape is None:
        if hasattr(videos, "__iter__") or hasattr(videos, "__getitem__"):
            return False
        raise ValueError(f"{kind}: neither a video nor a collection of videos.")
    numbers = isinstance(videos, torch.Tensor) or getattr(getattr(videos, "dtype", None), "kind", "O") in "biufc"
    if len(shape) in (4, 5) or (len(shape) == 1 and not numbers):
        return len(shape) == 4  # else a batch, or a column of anything
    hint = "; pass one of its columns" if len(shape) == 2 and not numbers else ""
    raise ValueError(f"{kind} of shape {tuple(shape)}: neither a video nor a collection of videos{hint}.")


def as_frames(source: Any) -> torch.Tensor | None:
    """Frames `[T, H, W, 3]` uint8 out of an array, tensor or list of pictures; None for anything else.

    Accepted: `[T, H, W, 3]` or `[T, 3, H, W]`, uint8 or float in 0..1; a list of PIL pictures or of such arrays
    without the leading axis.

    Raises:
        VideoReadError: the shape, type or range is another, the frames differ in size, or they are too large.
    """
    name = source_name(source)
    try:
        if isinstance(source, (list, tuple)):
            source = _stacked(source, name)
        if isinstance(source, np.ndarray):
            source = _tensor(source, name)
        if not isinstance(source, torch.Tensor):
            return None
        return _as_uint8(_channels_last(_dense(source, name), name), name).contiguous()
    except VideoReadError:
        raise
    except (TypeError, ValueError, RuntimeError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise VideoReadError(f"{name}: no frames can be made of it ({error}).") from error


def _stacked(frames: Sequence, name: str) -> np.ndarray | torch.Tensor:
    if not frames:
        raise VideoReadError(f"{name}: no frames.")
    pictures = all(isinstance(frame, Image.Image) for frame in frames)
    if not pictures and not all(isinstance(frame, (np.ndarray, torch.Tensor)) for frame in frames):
        kinds = sorted({type(frame).__name__ for frame in frames})
        raise VideoReadError(f"{name}: frames must be PIL pictures or arrays, got {', '.join(kinds)}.")
    shapes = sorted({(frame.height, frame.width) if pictures else tuple(frame.shape) for frame in frames})
    if len(shapes) > 1:
        raise VideoReadError(f"{name}: frames differ in size: {shapes[:3]}.")
    # Before the pictures of files are decoded, and because one picture may stand in a list a million times.
    check_clip(name, len(frames), sorted(shapes[0])[-2:])
    if pictures:
        frames = [_picture(frame, name) for frame in frames]
    frames = [_tensor(frame, name) if isinstance(frame, np.ndarray) else _dense(frame, name) for frame in frames]
    types = sorted({str(frame.dtype) for frame in frames})
    if len(types) > 1:
        raise VideoReadError(f"{name}: frames differ in type: {', '.join(types)}.")
    return torch.stack(frames)


def _picture(picture: Image.Image, name: str) -> np.ndarray:
    """`[H, W, 3]` uint8, or float where the picture's gray levels are."""
    if picture.mode.startswith("I"):
        raise VideoReadError(
            f"{name}: pictures of more than 8 bits (mode {picture.mode}); scale them to 0..255 first."
        )
    if picture.mode == "F":
        return np.repeat(np.asarray(picture)[..., None], 3, axis=-1)
    return np.array(picture.convert("RGB"))


def _tensor(array: np.ndarray, name: str) -> torch.Tensor:
    if array.dtype.kind not in "uif" or array.dtype.itemsize > 8:
        raise VideoReadError(f"{name}: frames must be uint8 or float in 0..1, got dtype {array.dtype}.")
    if np.ma.is_masked(array):
        raise VideoReadError(f"{name}: masked frames; use .filled() first.")
    _check_views(array.shape, array.strides, array.itemsize, name)
    # Of whatever byte order the array was.
    return torch.from_numpy(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")))


def _dense(tensor: torch.Tensor, name: str) -> torch.Tensor:
    """`tensor` on the CPU, if its values are plainly there."""
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_nested:
        kind = next((kind for kind in ("meta", "quantized", "nested") if getattr(tensor, f"is_{kind}")), tensor.layout)
        raise VideoReadError(f"{name}: frames must be a dense tensor with values, got one that is {kind}.")
    _check_views(tensor.shape, [step * tensor.element_size() for step in tensor.stride()], tensor.element_size(), name)
    return tensor.detach().cpu()


def _check_views(shape: Sequence[int], strides: Sequence[int], size: int, name: str) -> None:
    """Hold an array that repeats its memory to what a copy of it would take; others have that memory already."""
    span = size + sum((count - 1) * abs(step) for count, step in zip(shape, strides, strict=True))
    if span < size * math.prod(shape) and len(shape) > 2:
        check_clip(name, math.prod(shape) // 3, (1, 1))


def _channels_last(frames: torch.Tensor, name: str) -> torch.Tensor:
    if frames.ndim == 4 and frames.shape[-1] == 3:
        pass
    elif frames.ndim == 4 and frames.shape[1] == 3:
        frames = frames.permute(0, 2, 3, 1)
    else:
        raise VideoReadError(f"{name}: expected [T, H, W, 3] or [T, 3, H, W], got {list(frames.shape)}.")
    if 0 in frames.shape:
        raise VideoReadError(f"{name}: no frames or no pixels in {list(frames.shape)}.")
    check_size(name, frames.shape[2], frames.shape[1])
    return frames


def _as_uint8(frames: torch.Tensor, name: str) -> torch.Tensor:
    if frames.dtype == torch.uint8:
        return frames
    if not frames.is_floating_point():
        raise VideoReadError(f"{name}: frames must be uint8 or float in 0..1, got {frames.dtype}.")
    frames = frames.float()
    if not bool(torch.isfinite(frames).all()) or float(frames.min()) < -1e-3 or float(frames.max()) > 1 + 1e-3:
        raise VideoReadError(
            f"{name}: float frames must lie in 0..1; pass uint8, or already normalized values as pixel values."
        )
    return frames.clamp(0, 1).mul(255).round().to(torch.uint8)


__all__ = [
    "MediaSource",
    "VideoReadError",
    "VideoReadWarning",
    "as_frames",
    "check_clip",
    "check_size",
    "is_one_video",
]
__all__ += ["is_url", "media_source", "source_name"]
