"""Subtitles, which any player shows, and tables."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Sequence

from hf_zsar.clips.tables import lines_of, parse_table
from hf_zsar.processing.text_files import TextFileError

from .annotations import VideoSegments, number, segment


_TIME = r"(?:(\d{1,4}):)?([0-5]?\d):([0-5]\d)[.,](\d{3})"
_CUE = re.compile(rf"\s*{_TIME}\s+-->\s+{_TIME}(?:\s.*)?")
COLUMNS = ("video", "label", "start", "end", "score")


def _clock(seconds: float, mark: str) -> str:
    total = round(1000 * seconds)
    return f"{total // 3_600_000:02d}:{total // 60_000 % 60:02d}:{total // 1000 % 60:02d}{mark}{total % 1000:03d}"


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, thousandths = (int(part or 0) for part in parts)
    return 3600 * hours + 60 * minutes + seconds + thousandths / 1000


def _cues(video: VideoSegments, mark: str, escape: bool) -> list[str]:
    cues = []
    for place, each in enumerate(video.segments, start=1):
        label = " ".join(each["label"].split())
        text = html.escape(label, quote=False) if escape else label
        cues.append(f"{place}\n{_clock(each['start'], mark)} --> {_clock(each['end'], mark)}\n{text}\n")
    return cues


def write_vtt(videos: Sequence[VideoSegments]) -> str:
    """WebVTT: a cue for each segment."""
    (video,) = videos
    return "\n".join(["WEBVTT\n", *_cues(video, ".", escape=True)])


def write_srt(videos: Sequence[VideoSegments]) -> str:
    """SubRip: a cue for each segment."""
    (video,) = videos
    return "\n".join(_cues(video, ",", escape=False))


def read_vtt(text: str, name: str, fps: float | None = None) -> list[VideoSegments]:
    """The cues of WebVTT; tags and settings are left out."""
    if not text.startswith("WEBVTT"):
        raise TextFileError(f"{name} is not WebVTT: its first line must be WEBVTT.")
    return _read_cues(text, name, escaped=True)


def read_srt(text: str, name: str, fps: float | None = None) -> list[VideoSegments]:
    """The cues of SubRip."""
    return _read_cues(text, name, escaped=False)


def _read_cues(text: str, name: str, escaped: bool) -> list[VideoSegments]:
    lines = lines_of(text)
    found = []
    for place, line in enumerate(lines):
        if "-->" not in line:
            continue
        match = _CUE.fullmatch(line)
        if match is None:
            raise TextFileError(
                f"{name}, line {place + 1}: expected 00:00:00.000 --> 00:00:00.000, got {line[:40]!r}."
            )
        label = ""
        for following in lines[place + 1 :]:
            if not following.strip():
                break
            label = f"{label} {following.strip()}"
        label = html.unescape(re.sub(r"<[^<>]*>", "", label)) if escaped else label
        times = match.groups()
        found.append(segment(f"{name}, line {place + 1}", label, _seconds(times[:4]), _seconds(times[4:])))
    return [VideoSegments(name, tuple(found))]


def write_csv(videos: Sequence[VideoSegments]) -> str:
    """A row for each segment, times in seconds."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    for video in videos:
        for each in video.segments:
            times = [f"{each[name]:.3f}" for name in ("start", "end")]
            rows.writerow([video.video, each["label"], *times, each.get("score", "")])
    return out.getvalue()


def read_csv(text: str, name: str, fps: float | None = None) -> list[VideoSegments]:
    """Columns `video`, `label`, `start`, `end` and, if there is one, `score`, in any order."""
    columns, rows = parse_table(text, name)
    if missing := [column for column in COLUMNS[:4] if column not in columns]:
        raise TextFileError(f"{name} has no column {', '.join(map(repr, missing))}.")
    found: dict[str, list] = {}
    for line, row in rows:
        where = f"{name}, line {line}"
        score = number(where, "score", row["score"]) if row.get("score") else None
        cut = segment(where, row.get("label"), row.get("start"), row.get("end"), score)
        found.setdefault(row.get("video", ""), []).append(cut)
    return [VideoSegments(video, tuple(segments)) for video, segments in found.items()]
