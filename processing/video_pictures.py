"""Containers opened without harm, and pictures as a viewer sees them: what every reader of files needs (PyAV)."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import Any

import av
import numpy as np

from .limits import limits
from .video_sources import MediaSource, VideoReadError


# Containers whose reader never opens another file or address, as those of playlists (HLS, DASH, concat) do: a hostile
# file must not make this process read or request anything.
FORMATS = (
    "mov,mp4,3gp,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,asf,gif,apng,ogg,mxf,nut,rm,wtv,dv,mjpeg,ivf,obu,"
    "h261,h263,h264,hevc,vc1,av1,jpeg_pipe,png_pipe,webp_pipe,yuv4mpegpipe"
)
# What PyAV raises at broken files; a stream list that does not fit its file gives an IndexError.
READ_ERRORS = (av.FFmpegError, OSError, ValueError, IndexError, OverflowError)


def open_container(source: MediaSource, options: dict[str, str] | None = None) -> Any:
    """An open container, whatever its name looks like.

    Raises:
        VideoReadError: not a video.
    """
    # `file:` forces the plain file protocol.
    target = f"file:{source.path}" if source.path is not None else source.file
    allowed = {"format_whitelist": FORMATS}
    if source.path is not None:
        allowed["protocol_whitelist"] = "file"
    try:
        return av.open(target, options=options or {}, container_options=allowed, metadata_errors="ignore")
    except READ_ERRORS as error:
        raise VideoReadError(f"{source.name}: not a readable video ({reason(error)}).") from error


def most_pixels() -> dict[str, str]:
    """FFmpeg's option that refuses larger pictures before it allocates them; it compares with padding."""
    return {"max_pixels": str(limits().picture_pixels * 17 // 16)}


def reason(error: BaseException) -> str:
    """FFmpeg's words for an error, without the path that PyAV appends."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def square_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height with square pixels; no side shrinks.

    Pixel aspect ratios within 1 % of square come from rounding and are left alone; beyond 16 they are noise.
    """
    if not aspect or aspect <= 0 or abs(math.log(aspect)) < 0.01 or not Fraction(1, 16) <= aspect <= 16:
        return width, height
    wider, higher = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    most = limits()
    fits = wider * higher <= most.picture_pixels and max(wider, higher) <= most.picture_ratio * min(wider, higher)
    return (wider, higher) if fits else (width, height)


def orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """How the display matrix turns the picture: rows and columns swapped, then mirrored left-right, top-bottom."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, False, False
    # A point (x, y) goes to (a x + c y, b x + d y); in multiples of 90 degrees either a, d or b, c are zero.
    a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, a < 0, d < 0
    return True, c < 0, b < 0


def oriented(picture: np.ndarray, swapped: bool, mirrored: bool, flipped: bool) -> np.ndarray:
    """`picture` `[H, W, 3]` after `orientation`."""
    if swapped:
        picture = picture.transpose(1, 0, 2)
    if mirrored:
        picture = picture[:, ::-1]
    return picture[::-1] if flipped else picture
