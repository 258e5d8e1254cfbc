"""The formats by name, and reading and writing their files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hf_zsar.files import write_text
from hf_zsar.processing.text_files import read_text

from . import formats_json, formats_text, formats_xml
from .annotations import Format, VideoSegments


_JSON, _XML, _TEXT = formats_json, formats_xml, formats_text
FORMATS: dict[str, Format] = {
    "activitynet": Format(".json", True, _JSON.write_activitynet, _JSON.read_activitynet, "results or database"),
    "label-studio": Format(".json", True, _JSON.write_label_studio, _JSON.read_label_studio, "tasks to import"),
    "fiftyone": Format(".json", True, _JSON.write_fiftyone, _JSON.read_fiftyone, "temporal detections"),
    "manifest": Format(".json", True, _JSON.write_manifest, _JSON.read_manifest_segments, "to train and evaluate"),
    "csv": Format(".csv", True, _TEXT.write_csv, _TEXT.read_csv, "a row for each segment"),
    "cvat": Format(".xml", False, _XML.write_cvat, _XML.read_cvat, "CVAT for video 1.1"),
    "elan": Format(".eaf", False, _XML.write_elan, _XML.read_elan, "a tier for each label"),
    "vtt": Format(".vtt", False, _TEXT.write_vtt, _TEXT.read_vtt, "WebVTT"),
    "srt": Format(".srt", False, _TEXT.write_srt, _TEXT.read_srt, "SubRip"),
}


def named(format: str) -> Format:
    """
    Raises:
        ValueError: no such format, naming those that there are.
    """
    if format not in FORMATS:
        raise ValueError(f"There is no format {format!r}. Available: {', '.join(FORMATS)}.")
    return FORMATS[format]


def format_of(path: str | os.PathLike) -> str | None:
    """The format that a suffix belongs to; `None` where that does not say, as for `.json`."""
    suffix = Path(path).suffix.lower()
    names = [name for name, each in FORMATS.items() if each.suffix == suffix]
    return names[0] if len(names) == 1 else None


def write_segments(videos: Sequence[VideoSegments], path: str | os.PathLike, format: str | None = None) -> None:
    """Write segments for a tool, whole or not at all.

    Args:
        format: of [`FORMATS`]; default: what the suffix of `path` says.

    Raises:
        ValueError: no such format, several videos in a file that holds one, or no frame rate where frames are counted.
    """
    chosen = named(format or format_of(path) or f"of {Path(path).name}")
    if not chosen.many and len(videos) != 1:
        raise ValueError(f"A {chosen.suffix} file holds one video, there are {len(videos)}.")
    write_text(path, chosen.write(videos))


def read_segments(path: str | os.PathLike, format: str | None = None, fps: float | None = None) -> list[VideoSegments]:
    """The segments in a file of a tool.

    Args:
        format: of [`FORMATS`]; default: what the suffix says, or the layout of a JSON file.
        fps: of the videos, for formats that count frames.

    Raises:
        OSError: it cannot be opened.
        TextFileError: not in that format; the message names the place.
    """
    text, name = read_text(path), os.fspath(path)
    chosen = named(format or format_of(path) or _layout(text))
    found = chosen.read(text, name, fps)
    return [replace(each, video=Path(name).stem) if each.video == name else each for each in found]


def _layout(text: str) -> str:
    """Which of the JSON formats a text is in, by the keys that no other has."""
    if text.lstrip().startswith("["):
        return "label-studio"
    marks = {"activitynet": ('"database"', '"results"'), "manifest": ('"clips"',), "fiftyone": ('"labels"',)}
    return next((name for name, keys in marks.items() if any(key in text for key in keys)), "activitynet")
