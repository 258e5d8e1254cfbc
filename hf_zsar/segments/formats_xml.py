"""CVAT's tracks and ELAN's tiers, which know no scores."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from hf_zsar.processing.text_files import TextFileError

from .annotations import VideoSegments, number, parse_xml, segment, write_xml


ELAN_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
XSI = "http://www.w3.org/2001/XMLSchema-instance"


def write_cvat(videos: Sequence[VideoSegments]) -> str:
    """CVAT for video 1.1: a track for each segment, a box around the whole picture as long as it lasts."""
    (video,) = videos
    rate, frame = video.rate("CVAT"), (video.width or 1, video.height or 1)
    root = ElementTree.Element("annotations")
    _child(root, "version", "1.1")
    task = _child(_child(root, "meta"), "task")
    _child(task, "mode", "interpolation")
    _child(task, "source", video.video)
    _child(task, "fps", f"{rate:.6f}")
    labels = _child(task, "labels")
    for name in dict.fromkeys(each["label"] for each in video.segments):
        _child(_child(labels, "label"), "name", name)
    for place, each in enumerate(video.segments):
        track = _child(root, "track", id=str(place), label=each["label"], source="auto")
        first = round(each["start"] * rate)
        for number_of, outside in ((first, "0"), (max(first + 1, round(each["end"] * rate)), "1")):
            corners = dict(xtl="0.00", ytl="0.00", xbr=f"{frame[0]:.2f}", ybr=f"{frame[1]:.2f}")
            flags = dict(frame=str(number_of), keyframe="1", outside=outside, occluded="0", z_order="0")
            _child(track, "box", **flags, **corners)
    return write_xml(root)


def read_cvat(text: str, name: str, fps: float | None = None) -> list[VideoSegments]:
    """Tracks of any shape: from the first frame in which one is there to the frame in which it is not any more."""
    root = parse_xml(text, name, "annotations")
    rate = fps if root.findtext("meta/task/fps") is None else number(name, "fps", root.findtext("meta/task/fps"))
    if rate is None or rate <= 0:
        raise TextFileError(f"{name}: CVAT counts frames: say the frame rate with fps.")
    source = root.findtext("meta/task/source") or root.findtext("meta/source") or name
    found = []
    for place, track in enumerate(root.iter("track"), start=1):
        where = f"{name}, track {place}"
        begun: float | None = None
        last = 0.0
        for shape in track:
            last = number(where, "frame", shape.get("frame"))
            if begun is None and shape.get("outside") != "1":
                begun = last
            elif begun is not None and shape.get("outside") == "1":
                found.append(segment(where, track.get("label"), begun / rate, last / rate))
                begun = None
        if begun is not None:  # it ends with the video, or with its last shape
            found.append(segment(where, track.get("label"), begun / rate, (last + 1) / rate))
    return [VideoSegments(source, tuple(found), fps=rate)]


def write_elan(videos: Sequence[VideoSegments]) -> str:
    """An `.eaf` document with a tier for each label, since annotations of one tier may not overlap."""
    (video,) = videos
    ElementTree.register_namespace("xsi", XSI)
    about = dict(AUTHOR="hf_zsar", DATE="1970-01-01T00:00:00+00:00", FORMAT="3.0", VERSION="3.0")
    root = ElementTree.Element("ANNOTATION_DOCUMENT", {**about, f"{{{XSI}}}noNamespaceSchemaLocation": ELAN_SCHEMA})
    header = _child(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    _child(header, "MEDIA_DESCRIPTOR", MEDIA_URL=video.video, MIME_TYPE="video/*")
    order = _child(root, "TIME_ORDER")
    tiers: dict[str, ElementTree.Element] = {}
    for place, each in enumerate(video.segments):
        slots = [f"ts{2 * place + 1}", f"ts{2 * place + 2}"]
        for slot, time in zip(slots, (each["start"], each["end"]), strict=True):
            _child(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(round(1000 * time)))
        if (label := each["label"]) not in tiers:
            tiers[label] = _child(root, "TIER", TIER_ID=label, LINGUISTIC_TYPE_REF="default-lt")
        holder = _child(tiers[label], "ANNOTATION")
        refs = dict(ANNOTATION_ID=f"a{place + 1}", TIME_SLOT_REF1=slots[0], TIME_SLOT_REF2=slots[1])
        _child(_child(holder, "ALIGNABLE_ANNOTATION", **refs), "ANNOTATION_VALUE", label)
    kind = dict(LINGUISTIC_TYPE_ID="default-lt", TIME_ALIGNABLE="true", GRAPHIC_REFERENCES="false")
    _child(root, "LINGUISTIC_TYPE", **kind)
    return write_xml(root)


def read_elan(text: str, name: str, fps: float | None = None) -> list[VideoSegments]:
    """Annotations with times of their own; the label is the value, or the tier's name where that is empty."""
    root = parse_xml(text, name, "ANNOTATION_DOCUMENT")
    times = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    media = next((each.get("MEDIA_URL") for each in root.iter("MEDIA_DESCRIPTOR")), None)
    found = []
    for tier in root.iter("TIER"):
        for each in tier.iter("ALIGNABLE_ANNOTATION"):
            where = f"{name}, annotation {each.get('ANNOTATION_ID')}"
            slots = [times.get(each.get(f"TIME_SLOT_REF{side}")) for side in (1, 2)]
            start, end = (number(where, "a time slot", slot) / 1000 for slot in slots)
            label = (each.findtext("ANNOTATION_VALUE") or "").strip() or tier.get("TIER_ID")
            found.append(segment(where, label, start, end))
    return [VideoSegments((media or name).removeprefix("file://"), tuple(found))]


def _child(parent: ElementTree.Element, tag: str, text: str | None = None, **attributes: str) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag, attributes)
    child.text = text
    return child
