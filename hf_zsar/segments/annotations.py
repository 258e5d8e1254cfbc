"""Segments of videos as annotation tools keep them: one value for all their formats, and what all readers check."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from hf_zsar.processing.limits import hold_to
from hf_zsar.processing.text_files import TextFileError


@dataclass(frozen=True)
class VideoSegments:
    """The segments of one video.

    Args:
        video: its file name, address or id.
        segments: each `{"label", "start", "end"}` in seconds, and `"score"` where there is one.
        duration, fps, width, height: of the video, where they are known.
    """

    video: str
    segments: tuple[Mapping[str, Any], ...] = ()
    duration: float | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None

    def rate(self, format: str) -> float:
        """Frames a second.

        Raises:
            ValueError: nobody knows.
        """
        if self.fps is None:
            raise ValueError(f"{self.video}: {format} counts frames, whose rate is not known: say it with fps.")
        return self.fps


@dataclass(frozen=True)
class Format:
    """How a tool keeps segments.

    Args:
        suffix: of its files.
        many: whether a file holds several videos.
        write: videos -> text.
        read: text, its name for messages, and the frame rate if the caller knows it -> videos. Raises `TextFileError`.
        title: what `--help` says.
    """

    suffix: str
    many: bool
    write: Callable[[Sequence[VideoSegments]], str]
    read: Callable[[str, str, float | None], list[VideoSegments]]
    title: str


def segment(where: str, label: Any, start: Any, end: Any, score: Any = None) -> dict[str, Any]:
    """A segment that a file names, checked.

    Args:
        where: file and place in it, for messages.

    Raises:
        TextFileError: no label, no times, or times that are none.
    """
    if not isinstance(label, str) or not label.strip():
        raise TextFileError(f"{where}: a segment needs a label, got {label!r}.")
    hold_to("text_characters", len(label), f"{where}: characters of a label", TextFileError)
    numbers = [number(where, name, value) for name, value in (("start", start), ("end", end))]
    if not 0 <= numbers[0] <= numbers[1]:
        raise TextFileError(f"{where}: a segment from {numbers[0]:g} to {numbers[1]:g} s is none.")
    found = {"label": label.strip(), "start": numbers[0], "end": numbers[1]}
    return found if score is None else {**found, "score": number(where, "score", score)}


def number(where: str, name: str, value: Any) -> float:
    """
    Raises:
        TextFileError: not a finite number.
    """
    try:
        if isinstance(value, bool):
            raise ValueError("a truth value")
        found = float(value)
    except (TypeError, ValueError) as error:
        raise TextFileError(f"{where}: {name} must be a number, got {str(value)[:40]!r}.") from error
    if not math.isfinite(found):
        raise TextFileError(f"{where}: {name} must be a finite number, got {found}.")
    return found


def at(value: Any, kind: type, where: str, what: str) -> Any:
    """`value` if it is of a kind, such as a list.

    Raises:
        TextFileError: it is not.
    """
    if not isinstance(value, kind):
        raise TextFileError(f"{where}: {what} must be a {kind.__name__}, got {type(value).__name__}.")
    return value


def parse_xml(text: str, name: str, root: str) -> ElementTree.Element:
    """The root of an XML text without a document type: so it has no entities but the five of XML.

    Raises:
        TextFileError: not XML, too large, another root, or a document type, whose entities may stand for gigabytes.
    """
    hold_to("xml_bytes", len(text), f"{name}: an XML text of so many characters", TextFileError)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise TextFileError(f"{name}: it has a document type, which no annotation tool writes: remove <!DOCTYPE ...>.")
    try:
        found = ElementTree.fromstring(text)  # noqa: S314 - no entities
    except ElementTree.ParseError as error:
        raise TextFileError(f"{name} is not XML: {error}.") from error
    if found.tag != root:
        raise TextFileError(f"{name}: expected <{root}>, got <{str(found.tag)[:40]}>.")
    return found


def write_xml(root: ElementTree.Element) -> str:
    """The text of an XML file."""
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
