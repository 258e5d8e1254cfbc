"""When which label happens: segments of videos, their files, pictures and live sources."""

from __future__ import annotations

from hf_zsar.lazy import lazy_names


_NAMES = {"SegmentOptions": "finding", "find_segments": "finding"}

__all__ = sorted(_NAMES)

__getattr__, __dir__ = lazy_names(__name__, _NAMES)
