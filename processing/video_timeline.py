"""When a video's frames are shown: start, end, number and times, read from packets without decoding.

Short files are read through once, which counts every frame. Of long files only the beginning and the end are read;
the number and the times of the frames between follow later, when somebody asks.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np

from .limits import limits
from .video_bytes import read_bytes
from .video_clock import JOINABLE
from .video_container import MediaFile
from .video_packets import has_length_prefixes, opens_decoding, well_formed
from .video_seeking import sparse_access
from .video_sources import VideoReadError


# A file is long when it has more packets than this, or more bytes.
LONG_PACKETS = 3000
LONG_BYTES = 48 * 2**20
# How files begin whose readers stop where another one is joined to them, and in how many bytes that is looked for.
JOIN_MARKS = {
    "mov": b"ftyp",
    "matroska": b"\x1aE\xdf\xa3",
    "flv": b"FLV\x01",
    "asf": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    "yuv4mpegpipe": b"YUV4MPEG2",
    "nut": b"nut/multimedia",
}
JOIN_BYTES = 2**26
# Seconds without a new picture that are worth a word where they are most of the video.
STANDSTILL = 60


@dataclass
class Timeline:
    """Times in ticks of the stream's clock.

    Attributes:
        first: of the first frame shown.
        end: when the last frame shown ends.
        step: mean ticks between frames.
        count: number of frames; None when unknown.
        times: of every frame, ascending; None when the file was not read through.
    """

    first: int
    end: float
    step: float
    count: int | None
    times: np.ndarray | None = None

    @property
    def exact(self) -> bool:
        """Whether every frame was counted."""
        return self.times is not None

    def index_of(self, tick: int) -> int:
        """Number of the frame shown at `tick`: counted, or else worked out from the mean rate."""
        if self.times is not None:
            return max(0, int(np.searchsorted(self.times, tick, side="right")) - 1)
        return max(0, round((tick - self.first) / self.step))

    def cut(self, end: float) -> Timeline:
        """The timeline of a file of which nothing can be shown from `end` on."""
        times = None if self.times is None else self.times[self.times < end]
        count = None if times is None else len(times)
        return Timeline(self.first, end, self.step, count, times)


def read_timeline(media: MediaFile) -> Timeline:
    """The timeline of a seekable file; leaves the file somewhere in the middle.

    Raises:
        VideoReadError: no packets.
    """
    found = _from_avi_index(media) if media.format == "avi" else None
    # Only reading through shows whether parts were joined whose clocks start anew.
    if found is None and media.format not in JOINABLE and _is_long(media):
        found = _from_both_ends(media)
    return found or read_through(media)


def _is_long(media: MediaFile) -> bool:
    packets = max(len(media.index), media.stream.frames)
    return packets > LONG_PACKETS or media.container.size > LONG_BYTES


def read_through(media: MediaFile) -> Timeline:
    """The timeline from all packets. Damage that shows in them is noted.

    Raises:
        VideoReadError: no packets.
    """
    media.rewind()
    missing = _entries_beyond_the_end(media)
    survey = _Survey(media)
    for packet in media.packets():
        survey.add(packet)
    media.steady = not media.clock_jumps
    media.remark_jumps()
    _remark_joined(media)
    times = sorted(survey.times)
    if not times:
        raise VideoReadError(f"{media.name}: the video stream holds no data.")
    # A header may be a frame or two off without anything being lost.
    declared = media.stream.frames
    if missing or declared - survey.packets > max(2, declared // 100):
        held, promised = survey.packets, max(declared, survey.packets)
        media.note(f"the file ends early: it holds {held} frames and declares {promised}")
    elif not survey.sound:
        media.note("damaged packets")
    if not survey.opens:
        first = _first_shown(media, times[0])
        lost = sum(time < first for time in times)
        if lost:
            media.remark(f"the first {lost} frames cannot be decoded, the file starts between key frames")
        times = times[lost:] or [first]
    end = times[-1] + survey.last_length
    _remark_standstill(media, times)
    return Timeline(times[0], end, (end - times[0]) / len(times), len(times), np.array(times, dtype=np.int64))


class _Survey:
    """What the packets of a file say, one after the other."""

    def __init__(self, media: MediaFile) -> None:
        self.times: list[int] = []
        self.packets = 0
        self.last_length = 1.0
        self.opens = True
        self.sound = True
        self._media = media
        self._last: int | None = None
        self._prefixed = has_length_prefixes(media)

    def add(self, packet: av.Packet) -> None:
        if not self.packets:
            self.opens = opens_decoding(self._media, packet)
        self.packets += 1
        if packet.is_corrupt or (self._prefixed and not well_formed(self._media, packet)):
            self.sound = False
        if packet.is_discard:
            return
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None:
            time = self.times[-1] + self._media.frame_step if self.times else 0
        self.times.append(time)
        if self._last is None or time > self._last:
            self._last, self.last_length = time, self._media.length_of(packet)


def _entries_beyond_the_end(media: MediaFile) -> int:
    """How many frames the index of an mp4 or AVI places behind the end of the file."""
    size, entries = media.container.size, media.index
    if media.format not in ("mov", "avi") or size <= 0 or not len(entries):
        return 0
    return sum(entry.pos + entry.size > size for entry in entries)


def _remark_joined(media: MediaFile) -> None:
    """Tell of another video behind this one in the file, which FFmpeg does not read, or of a long rest without it."""
    size, kind = media.container.size, media.format
    rest = size - media.place
    if kind in ("mpegts", "mpeg"):
        joined = rest > size / 10 + 2048  # a few tables and packets of other streams may always follow
    else:
        mark = JOIN_MARKS.get(kind)
        joined = mark is not None and rest > 0 and mark in read_bytes(media.source, media.place, JOIN_BYTES)
    if joined:
        media.remark(f"the last {rest:,} of {size:,} bytes are not looked at: another video seems joined to this one")


def _remark_standstill(media: MediaFile, times: Sequence[int]) -> None:
    """Tell of a clock that stands still, and of one that jumps so far that most of the video is a single picture."""
    same = len(times) - len(set(times))
    if 10 * same > len(times):
        media.remark(f"{same} of {len(times)} frames have the time of another one, which is shown instead")
    base = media.time_base
    longest, at = max(((then - now, now) for now, then in itertools.pairwise(times)), default=(0, 0))
    if longest * base > STANDSTILL and 2 * longest > times[-1] - times[0]:
        start, length = float((at - times[0]) * base), float(longest * base)
        media.remark(f"no new picture comes for {length:,.0f} s, from {start:,.1f} s on, most of the video")


def _first_shown(media: MediaFile, default: int) -> int:
    """Time of the first frame that decodes, in a file that starts with something undecodable."""
    media.rewind()
    return next((time for time, _ in media.frames()), default)


def _from_avi_index(media: MediaFile) -> Timeline | None:
    """The timeline of an AVI from its index of all frames; None when that is not complete, frames are reordered, or
    another AVI is joined to it."""
    entries, declared = media.index, media.stream.frames
    if not len(entries) or not declared - 2 <= len(entries) <= declared or not sparse_access(media):
        return None
    end = entries[-1].pos + entries[-1].size
    if (
        not entries[0].is_keyframe
        or end > media.container.size
        or b"RIFF" in read_bytes(media.source, end, JOIN_BYTES)
    ):
        return None
    times = np.array([entry.timestamp for entry in entries if entry.size], dtype=np.int64)
    if not len(times) or (np.diff(times) <= 0).any():
        return None
    media.steady = True  # the clock of an AVI counts frames
    step = int(np.median(np.diff(times))) if len(times) > 1 else media.frame_step
    first, end = int(times[0]), int(times[-1]) + step
    return Timeline(first, end, (end - first) / len(times), len(times), times)


def _from_both_ends(media: MediaFile) -> Timeline | None:
    """The timeline from the first packets and from those behind the last key frame; None when that cannot be had."""
    if not sparse_access(media):
        return None
    entries = media.index
    if media.format in ("mov", "avi") and len(entries):
        last = entries[-1]
        if last.pos + last.size > media.container.size:
            return None
    first = _first_time(media)
    if first is None or not _seek_near_end(media):
        return None
    last_time: int | None = None
    end = 0.0
    for packet in media.packets():
        if packet.pts is None:
            return None
        if not packet.is_discard and (last_time is None or packet.pts > last_time):
            last_time, end = packet.pts, packet.pts + media.length_of(packet)
    # An index out of the file's order comes from a clock that starts anew, too long a time from one that jumps.
    places = [entry.pos for entry in entries] if media.format == "matroska" else []
    strange = media.clock_jumps or places != sorted(places)
    if media.damage or strange or last_time is None or last_time <= first:
        return None
    if (last_time - first) * media.time_base > limits().clock_gap:
        return None
    _remark_joined(media)
    count = None
    if media.format == "mov" and len(entries) == media.stream.frames:
        count = sum(not entry.is_discard for entry in entries)
    step = (last_time - first) / (count - 1) if count else media.frame_length
    return Timeline(first, end, step, count)


def _first_time(media: MediaFile) -> int | None:
    """Time of the first frame, when the file starts with a key frame."""
    media.rewind()
    first = None
    for number, packet in enumerate(media.packets()):
        if packet.pts is None or (number == 0 and not opens_decoding(media, packet)):
            return None
        if first is not None and packet.dts is not None and packet.dts > first:
            break
        if not packet.is_discard:
            first = packet.pts if first is None else min(first, packet.pts)
    return first


def _seek_near_end(media: MediaFile) -> bool:
    """Go to the last key frame."""
    entries, stream = media.index, media.stream
    if media.format in ("mov", "avi"):
        place = entries.search_timestamp(entries[-1].timestamp, backward=True, any_frame=False) if len(entries) else -1
        return place >= 0 and media.seek(entries[place].timestamp)
    if media.container.duration is None:
        return False
    start = media.container.start_time or 0
    end = round((start + media.container.duration) / av.time_base / stream.time_base)
    second = round(1 / stream.time_base)
    # Audio may go on after the last picture; an index gives the last key frame whatever the time.
    return media.seek(end if media.format == "matroska" else end - 5 * second)
