"""What a video file is; folders, lists, layouts and data sets of them, their class lists and the frame cache."""

from __future__ import annotations

from hf_zsar.lazy import lazy_names


# public name -> module that defines it; loaded on first use
_NAMES = {
    "VideoDatasetError": "lists",
    "available_class_lists": "class_lists",
    "available_protocol_files": "class_lists",
    "build_frame_cache": "frame_cache",
    "few_shot": "datasets",
    "load_class_list": "class_lists",
    "load_class_names": "class_lists",
    "load_protocol_file": "class_lists",
    "load_video_dataset": "datasets",
    "resource_sha256": "class_lists",
    "with_classes": "datasets",
}

__all__ = list(_NAMES)

__getattr__, __dir__ = lazy_names(__name__, _NAMES)
