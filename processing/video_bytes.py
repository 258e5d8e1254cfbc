"""The bytes of a video, read out of turn; and a video opened a second time."""

from __future__ import annotations

import io
import os
from typing import Any

from .video_sources import MediaSource


def again(source: MediaSource) -> MediaSource | None:
    """The same video to be opened beside this one; None where that is impossible."""
    if source.path is not None:
        return MediaSource(source.name, path=source.path)
    if source.data is not None:
        return MediaSource(source.name, file=io.BytesIO(source.data), data=source.data)
    return None


def read_bytes(source: MediaSource, place: int, size: int) -> bytes:
    """Up to `size` bytes from `place` on, counted from the end where negative. A file object stays where it is.

    Raises:
        OSError, ValueError: the file cannot be read.
    """
    if source.path is not None:
        with open(source.path, "rb") as file:
            return _read_at(file, place, size)
    here = source.file.tell()
    try:
        return _read_at(source.file, place, size)
    finally:
        source.file.seek(here)


def _read_at(file: Any, place: int, size: int) -> bytes:
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end + place) if place < 0 else place)
    return file.read(size)
