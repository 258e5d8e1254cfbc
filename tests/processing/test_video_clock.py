"""Clocks that start anew, jump or stand still: every part of the file is shown, or a warning says how much is not."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hf_zsar.processing import video_timeline
from hf_zsar.processing.video_clock import Clock
from hf_zsar.processing.video_processing_zsar import ZSARVideoProcessor
from hf_zsar.processing.video_reader_streams import IteratorReader
from hf_zsar.processing.video_reading import VideoReader, VideoReadError, open_video
from tests.processing.conftest import X265
from tests.processing.test_video_sources import BareFile
from tests.videos import frame_number, write_video


HOUR = 3600
PART = 24  # frames of a part, 1 s


@pytest.fixture
def warned() -> Iterator[list[str]]:
    """What is warned of in a test."""
    messages: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: messages.append(str(message))
        yield messages


def joined(folder: Path, suffix: str, starts: Sequence[int | None], **options) -> Path:
    """Parts of 24 frames, numbered 0, 100, 200..., joined as bytes, their clocks starting at so many frames."""
    data = b""
    for number, start in enumerate(starts):
        pts = None if start is None else range(start, start + PART)
        path = folder / f"part.{suffix}"
        write_video(path, PART, first_number=100 * number, pts=pts, **{"fps": 24, **options})
        data += path.read_bytes()
    path.write_bytes(data)
    return path


def numbers(frames) -> list[int]:
    return [frame_number(picture) for picture in frames]


def ways_to_read(path: Path) -> dict[str, Callable[[VideoReader, list[float]], list[int]]]:
    """Each gives the numbers of the frames at ascending times, evenly spread from the first half step on."""

    def window(times: list[float]) -> float:
        return 2 * times[0]

    def live(_: VideoReader, times: list[float]) -> list[int]:
        with open_video(BareFile(path.read_bytes())) as stream:
            parts = list(stream.windows(window(times), num_frames=1))
        return [frame_number(part.clip.frames[0]) for part in parts][: len(times)]

    def by_iteration(reader: VideoReader, times: list[float]) -> list[int]:
        shown = list(reader.iter_frames())
        return [frame_number([picture for at, picture in shown if at <= time + 1e-6][-1]) for time in times]

    return {
        "at once": lambda reader, times: numbers(reader.read_at(times).frames),
        "one by one": lambda reader, times: [frame_number(reader.read_at([time]).frames[0]) for time in times],
        "last first": lambda reader, times: numbers(reader.read_at(times[::-1]).frames)[::-1],
        "windows": lambda reader, times: [
            frame_number(each.clip.frames[0]) for each in reader.windows(window(times), num_frames=1)
        ],
        "iteration": by_iteration,
        "live": live,
    }


JOINED = {
    "mpeg2 with reordered frames.ts": {"codec": "mpeg2video", "options": {"bf": "2"}},
    "h264.ts": {},
    "hevc.ts": {"codec": "libx265", "options": {"x265-params": X265}},
    "program stream.mpg": {"codec": "mpeg2video", "options": {"bf": "2"}},
    "elementary.m4v": {"codec": "mpeg4", "container": "m4v"},
    "annex b.h264": {},
    "motion.mjpeg": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "index of the first only.avi": {"codec": "mpeg4"},
}


@pytest.mark.parametrize("name", JOINED)
def test_every_part_of_joined_recordings_is_shown(tmp_path, warned, name):
    path = joined(tmp_path, name.rsplit(".", 1)[1], [None] * 3, **JOINED[name])
    expected = [6, 18, 106, 118, 206, 218]
    with open_video(path) as reader:
        assert reader.info.num_frames == len(reader.timestamps) == 3 * PART
        rate = 24 if name.rsplit(".", 1)[1] not in ("h264", "mjpeg") else reader.fps  # these store none
        assert reader.duration == pytest.approx(3 * PART / rate, abs=0.001)
        times = [(place + 0.5) * reader.duration / 6 for place in range(6)]
        for way, read in ways_to_read(path).items():
            assert read(reader, times) == expected, way
        keys = numbers(reader.read_at(times, mode="keyframe").frames)
        assert {each // 100 for each in keys} == {0, 1, 2}
    jumps = not name.endswith((".h264", ".mjpeg", ".avi"))  # whose clock is the reader's own
    assert any("starts anew or jumps 2 times; the parts are shown one after" in each for each in warned) == jumps
    clip = ZSARVideoProcessor(num_frames=6).sample(path)
    assert numbers(clip.frames) == expected


@pytest.mark.parametrize(
    ("starts", "closed"),
    [
        ((0, 24 * HOUR * 10, 24 * 5), "gaps of 35,999 s closed"),  # ahead by hours, and back
        ((24 * HOUR * 10, 0), ""),  # back by hours, which FFmpeg takes for a clock that overflowed
        ((24 * 10, 24 * 8, 24 * 9), None),  # parts that overlap
        ((2**33 * 24 // 90_000 - 12, 0), None),  # overflows after 26.5 h, in the middle of a part
    ],
)
def test_clocks_that_differ_from_part_to_part(tmp_path, warned, starts, closed):
    path = joined(tmp_path, "ts", starts)
    expected = [100 * part + frame for part in range(len(starts)) for frame in (6, 18)]
    with open_video(path) as reader:
        assert reader.duration == pytest.approx(len(starts), abs=0.01)
        times = [(place + 0.5) / 2 for place in range(len(expected))]
        for way, read in ways_to_read(path).items():
            assert read(reader, times) == expected, way
    assert any((closed or "one after the other") in each for each in warned)


def test_a_jump_of_a_live_stream_is_told_when_it_is_there(tmp_path, warned):
    """A stream without end never comes to the word at its end."""
    path = joined(tmp_path, "ts", (0, 24 * HOUR, 48))
    with open_video(BareFile(path.read_bytes())) as stream:
        seen = [time for time, _ in takewhile(lambda _: not warned, stream.iter_frames())]
    assert seen[-1] < 2.9 and "the parts are shown one after the other" in warned[0]


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "no frames"),
        (["frame.png"], "PIL pictures or arrays, got str"),
        ([(float("nan"), np.zeros((4, 4, 3), np.uint8))], "nan is not a time"),
        ([(0.0, np.zeros((4, 4, 3), np.uint8)), (float("inf"), np.zeros((4, 4, 3), np.uint8))], "inf is not a time"),
    ],
)
def test_an_iterator_gives_pictures_at_times(frames, message):
    with pytest.raises(VideoReadError, match=message):
        list(IteratorReader(iter(frames)).windows(1.0))


def test_a_clock_that_overflows_is_no_jump(tmp_path, warned):
    with open_video(joined(tmp_path, "ts", [2**33 * 24 // 90_000 - 12])) as reader:
        assert numbers(reader.read_at([0.25, 0.75]).frames) == [6, 18]
        assert reader.duration == pytest.approx(1, abs=0.01)
    assert warned == []


STOPS = {
    "flv": {"codec": "flv", "bit_rate": 500_000},
    "mp4": {},
    "wmv": {"codec": "wmv2", "bit_rate": 500_000},
    "y4m": {"codec": "wrapped_avframe", "container": "yuv4mpegpipe"},
    "mkv": {},
}


@pytest.mark.parametrize("suffix", STOPS)
def test_what_is_joined_and_cannot_be_read_is_told_in_bytes(tmp_path, warned, suffix):
    path = joined(tmp_path, suffix, [None] * 3, **STOPS[suffix])
    with open_video(path) as reader:
        reader.read_at([0.0])
        assert reader.info.num_frames < 3 * PART
    assert any("bytes are not looked at" in each for each in warned)
    warned.clear()
    with open_video(BareFile(path.read_bytes())) as stream:
        list(stream.windows(1.0))
    assert any("not looked at" in each for each in warned)


@pytest.mark.parametrize("suffix", [*STOPS, "webm", "avi", "ts", "mpg"])
def test_a_whole_file_is_not_said_to_go_on(tmp_path, warned, suffix):
    options = {"codec": {"webm": "libvpx", "avi": "mpeg4", "mpg": "mpeg2video"}.get(suffix, "libx264"), "fps": 24}
    path = write_video(tmp_path / f"whole.{suffix}", 48, **{**options, **STOPS.get(suffix, {})})
    with open_video(path) as reader:
        reader.read_at([0.0, 1.0])
    with open_video(BareFile(path.read_bytes())) as stream:
        if suffix != "mp4":  # its index stands at the end
            list(stream.windows(1.0))
    assert warned == []


def test_a_part_in_another_stream_is_told(tmp_path, warned):
    """FFmpeg makes one more stream of it, long after the file was opened."""
    path = tmp_path / "streams.ts"
    parts = []
    for number in (256, 512):
        write_video(path, PART, fps=24, container_options={"mpegts_start_pid": str(number)})
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))
    with open_video(path) as reader:
        reader.read_at([0.0])
    assert any("bytes are not looked at" in each for each in warned)


@pytest.mark.parametrize("suffix", ["mkv", "ts"])
def test_a_joined_file_too_long_to_read_through_is_read_through(tmp_path, monkeypatch, warned, suffix):
    path = joined(tmp_path, suffix, [None] * 2)
    monkeypatch.setattr(video_timeline, "LONG_PACKETS", 10)
    monkeypatch.setattr(video_timeline, "LONG_BYTES", 1000)
    with open_video(path) as reader:
        assert reader.info.num_frames == 2 * PART and reader.duration == pytest.approx(2, abs=0.01)
        assert numbers(reader.read_at([0.25, 1.25]).frames) == [6, 106]
    assert "one after the other" in warned[0]


@pytest.mark.parametrize("long", [False, True])
def test_clusters_whose_times_start_anew(tmp_path, monkeypatch, warned, long):
    """The header, the index and most of the clusters of the file say nothing of it."""
    if long:
        monkeypatch.setattr(video_timeline, "LONG_PACKETS", 10)
        monkeypatch.setattr(video_timeline, "LONG_BYTES", 1000)
    path = write_video(tmp_path / "clusters.mkv", 96, container_options={"cluster_time_limit": "500"})
    data, place = bytearray(path.read_bytes()), 0
    while (place := data.find(b"\x1f\x43\xb6\x75", place + 1)) >= 0:
        at = data.index(b"\xe7", place)
        size = data[at + 1] & 127
        time = int.from_bytes(data[at + 2 : at + 2 + size], "big")
        data[at + 2 : at + 2 + size] = (time % 2000).to_bytes(size, "big")
    path.write_bytes(data)
    with open_video(path) as reader:
        assert reader.info.num_frames == 96 and reader.duration == pytest.approx(4, abs=0.2)
        times = [(place + 0.5) * reader.duration / 6 for place in range(6)]
        for way, read in ways_to_read(path).items():
            assert read(reader, times) == pytest.approx([8, 24, 40, 56, 72, 88], abs=2), way
    assert any("one after the other" in each for each in warned)


@pytest.mark.parametrize(("rate", "scale"), [(2**31 - 1, 1), (1, 2**31 - 1)])
def test_a_clock_that_is_absurdly_fast_or_slow_still_orders_the_frames(tmp_path, rate, scale):
    data = bytearray(write_video(tmp_path / "a.avi", 48, codec="mpeg4").read_bytes())
    place = data.index(b"strh") + 28
    data[place : place + 8] = scale.to_bytes(4, "little") + rate.to_bytes(4, "little")
    with open_video(bytes(data)) as reader:
        times = [(place + 0.5) * reader.duration / 6 for place in range(6)]
        assert numbers(reader.read_at(times).frames) == [4, 12, 20, 28, 36, 44]


def with_times(folder: Path, change: Callable[[int, int], int]) -> Path:
    """60 frames at 24 a second in an flv, whose k-th time t, in milliseconds, becomes `change(k, t)`."""
    data = bytearray(write_video(folder / "clock.flv", 60, codec="flv", bit_rate=500_000).read_bytes())
    place, number = 13, 0
    while place + 11 <= len(data):
        size = int.from_bytes(data[place + 1 : place + 4], "big")
        if data[place] == 9:
            time = int.from_bytes(data[place + 4 : place + 7], "big") | data[place + 7] << 24
            time = change(number, time)
            data[place + 4 : place + 7], data[place + 7] = (time & 0xFFFFFF).to_bytes(3, "big"), time >> 24
            number += 1
        place += 11 + size + 4
    (folder / "clock.flv").write_bytes(data)
    return folder / "clock.flv"


JUMPS = {
    "one time an hour ahead": lambda k, t: t + HOUR * 1000 * (k == 30),
    "one time a second back": lambda k, t: t - 1000 * (k == 32),
    "one key frame a second back": lambda k, t: t - 1000 * (k == 36),
    "anew at a key frame": lambda k, t: t % 1500,
    "a second back between key frames": lambda k, t: t - 1000 * (k >= 30),
    "five hours ahead": lambda k, t: t + 5 * HOUR * 1000 * (k >= 30),
    "hours ahead and back": lambda k, t: t + 5 * HOUR * 1000 * (20 <= k < 40),
    "the last is absurd": lambda k, t: t + 480 * HOUR * 1000 * (k == 59),
    "the first is absurd": lambda k, t: t + 480 * HOUR * 1000 * (k == 0),
}


@pytest.mark.parametrize("name", JUMPS)
def test_a_clock_that_jumps_runs_on(tmp_path, warned, name):
    path = with_times(tmp_path, JUMPS[name])
    with open_video(path) as reader:
        assert reader.info.num_frames == 60 and reader.duration == pytest.approx(2.5, abs=0.05)
        times = [(place + 0.5) * reader.duration / 6 for place in range(6)]
        for way, read in ways_to_read(path).items():
            assert read(reader, times) == pytest.approx([5, 15, 25, 35, 45, 55], abs=1), way
        assert len(list(reader.windows(0.51))) == 5
    assert any("clock starts anew or jumps" in each for each in warned)


def test_a_clock_that_stands_still_is_told(tmp_path, warned):
    with open_video(with_times(tmp_path, lambda k, t: 0 if k < 30 else t)) as reader:
        reader.read_at([0.0])
    assert "29 of 60 frames have the time of another one" in warned[0]


def test_a_gap_that_may_be_real_stays_and_is_told(tmp_path, warned):
    pts = [*range(0, 400, 40), *range(2 * HOUR * 1000, 2 * HOUR * 1000 + 400, 40)]
    path = write_video(tmp_path / "gap.mkv", 20, pts=pts, time_base=Fraction(1, 1000))
    with open_video(path) as reader:
        assert reader.duration == pytest.approx(2 * HOUR + 0.4, abs=0.05)
        assert numbers(reader.read_at([HOUR, 2 * HOUR + 0.1]).frames) == [9, 12]
    assert "no new picture comes for 7,200 s, from 0.4 s on" in warned[0]


@pytest.mark.parametrize("suffix", ["mkv", "webm", "nut"])
@pytest.mark.parametrize("last", [10**8, 10**12])
def test_an_absurd_last_time_adds_nothing(tmp_path, warned, suffix, last):
    path, times = tmp_path / f"far.{suffix}", [*range(0, 360, 40), last]
    write_video(path, 10, pts=times, time_base=Fraction(1, 1000), codec="libvpx", bit_rate=500_000)
    with open_video(path) as reader:
        assert reader.duration == pytest.approx(0.4, abs=0.05)
        assert len(list(reader.windows(1.0))) == 1
    assert "clock starts anew or jumps once" in warned[0] and "closed" in warned[0]


def test_frames_without_their_key_frame_are_counted_in_the_warning(tmp_path, warned):
    data = write_video(tmp_path / "a.ts", 48).read_bytes()
    (tmp_path / "a.ts").write_bytes(data[len(data) // 8 // 188 * 188 :])
    with open_video(tmp_path / "a.ts") as reader:
        reader.read_at([0.0])
    assert any("frames cannot be decoded, the file starts between key frames" in each for each in warned)


def test_a_camera_whose_clock_is_set_back(warned):
    times = [*range(10), *range(5, 15), *(1_000_000_000 + k for k in range(5))]
    pictures = ((float(time), np.full((8, 8, 3), number, np.uint8)) for number, time in enumerate(times))
    with open_video(pictures, fps=1) as reader:
        windows = list(reader.windows(5.0, num_frames=1))
    assert [int(each.clip.frames[0, 0, 0, 0]) for each in windows] == [2, 7, 12, 17, 22]
    assert len(warned) == 1 and "clock starts anew or jumps" in warned[0]


# The clock by itself -----------------------------------------------------------------------------------------------


def run(clock: Clock, times: Sequence[tuple[int, int | None, bool]]) -> list[int]:
    return [clock.place(shown, decoded, 40, is_key)[0] for shown, decoded, is_key in times]


@example(starts=[0, 740], length=20, container="mpegts")
@given(
    starts=st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=6),
    length=st.integers(20, 60),
    container=st.sampled_from(["mpegts", "matroska"]),
)
def test_parts_with_any_clocks_follow_each_other(starts, length, container):
    """Unless a part starts where a recording with a real gap would go on, or half a frame before the last picture:
    key frames of cameras jitter as much."""
    parts = [[(start + 40 * k, start + 40 * k, k == 0) for k in range(length)] for start in starts]
    gap = (10 if container == "mpegts" else 12 * HOUR) * 1000
    real = any(0 <= b - (a + 40 * length) <= gap for a in starts for b in starts)
    jitter = any(0 <= a + 40 * (length - 1) - b <= 20 for a in starts for b in starts)
    mended = run(Clock(1000, container), [time for part in parts for time in part])
    assert len(mended) == len(starts) * length
    if jitter:
        assert (np.diff(mended) >= -20).all()
    elif not real:
        assert (np.diff(mended) == 40).all()


@given(gaps=st.lists(st.integers(1, 9000), min_size=1, max_size=50))
def test_a_clock_that_runs_is_left_alone(gaps):
    times = np.cumsum([1000, *gaps]).tolist()
    clock = Clock(1000, "mpegts")
    assert run(clock, [(time, time, True) for time in times]) == times
    assert clock.jumps == 0


def test_reordered_frames_are_no_jump():
    shown = [80, 200, 120, 160, 320, 240, 280]
    clock = Clock(1000, "mpegts")
    assert run(clock, [(time, 40 * k, k == 0) for k, time in enumerate(shown)]) == shown
    slow = Clock(1, "matroska")  # a frame a second, its decoding times worked out by FFmpeg
    assert [slow.place(s, d, 1, s == 0)[0] for s, d in [(0, None), (4, None), (2, 0), (8, 3), (6, 1)]] == [
        0,
        4,
        2,
        8,
        6,
    ]
    assert clock.jumps == slow.jumps == 0


def test_a_picture_is_not_shown_hours_after_it_is_decoded():
    assert Clock(1000, "matroska").place(10**12, 40, 40, False) == (40, 40)
