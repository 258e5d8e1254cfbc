"""Sliding windows: what they cover, which frames they hold, one pass, flat memory, live sources."""

from __future__ import annotations

import itertools
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_zsar.processing import video_seeking
from hf_zsar.processing.video_processing_zsar import ZSARVideoProcessor
from hf_zsar.processing.video_reading import VideoReadError, open_video
from hf_zsar.processing.video_windows import sampling_order, window_bounds
from tests.processing.test_video_sources import BareFile
from tests.videos import frame_number, frame_picture, repeat_video


LENGTHS = st.floats(0.05, 50)


@given(window=LENGTHS, stride=LENGTHS, duration=st.floats(0.01, 300))
def test_windows_cover_the_video_and_no_more(window, stride, duration):
    bounds = list(window_bounds(window, stride, duration))
    starts, ends = np.array(bounds).T
    assert bounds[0] == (0, pytest.approx(min(window, duration)))
    assert np.allclose(np.diff(starts), stride)
    assert (ends <= duration).all() and (ends > starts).all()
    assert (ends[:-1] < duration).all(), "no window after one that reaches the end"
    if stride <= window:
        assert ends[-1] == pytest.approx(duration, abs=1e-5)
        assert (starts[1:] <= ends[:-1] + 1e-9).all(), "no gaps"


@given(window=LENGTHS, stride=LENGTHS, duration=st.floats(0.01, 100), count=st.integers(1, 9))
def test_sampling_order_is_ascending_and_complete(window, stride, duration, count):
    bounds = list(window_bounds(window, stride, duration))[:60]
    order = list(sampling_order(bounds, count))
    times, numbers = np.array(order).T
    assert (np.diff(times) >= 0).all()
    for number, (start, end) in enumerate(bounds):
        expected = start + (np.arange(count) + 0.5) * (end - start) / count
        assert np.allclose(times[numbers == number], expected)


def test_sampling_order_of_endless_windows_is_lazy():
    endless = sampling_order(window_bounds(1.0, 0.5, None), 2)
    assert [number for _, number in itertools.islice(endless, 6)] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("name", ["h264.mp4", "h264.ts", "mpeg4_b.avi", "vp9.webm", "variable_rate.mp4"])
@pytest.mark.parametrize(("window", "stride"), [(0.5, None), (0.75, 0.25), (0.4, 0.9), (5.0, None)])
def test_windows_hold_the_frames_at_their_segment_centers(synthetic, name, window, stride):
    with open_video(synthetic(name)) as reader:
        windows = list(reader.windows(window, stride, num_frames=4))
        bounds = list(window_bounds(window, stride or window, reader.duration))
        assert [(each.start, each.end) for each in windows] == bounds
        for each in windows:
            centers = each.start + (np.arange(4) + 0.5) * (each.end - each.start) / 4
            expected = reader.read_at(centers + reader.clock_tick)
            assert each.clip.indices == expected.indices
            assert (each.clip.frames == expected.frames).all()


def test_one_pass(synthetic, monkeypatch):
    fed = []
    plain = video_seeking.MediaFile.decode

    def counted(self, packet):
        fed.append(packet)
        return plain(self, packet)

    monkeypatch.setattr(video_seeking.MediaFile, "decode", counted)
    with open_video(synthetic("h264.mp4")) as reader:
        list(reader.windows(0.5, 0.125, num_frames=4))
    assert len([packet for packet in fed if packet is not None]) <= 48 + 2


def test_memory_is_bounded_by_the_open_windows(synthetic, tmp_path, monkeypatch):
    """However long the video, only the pictures of the windows under way are held."""
    long = repeat_video(synthetic("h264.mp4"), tmp_path / "long.mp4", 20)
    pictures: list[weakref.ref] = []
    plain = video_seeking.MediaFile.pixels

    class Picture(np.ndarray):
        """An array that can be watched."""

    def watched(self, *arguments):
        picture = plain(self, *arguments).copy().view(Picture)
        pictures.append(weakref.ref(picture))
        return picture

    monkeypatch.setattr(video_seeking.MediaFile, "pixels", watched)
    most = 0
    with open_video(long) as reader:
        for _ in reader.windows(1.0, 0.5, num_frames=4):
            most = max(most, sum(picture() is not None for picture in pictures))
    assert len(pictures) >= 4 * 40, "windows share frames"
    assert most <= 3 * 4


def test_a_stream_is_windowed_as_it_comes(synthetic):
    """A pipe gives the windows of the file, except that the last frame fills up the last window."""
    with open_video(synthetic("h264.mkv")) as reader:
        expected = list(reader.windows(0.75, num_frames=4))
    with open_video(BareFile(synthetic("h264.mkv").read_bytes())) as reader:
        windows = list(reader.windows(0.75, num_frames=4))
    assert [(w.start, round(w.end, 2)) for w in windows] == [(w.start, round(w.end, 2)) for w in expected]
    for ours, theirs in zip(windows[:-1], expected[:-1], strict=True):
        assert (ours.clip.frames == theirs.clip.frames).all()
    assert [frame_number(picture) for picture in windows[-1].clip.frames] == [38, 42, 47, 47]


def test_a_stream_is_read_once(synthetic):
    reader = open_video(BareFile(synthetic("h264.mkv").read_bytes()))
    list(reader.windows(1.0))
    with pytest.raises(VideoReadError, match="read already"):
        reader.read_at([0.0])
    with pytest.raises(VideoReadError, match="read already"):
        list(reader.windows(1.0))
    reader.close()


def test_a_stream_may_be_looked_at_first_and_windowed_then(synthetic):
    with open_video(BareFile(synthetic("h264.mkv").read_bytes())) as reader:
        assert reader.info.num_frames == 48
        assert len(list(reader.windows(1.0))) == 2
        assert frame_number(reader.read_at([1.0]).frames[0]) == 24


def test_a_stream_that_is_no_video():
    with open_video(BareFile(b"nothing to see " * 100)) as reader, pytest.raises(VideoReadError):
        list(reader.windows(1.0))


def camera(count: int, fps: float):
    for number in range(count):
        yield frame_picture(number, 24, 40)


def test_a_camera_loop():
    with open_video(camera(25, 10), fps=10) as reader:
        windows = list(reader.windows(1.0, num_frames=2))
    assert [(window.start, window.end) for window in windows] == [(0, 1), (1, 2), (2, pytest.approx(2.5))]
    assert [window.clip.indices for window in windows] == [[2, 7], [12, 17], [22, 24]]


@pytest.mark.parametrize(
    ("window", "stride"), [(1.0, 0.5), (0.7, 0.2), (2.5, 0.5), (2.4, 0.3), (0.3, 0.9), (9.0, 1.0)]
)
@pytest.mark.parametrize("num_frames", [1, 3])
def test_a_live_source_has_the_windows_of_a_file_of_its_length(window, stride, num_frames):
    with open_video(camera(25, 10), fps=10) as reader:
        windows = list(reader.windows(window, stride, num_frames))
    expected = list(window_bounds(window, stride, 2.5))
    assert np.allclose([(each.start, each.end) for each in windows], expected)
    assert all(len(each.clip) == num_frames for each in windows)


def test_an_endless_camera_gives_windows_at_once():
    pictures = (frame_picture(number % 100, 24, 40) for number in itertools.count())
    with open_video(pictures, fps=30) as reader:
        windows = list(itertools.islice(reader.windows(0.5, num_frames=4), 5))
    assert [round(window.start, 2) for window in windows] == [0, 0.5, 1, 1.5, 2]


def test_a_camera_that_says_when():
    pictures = ((1000 + number / 4, torch.from_numpy(frame_picture(number, 24, 40))) for number in range(9))
    with open_video(pictures, fps=4) as reader:
        windows = list(reader.windows(1.0, num_frames=4))
    assert [window.clip.indices for window in windows] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 8, 8, 8]]


def test_frames_that_are_there_already():
    frames = np.stack([frame_picture(number, 24, 40) for number in range(20)])
    with open_video(frames, fps=10) as reader:
        windows = list(reader.windows(1.0, num_frames=2))
    assert [window.clip.indices for window in windows] == [[2, 7], [12, 17]]


@pytest.mark.parametrize("arguments", [(0.0,), (-1.0,), (1.0, 0.0), (1.0, 1.0, 0)])
def test_lengths_must_be_positive(synthetic, arguments):
    with open_video(synthetic("h264.mp4")) as reader, pytest.raises(ValueError, match="must be positive"):
        reader.windows(*arguments)


def test_the_processor_gives_pixel_values_of_windows(synthetic):
    processor = ZSARVideoProcessor(crop_size=32, size=40)
    with open_video(synthetic("h264.mp4")) as reader:
        expected = [window.clip.frames for window in reader.windows(0.5, 0.25, 4)]
    parts = list(processor.iter_windows(synthetic("h264.mp4"), 0.5, 0.25, 4))
    assert [(start, end) for start, end, _ in parts] == list(window_bounds(0.5, 0.25, 2.0))
    for (_, _, pixels), frames in zip(parts, expected, strict=True):
        assert (pixels == processor(frames, do_sample_frames=False)["pixel_values_videos"][0]).all()
    *_, (_, _, three) = processor.iter_windows(synthetic("h264.mp4"), 1.0, num_frames=2, num_crops=3)
    assert tuple(three.shape) == (3, 2, 3, 32, 32)
    with pytest.raises(ValueError, match="Unknown video option"):
        processor.iter_windows(synthetic("h264.mp4"), 1.0, strde=1.0)
    for idle in ({"sampling": "uniform"}, {"num_views": 3}, {"fps": 4.0}):
        with pytest.raises(ValueError, match=f"{next(iter(idle))} changes nothing with windows"):
            processor.iter_windows(synthetic("h264.mp4"), 1.0, **idle)
