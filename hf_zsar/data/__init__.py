"""Class lists and split lists as packaged resources, and data sets in the layouts that the field uses."""

from __future__ import annotations

from hf_zsar.lazy import lazy_names


# public name -> module that defines it; loaded on first use
_NAMES = {
    "VideoDatasetError": "video_datasets",
    "available_class_lists": "packaged",
    "available_protocol_files": "packaged",
    "build_frame_cache": "frame_cache",
    "few_shot": "video_datasets",
    "load_class_list": "packaged",
    "load_class_names": "packaged",
    "load_protocol_file": "packaged",
    "load_video_dataset": "video_datasets",
    "resource_sha256": "packaged",
    "with_classes": "video_datasets",
}

__all__ = list(_NAMES)

__getattr__, __dir__ = lazy_names(__name__, _NAMES)
