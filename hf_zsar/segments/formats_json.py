"""ActivityNet's results and annotations, Label Studio's tasks, FiftyOne's temporal detections, and our manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from hf_zsar.processing.text_files import TextFileError, parse_json

from .annotations import VideoSegments, at, number, segment


# Names of Label Studio's tags, as in its own template.
TAG, OBJECT = "timelineLabels", "video"


def stem(video: str) -> str:
    """The id of a video: its file name without the suffix."""
    return PurePath(video.replace("\\", "/")).stem


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def write_activitynet(videos: Sequence[VideoSegments]) -> str:
    """A submission, `{"results"}`, where segments have scores; else annotations, `{"database"}`."""
    scored = any("score" in each for video in videos for each in video.segments)
    rows = {}
    for video in videos:
        listed = [
            {**({"score": each.get("score", 1.0)} if scored else {}), "label": each["label"], "segment": _span(each)}
            for each in video.segments
        ]
        rows[stem(video.video)] = listed
    if scored:
        return _dump({"version": "VERSION 1.3", "results": rows, "external_data": {}})
    database = {
        stem(video.video): {"duration": video.duration, "subset": "validation", "annotations": rows[stem(video.video)]}
        for video in videos
    }
    return _dump({"version": "VERSION 1.3", "database": database, "taxonomy": []})


def _span(each: Mapping[str, Any]) -> list[float]:
    return [each["start"], each["end"]]


def read_activitynet(text: str, name: str, fps: float | None = None) -> list[VideoSegments]:
    """Both of its layouts."""
    return [video for _, video in activitynet_subsets(text, name)]


def activitynet_subsets(text: str, name: str) -> list[tuple[str | None, VideoSegments]]:
    """The subset (`training`, `validation`, `testing`, if it says) and the segments of each video.

    Raises:
        TextFileError: neither layout.
    """
    content = at(parse_json(text, name), dict, name, "the file")
    key = next((key for key in ("database", "results") if isinstance(content.get(key), dict)), None)
    if key is None:
        raise TextFileError(f"{name}: expected ActivityNet's 'database' or 'results'.")
    found = []
    for video, entry in content[key].items():
        where = f"{name}, video {video!r}"
        facts = at(entry, dict, where, "its entry") if key == "database" else {}
        rows = at(facts.get("annotations", []) if key == "database" else entry, list, where, "its segments")
        segments = tuple(_activitynet_segment(where, row) for row in rows)
        duration = facts.get("duration")
        duration = None if duration is None else number(where, "duration", duration)
        found.append((facts.get("subset"), VideoSegments(video, segments, duration)))
    return found


def _activitynet_segment(where: str, row: Any) -> dict[str, Any]:
    span = at(at(row, dict, where, "a segment").get("segment"), list, where, "'segment'")
    if len(span) != 2:
        raise TextFileError(f"{where}: 'segment' must hold two times, got {len(span)}.")
    start, end = span
    return segment(where, row.get("label"), start, end, row.get("score"))


def write_label_studio(videos: Sequence[VideoSegments]) -> str:
    """Tasks to import, whose predictions an annotator corrects; frames count from 1, and the last one is meant, too.

    The project's labels are `<TimelineLabels name="timelineLabels" toName="video">`, its video is `$video`.
    """
    return _dump([_task(video) for video in videos])


def _task(video: VideoSegments) -> dict[str, Any]:
    rate = video.rate("Label Studio")
    result = []
    for place, each in enumerate(video.segments):
        first = round(each["start"] * rate) + 1
        span = {"start": first, "end": max(first, round(each["end"] * rate))}
        value = {"ranges": [span], "timelinelabels": [each["label"]]}
        region = {"id": f"s{place}", "from_name": TAG, "to_name": OBJECT, "type": "timelinelabels", "value": value}
        result.append({**region, **({"score": each["score"]} if "score" in each else {})})
    data = {"video": video.video, "fps": rate, "duration": video.duration}
    return {"data": data, "predictions": [{"model_version": "hf_zsar", "result": result}]}


def read_label_studio(text: str, name: str, fps: float | None = None) -> list[VideoSegments]:
    """An export or what [`write_label_studio`] wrote; annotations of people, where there are any, else predictions."""
    found = []
    for place, task in enumerate(at(parse_json(text, name), list, name, "the file")):
        where = f"{name}, task {place + 1}"
        data = at(at(task, dict, where, "a task").get("data"), dict, where, "'data'")
        video = data.get("video") or next((each for each in data.values() if isinstance(each, str)), None)
        video = at(video, str, where, "'video'")
        rate = fps if data.get("fps") is None else number(where, "fps", data["fps"])
        if rate is None or rate <= 0:
            raise TextFileError(f"{where}: Label Studio counts frames: say the frame rate with fps.")
        groups = task.get("annotations") or task.get("predictions") or []
        rows = [row for group in at(groups, list, where, "'annotations'") for row in _results(group, where)]
        segments = tuple(each for row in rows for each in _timeline(row, where, rate))
        duration = None if data.get("duration") is None else number(where, "duration", data["duration"])
        found.append(VideoSegments(video, segments, duration, rate))
    return found


def _results(group: Any, where: str) -> list[Any]:
    return at(at(group, dict, where, "an annotation").get("result", []), list, where, "'result'")


def _timeline(row: Any, where: str, rate: float) -> list[dict[str, Any]]:
    if at(row, dict, where, "a region").get("type") != "timelinelabels":
        return []  # boxes, choices
    value = at(row.get("value"), dict, where, "'value'")
    labels = at(value.get("timelinelabels", []), list, where, "'timelinelabels'")
    found = []
    for span in at(value.get("ranges", []), list, where, "'ranges'"):
        start, end = (number(where, key, at(span, dict, where, "a range").get(key)) for key in ("start", "end"))
        for label in labels:
            found.append(segment(where, label, max(0.0, start - 1) / rate, end / rate, row.get("score")))
    return found


def write_fiftyone(videos: Sequence[VideoSegments]) -> str:
    """`labels.json` of a FiftyOneTemporalDetectionDataset, in seconds; the videos belong beside it, in `data/`."""
    labels = {}
    for video in videos:
        rows = [{"label": each["label"], "timestamps": _span(each), **_confidence(each)} for each in video.segments]
        labels[stem(video.video)] = rows or None
    return _dump({"labels": labels})


def _confidence(each: Mapping[str, Any]) -> dict[str, Any]:
    return {"confidence": each["score"]} if "score" in each else {}


def read_fiftyone(text: str, name: str, fps: float | None = None) -> list[VideoSegments]:
    """Times in seconds, or frames (`support`, from 1), which need `fps`; labels by name or by place in `classes`."""
    content = at(parse_json(text, name), dict, name, "the file")
    classes = at(content.get("classes") or [], list, name, "'classes'")
    found = []
    for video, rows in at(content.get("labels"), dict, name, "'labels'").items():
        where = f"{name}, video {video!r}"
        listed = at(rows or [], list, where, "its segments")
        found.append(VideoSegments(video, tuple(_detection(row, where, classes, fps) for row in listed), fps=fps))
    return found


def _detection(row: Any, where: str, classes: Sequence[Any], fps: float | None) -> dict[str, Any]:
    label = at(row, dict, where, "a segment").get("label")
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(classes):
        label = classes[label]
    span = row.get("timestamps")
    if span is None and row.get("support") is not None:
        if not fps:
            raise TextFileError(f"{where}: it counts frames: say the frame rate with fps.")
        first, last = _two(row["support"], where)
        span = [max(0.0, first - 1) / fps, last / fps]
    start, end = _two(span, where)
    return segment(where, label, start, end, row.get("confidence"))


def _two(span: Any, where: str) -> list[float]:
    if not isinstance(span, list) or len(span) != 2:
        raise TextFileError(f"{where}: a segment needs two times, got {str(span)[:40]!r}.")
    return [number(where, "a time", each) for each in span]


def write_manifest(videos: Sequence[VideoSegments]) -> str:
    """Our own manifest: its clips have their labels, as training and evaluation take them, and their segments."""
    clips = []
    for video in videos:
        labels = list(dict.fromkeys(each["label"] for each in video.segments))
        if labels:  # a clip without a label is no clip
            clips.append({"file": video.video, "labels": labels, "segments": [dict(each) for each in video.segments]})
    return _dump({"labels": sorted({label for clip in clips for label in clip["labels"]}), "clips": clips})


def read_manifest_segments(text: str, name: str, fps: float | None = None) -> list[VideoSegments]:
    """The clips of a manifest that have `segments`."""
    found = []
    content = at(parse_json(text, name), dict, name, "the file")
    for place, clip in enumerate(at(content.get("clips"), list, name, "'clips'"), start=1):
        where = f"{name}, clip {place}"
        file = at(at(clip, dict, where, "a clip").get("file"), str, where, "'file'")
        rows = [at(row, dict, where, "a segment") for row in at(clip.get("segments", []), list, where, "'segments'")]
        cut = [segment(where, row.get("label"), row.get("start"), row.get("end"), row.get("score")) for row in rows]
        found.append(VideoSegments(file, tuple(cut)))
    return found
