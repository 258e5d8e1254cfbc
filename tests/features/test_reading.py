"""Videos are read ahead in order; one that hangs, or fails, costs itself."""

from __future__ import annotations

import threading
import time

import pytest

from hf_zsar.features.encoding import EncodingOptions, VideoEncoder, encode_videos, feature_header, read_warnings
from hf_zsar.features.processes import Processes
from hf_zsar.features.reading import ReadAhead
from hf_zsar.features.store import FeatureStore, VideoFile
from hf_zsar.processing.video_sources import VideoReadError
from tests.evaluation.toy import color_pair, write_clip


def taken(reading, videos):
    found = []
    for video, parts in reading(videos):
        try:
            found.append((video, list(parts)))
        except (VideoReadError, RuntimeError) as error:
            found.append((video, str(error)))
    return found


@pytest.mark.parametrize("workers", [1, 3])
def test_order_is_kept_and_no_more_is_read_than_may_wait(workers):
    begun = []

    def read(video):
        begun.append(video)
        time.sleep(0.002 * (video % 3))
        yield from range(video)

    stream = ReadAhead(read, workers, ahead=4)(range(12))
    assert next(stream)[0] == 0
    time.sleep(0.05)
    assert set(begun) <= set(range(4)), "back-pressure"
    assert taken(ReadAhead(read, workers, 4), range(12)) == [(n, list(range(n))) for n in range(12)]


def test_hanging_and_failing_videos_cost_themselves_and_no_thread():
    never = threading.Event()

    def read(video):
        if video in (1, 2, 5):
            never.wait()
        if video == 3:
            raise RuntimeError("no")
        yield video

    started = time.monotonic()
    found = taken(ReadAhead(read, 2, 3, limit=0.2), range(8))
    assert [video for video, parts in found if parts == [video]] == [0, 4, 6, 7]
    assert all("longer than 0.2 seconds" in found[number][1] for number in (1, 2, 5)) and found[3][1] == "no"
    assert time.monotonic() - started < 5
    never.set()


def test_threads_end_when_nobody_takes_what_they_read():
    def read(video):
        yield from range(1000)

    stream = ReadAhead(read, 2, 4)(range(5))
    next(stream)
    stream.close()
    deadline = time.monotonic() + 5
    while any(thread.name == "zsar-read" for thread in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [thread for thread in threading.enumerate() if thread.name == "zsar-read"]


@pytest.mark.parametrize("window", [None, 0.1])
def test_a_hanging_video_is_an_error_in_the_store_and_its_batch_is_not(tmp_path, monkeypatch, window):
    paths = [write_clip(tmp_path / f"{number}.avi", number) for number in (10, 20, 30)]
    videos = [VideoFile(path.name, str(path)) for path in paths]
    never, parts = threading.Event(), VideoEncoder.parts

    def hang(self, video):
        found = parts(self, video)
        if video.id == "20.avi":
            if self.options.window:
                yield next(found)
            never.wait()
        yield from found

    monkeypatch.setattr(VideoEncoder, "parts", hang)
    options = EncodingOptions(batch_size=3, time_limit=0.3, window=window)
    model, processor = color_pair([])
    store = FeatureStore.claim(tmp_path / "s", feature_header(model, processor, options))
    broken = encode_videos(model, processor, videos, store, options)
    never.set()
    assert list(broken) == ["20.avi"] and broken["20.avi"] == f"{paths[1]}: reading takes longer than 0.3 seconds."
    assert [video in store for video in videos] == [True, False, True]


def test_no_limit_waits():
    encoder = VideoEncoder(*color_pair([]), EncodingOptions())
    with read_warnings() as notes:
        assert not list(encoder.steps([], notes))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_work_is_shared_out_by_size_and_nothing_twice(count):
    items, sizes = list(range(20)), [900 * 2**20, *[2**20] * 19]
    shares = [Processes(rank, count).share(items, sizes) for rank in range(count)]
    assert sorted(item for share in shares for item in share) == items
    assert all(share == sorted(share) for share in shares)
    if count > 1:
        assert shares[0] == [0], "one video that is as long as all the others"
    assert Processes(1, 3).share(items) == items[1::3]
