"""What a video may come from: every input form is reduced to one [`MediaSource`] or to an array of frames.

Paths are always opened through the operating system's file protocol, so that a string such as `concat:...` or
`rtsp://...` is a file name that does not exist and never a request.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from .limits import hold_to


URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


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

    def again(self) -> MediaSource | None:
        """The same video to be opened beside this one; None where that is impossible."""
        if self.path is not None:
            return MediaSource(self.name, path=self.path)
        if self.data is not None:
            return MediaSource(self.name, file=io.BytesIO(self.data), data=self.data)
        return None

    def read(self, place: int, size: int) -> bytes:
        """Up to `size` bytes from `place` on, counted from the end where negative. A file object stays where it is.

        Raises:
            OSError, ValueError: the file cannot be read.
        """
        if self.path is not None:
            with open(self.path, "rb") as file:
                return _read_at(file, place, size)
        here = self.file.tell()
        try:
            return _read_at(self.file, place, size)
        finally:
            self.file.seek(here)

    def close(self) -> None:
        while self.on_close:
            self.on_close.pop()()


def _read_at(file: Any, place: int, size: int) -> bytes:
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end + place) if place < 0 else place)
    return file.read(size)


def check_size(name: str, width: int, height: int) -> None:
    """Refuse pictures that are too large or too long.

    Raises:
        VideoReadError: naming the video and the limit.
    """
    what = f"{name}: pictures of {width}x{height}"
    hold_to("picture_pixels", width * height, f"{what}, so many pixels", VideoReadError)
    ratio = max(width, height) / max(1, min(width, height))
    hold_to("picture_ratio", ratio, f"{what}, sides of such a ratio", VideoReadError)


def is_url(source: Any) -> bool:
    """Whether `source` is a string that starts like `scheme://`."""
    return isinstance(source, str) and URL.match(source) is not None


def source_name(source: Any) -> str:
    """How messages call a source: its path or URL, `bytes`, `array`, ..."""
    if isinstance(source, (str, os.PathLike)):
        # Names need not be UTF-8, messages must be.
        return os.fsdecode(source).encode("utf-8", "backslashreplace").decode()
    if isinstance(source, Mapping):
        return source_name(source.get("path") or b"")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "bytes"
    if isinstance(source, (np.ndarray, torch.Tensor)):
        return "array"
    if isinstance(source, (list, tuple)):
        return "list of frames"
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else f"{type(source).__name__} object"


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


def _from_mapping(source: Mapping) -> MediaSource:
    if source.get("bytes") is not None:
        inner = media_source(source["bytes"])
        inner.name = source_name(source)
        return inner
    if source.get("path"):
        return media_source(source["path"])
    raise VideoReadError(f"a mapping must hold `bytes` or `path`, got the keys {sorted(map(str, source))}.")


def _checked_path(path: str | bytes) -> str:
    path = os.fsdecode(path)
    if os.path.isdir(path):
        raise VideoReadError(f"{path}: a folder, not a video file.")
    if not os.path.exists(path):
        raise VideoReadError(f"{path}: no such file.")
    if not os.path.isfile(path):
        raise VideoReadError(f"{path}: a pipe or device, which may never end; pass it as an open binary file.")
    if os.path.getsize(path) == 0:
        raise VideoReadError(f"{path}: empty (0 bytes).")
    return os.path.abspath(path)


def as_frames(source: Any) -> torch.Tensor | None:
    """Frames `[T, H, W, 3]` uint8 out of an array, tensor or list of pictures; None for anything else.

    Accepted: `[T, H, W, 3]` or `[T, 3, H, W]`, uint8 or float in 0..1; a list of PIL pictures or of such arrays
    without the leading axis.

    Raises:
        VideoReadError: the shape, type or range is another, or the frames differ in size.
    """
    name = source_name(source)
    if isinstance(source, (list, tuple)):
        source = _stacked(source, name)
    if isinstance(source, np.ndarray):
        if source.dtype == object or source.dtype.kind not in "uif":
            raise VideoReadError(f"{name}: frames must be uint8 or float in 0..1, got dtype {source.dtype}.")
        source = torch.from_numpy(np.ascontiguousarray(source))
    if not isinstance(source, torch.Tensor):
        return None
    return _as_uint8(_channels_last(source.detach().cpu(), name), name).contiguous()


def _stacked(frames: Sequence, name: str) -> np.ndarray | torch.Tensor:
    if not frames:
        raise VideoReadError(f"{name}: no frames.")
    if all(isinstance(frame, Image.Image) for frame in frames):
        frames = [np.array(frame.convert("RGB")) for frame in frames]
    if not all(isinstance(frame, (np.ndarray, torch.Tensor)) for frame in frames):
        kinds = sorted({type(frame).__name__ for frame in frames})
        raise VideoReadError(f"{name}: frames must be PIL pictures or arrays, got {', '.join(kinds)}.")
    shapes = sorted({tuple(frame.shape) for frame in frames})
    if len(shapes) > 1:
        raise VideoReadError(f"{name}: frames differ in size: {shapes[:3]}.")
    return torch.stack([torch.as_tensor(frame) for frame in frames])


def _channels_last(frames: torch.Tensor, name: str) -> torch.Tensor:
    if frames.ndim == 4 and frames.shape[-1] == 3:
        pass
    elif frames.ndim == 4 and frames.shape[1] == 3:
        frames = frames.permute(0, 2, 3, 1)
    else:
        raise VideoReadError(f"{name}: expected [T, H, W, 3] or [T, 3, H, W], got {list(frames.shape)}.")
    if 0 in frames.shape:
        raise VideoReadError(f"{name}: no frames or no pixels in {list(frames.shape)}.")
    return frames


def _as_uint8(frames: torch.Tensor, name: str) -> torch.Tensor:
    if frames.dtype == torch.uint8:
        return frames
    if not frames.is_floating_point():
        raise VideoReadError(f"{name}: frames must be uint8 or float in 0..1, got {frames.dtype}.")
    frames = frames.float()
    if not bool(torch.isfinite(frames).all()) or float(frames.min()) < -1e-3 or float(frames.max()) > 1 + 1e-3:
        raise VideoReadError(
            f"{name}: float frames must lie in 0..1; pass uint8, or already normalised values as pixel values."
        )
    return frames.clamp(0, 1).mul(255).round().to(torch.uint8)


__all__ = ["MediaSource", "VideoReadError", "VideoReadWarning", "as_frames", "is_url", "media_source", "source_name"]
