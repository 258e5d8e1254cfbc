"""When which label happens: segments of videos, their files, pictures and live sources."""

from __future__ import annotations

from hf_zsar.lazy import lazy_names


_NAMES = {
    "LiveSource": "sources",
    "Search": "finding",
    "SegmentOptions": "finding",
    "VideoSegments": "annotations",
    "find_segments": "finding",
    "live_source": "sources",
    "read_segments": "formats",
    "write_segments": "formats",
}

__all__ = sorted(_NAMES)

__getattr__, __dir__ = lazy_names(__name__, _NAMES)
