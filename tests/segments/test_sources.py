"""Sources that drop and return: only the gap is lost, what is kept is bounded, nothing opens without being allowed."""

from __future__ import annotations

import itertools
import socket
import threading
import time

import av
import numpy as np
import pytest

from hf_zsar.processing.video_sources import VideoReadError
from hf_zsar.segments.sources import FIRST_WAIT, LONGEST_WAIT, LiveSource, is_live_address, live_source
from tests.joined_clips import FPS, SIZE, Clip
from tests.segments.oracle import oracle, still


CLIPS = [Clip(None, "standing", 1), Clip(None, "walking", 2)]
LABELS = ["standing", "walking"]


class Clock:
    """A clock that goes on when somebody sleeps, or a picture is waited for."""

    def __init__(self):
        self.now, self.slept = 1000.0, []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def camera(clock, *pieces):
    """Opens as `pieces` say: a number of seconds with a picture of each, or an error."""
    waiting = iter(pieces)

    def open():
        piece = next(waiting)
        if isinstance(piece, Exception):
            raise piece
        number, seconds = piece
        for picture in still(number, seconds):
            clock.now += 1
            yield picture
        raise OSError("connection reset")

    return open


def pictures_of(source, most):
    """(begun, number of pictures) of its first pieces."""
    return [(begun, sum(1 for _ in pictures)) for begun, pictures in itertools.islice(source.pieces(), most)]


def test_a_dropped_source_is_opened_again_ever_later():
    clock, said = Clock(), []
    refused = [OSError("rtsp://user:secret@camera/1 refused")] * 8
    source = LiveSource(
        "camera", camera(clock, (1, 3), *refused, (2, 4)), sleep=clock.sleep, clock=clock, say=said.append
    )
    (_, first), (begun, second) = pictures_of(source, 2)
    assert (first, second) == (3, 4) and source.drops == 1
    waits = clock.slept[:9]
    assert waits == [min(LONGEST_WAIT, FIRST_WAIT * 2**number) for number in range(9)]
    assert begun == pytest.approx(3 + sum(waits), abs=1.01)
    assert "back" in said[-1] and "secret" not in "".join(said)


def test_in_vain_so_often_is_an_error():
    clock = Clock()
    source = LiveSource("camera", camera(clock, *[OSError("no route")] * 9), sleep=clock.sleep, clock=clock, most=3)
    with pytest.raises(VideoReadError, match="camera: opened 3 times without a picture: no route"):
        pictures_of(source, 1)


def test_an_error_of_the_program_is_none_of_the_source():
    source = LiveSource("camera", lambda: iter([1 / 0]))
    with pytest.raises(ZeroDivisionError):
        pictures_of(source, 1)


def test_what_waits_is_bounded():
    made = threading.Event()

    def open():
        for number in range(500):
            yield np.full((2, 2, 3), number % 256, np.uint8)
        made.set()
        threading.Event().wait(0.05)

    source = LiveSource("camera", open, buffer=8)
    _, pictures = next(source.pieces())
    next(pictures)
    assert made.wait(10)
    kept = [picture[0, 0, 0] for _, picture in pictures]
    assert 7 <= len(kept) <= 9 and kept[-7:] == [number % 256 for number in range(493, 500)]


def test_segments_lose_only_the_gap():
    clock, pipe = Clock(), oracle(CLIPS)
    source = LiveSource(
        "camera", camera(clock, (1, 20), OSError("gone"), (1, 12)), sleep=clock.sleep, clock=clock, buffer=64
    )
    found = list(itertools.islice(pipe.segments(source, LABELS, live=True), 2))
    assert [each["label"] for each in found] == ["standing", "standing"]
    assert [each["end"] - each["start"] for each in found] == [pytest.approx(20, abs=1.1), pytest.approx(12, abs=1.1)]
    assert found[1]["start"] - found[0]["end"] == pytest.approx(sum(clock.slept[:2]), abs=1.1)
    assert source.latency.quantile(0.5) == source.latency.quantile(0.5)  # there is one


def server(pieces, pause):
    """A server of MPEG-TS over TCP, at the speed of life: a connection for each piece, none for a while between."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()

    def serve():
        waiting = listener
        for number, seconds in pieces:
            connection, _ = waiting.accept()
            waiting.close()
            with connection.makefile("wb", buffering=0) as file, av.open(file, "w", format="mpegts") as output:
                stream = output.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "tune": "zerolatency"})
                stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
                stream.codec_context.gop_size = FPS
                picture = still(number, 1)[0]
                for _ in range(round(seconds * FPS)):
                    output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                    time.sleep(1 / FPS)
            connection.close()
            time.sleep(pause)
            waiting = socket.create_server(address)
        waiting.close()

    threading.Thread(target=serve, daemon=True).start()
    return f"tcp://127.0.0.1:{address[1]}"


@pytest.mark.slow
def test_a_real_stream_that_drops_and_returns():
    pipe = oracle(CLIPS)
    source = live_source(server([(1, 4), (2, 4)], pause=1.0), allow=True, timeout=3)
    options = dict(live=True, window=1.0, stride=0.25, scales=(1,))
    first, second = itertools.islice(pipe.segments(source, LABELS, **options), 2)
    assert (first["label"], second["label"]) == ("standing", "walking") and source.drops == 1
    assert first["end"] - first["start"] == pytest.approx(4, abs=1.2)
    assert second["end"] - second["start"] == pytest.approx(4, abs=1.2)
    assert 0.9 < second["start"] - first["end"] < 4
    median, most = source.latency.quantile(0.5), source.latency.quantile(0.95)
    print(f"latency from frame to answer: {median:.2f} s, 95 %: {most:.2f} s")
    assert median < 3


@pytest.mark.parametrize(
    "source", ["rtsp://camera/1", "RTSP://camera/1", "/dev/video0", "tcp://10.0.0.1:1", "video=Webcam"]
)
def test_nothing_opens_unless_it_is_allowed(source, monkeypatch):
    monkeypatch.setattr(av, "open", lambda *args, **kwargs: pytest.fail("opened"))
    assert is_live_address(source)
    with pytest.raises(VideoReadError, match="allow=True"):
        live_source(source)


def test_other_sources_stay_as_they_are():
    assert live_source("https://example.com/a.mp4") == "https://example.com/a.mp4"
    assert live_source(b"bytes") == b"bytes"


def test_passwords_are_no_names():
    with pytest.raises(VideoReadError) as error:
        live_source("rtsp://user:secret@camera/1")
    assert "secret" not in str(error.value)
