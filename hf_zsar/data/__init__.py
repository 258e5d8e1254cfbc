"""Class lists and split lists as packaged resources, and data sets in the layouts that the field uses."""

from __future__ import annotations

from .packaged import (
    available_class_lists,
    available_protocol_files,
    load_class_list,
    load_class_names,
    load_protocol_file,
    resource_sha256,
)


__all__ = [
    "available_class_lists",
    "available_protocol_files",
    "load_class_list",
    "load_class_names",
    "load_protocol_file",
    "resource_sha256",
]
