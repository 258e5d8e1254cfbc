"""Downloads end, whatever a server does in whatever phase: real sockets on this machine, with small numbers."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict

import pytest

from hf_zsar.processing import video_download
from hf_zsar.processing.limits import set_limits
from hf_zsar.processing.video_download import download
from hf_zsar.processing.video_reading import VideoReadError, open_video


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LENGTH = OK + b"Content-Length: 1000000\r\n\r\n"
VIDEO = b"\0\0\0\x18ftypisom" + bytes(2000)
TLS_HEAD = b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb\x03\x03"  # of a ServerHello of 16 KB
TIMEOUT = 0.3
# What a client may take at most here: TIMEOUT for the headers, as much for the body, and a busy machine.
PATIENCE = 6.0


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket], None], read_request: bool = True) -> Iterator[int]:
    """A server whose connections are each answered by `answer`; gives its port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    stop = threading.Event()

    def talk(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if read_request:
                connection.recv(65536)
            answer(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while not stop.is_set():
                threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        stop.set()
        listener.close()


def sends(*parts: bytes | Iterable[bytes], pause: float = 0.0) -> Callable[[socket.socket], None]:
    """Send the parts in a row, an iterable piece by piece with a pause between two; then keep silent."""

    def answer(connection: socket.socket) -> None:
        for part in parts:
            for piece in [part] if isinstance(part, bytes) else part:
                connection.sendall(piece)
                time.sleep(0 if isinstance(part, bytes) else pause)
        time.sleep(20)

    return answer


def drip(piece: bytes = b"0") -> Iterator[bytes]:
    return itertools.repeat(piece, 400)


def give_up(port: int, scheme: str = "http", **options: float) -> tuple[str, float]:
    """What fetching says, and after how long."""
    start = time.monotonic()
    with pytest.raises(VideoReadError) as caught:
        download(f"{scheme}://127.0.0.1:{port}/v", TIMEOUT, allow_private=True, **options).close()
    return str(caught.value), time.monotonic() - start


CHUNK = b"%x\r\n%s\r\n" % (len(VIDEO), VIDEO)
PHASES = {
    "nothing": (sends(), "no answer within"),
    "status line, byte by byte": (sends(drip(b"H"), pause=0.1), "no answer within|no connection"),
    "a header, byte by byte": (sends(OK + b"X-A: ", drip(b"b"), pause=0.1), "no answer within"),
    "headers without end": (sends(OK, drip(b"X-A: b\r\n"), pause=0.05), "no answer within"),
    "100 Continue without end": (sends(drip(b"HTTP/1.1 100 Continue\r\n\r\n"), pause=0.02), "no answer within"),
    "silence before the body": (sends(LENGTH), "nothing came for 0.3 seconds"),
    "silence in the body": (sends(LENGTH + VIDEO), "nothing came for 0.3 seconds"),
    "the body, byte by byte": (sends(LENGTH, drip(), pause=0.05), "too slow"),
    "digits of a chunk's size": (sends(CHUNKED, drip(), pause=0.05), "too slow"),
    "an extension of a chunk": (sends(CHUNKED + b"5;", drip(b"a"), pause=0.05), "too slow"),
    "a chunk, byte by byte": (sends(CHUNKED + b"ffff\r\n", drip(), pause=0.05), "too slow"),
    "chunks of one byte": (sends(CHUNKED, drip(b"1\r\n0\r\n"), pause=0.05), "too slow"),
    "the end of a chunk": (sends(CHUNKED + CHUNK[:-2]), "nothing came for"),
    "trailers, one by one": (sends(CHUNKED + CHUNK + b"0\r\n", drip(b"X-A: b\r\n"), pause=0.05), "too slow"),
    "a trailer, byte by byte": (sends(CHUNKED + CHUNK + b"0\r\nX-A:", drip(b"b"), pause=0.05), "too slow"),
    "silence before the last line": (sends(CHUNKED + CHUNK + b"0\r\n"), "nothing came for"),
}


@pytest.mark.parametrize("phase", PHASES)
def test_every_phase_ends(phase):
    answer, message = PHASES[phase]
    with serving(answer) as port:
        said, seconds = give_up(port)
    assert re.search(message, said), said
    assert seconds < PATIENCE


@pytest.mark.parametrize(
    "answer",
    [sends(), sends(drip(b"\x16"), pause=0.05), sends(TLS_HEAD, drip(), pause=0.05)],
    ids=["silence", "garbage", "a ServerHello, byte by byte"],
)
def test_the_handshake_of_tls_ends(answer):
    with serving(answer) as port:
        said, seconds = give_up(port, "https")
    assert "no answer within" in said or "no connection" in said
    assert seconds < PATIENCE


def test_a_resolver_that_hangs(monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(video_download.socket, "getaddrinfo", lambda *_, **__: release.wait(20))
    start = time.monotonic()
    with pytest.raises(VideoReadError, match="was not found"):
        open_video("http://video.test/clip.mp4", timeout=0.2)
    assert time.monotonic() - start < PATIENCE
    waiting = [thread for thread in threading.enumerate() if thread.name == "hf-zsar-resolver"]
    assert all(thread.daemon for thread in waiting), "or the process could not end"
    release.set()


def test_connecting_ends(monkeypatch):
    """A host that drops packets: every one of its addresses gets what is left of the time, and no more."""
    asked: list[float] = []

    def connect(address, timeout):
        asked.append(timeout)
        time.sleep(timeout)
        raise TimeoutError("timed out")

    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{i}", 80)) for i in range(1, 6)]
    monkeypatch.setattr(video_download.socket, "getaddrinfo", lambda *_, **__: addresses)
    monkeypatch.setattr(video_download.socket, "create_connection", connect)
    with pytest.raises(VideoReadError, match="no answer within"):
        open_video("http://video.test/", timeout=0.2, allow_private_urls=True)
    assert sum(asked) < 1


@contextlib.contextmanager
def changed_limits(**changes: float) -> Iterator[None]:
    before = set_limits(**changes)
    try:
        yield
    finally:
        set_limits(**asdict(before))


@pytest.mark.parametrize(
    "answer",
    [
        sends(LENGTH, itertools.repeat(bytes(2000), 400), pause=0.02),
        sends(CHUNKED, itertools.repeat(b"8\r\n12345678\r\n" * 200, 400), pause=0.02),
    ],
    ids=["body", "chunks"],
)
def test_the_whole_has_a_deadline_however_fast_bytes_come(answer):
    with serving(answer) as port, changed_limits(download_seconds=0.8):
        said, seconds = give_up(port)
    assert "not done in the time allowed" in said
    assert 0.7 < seconds < PATIENCE


def test_redirects_share_the_deadline_of_the_whole():
    def answer(connection):
        time.sleep(0.2)
        here = connection.getsockname()[1]
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/v\r\n\r\n" % here)

    with serving(answer) as port, changed_limits(download_seconds=0.5):
        said, seconds = give_up(port)
    assert "no answer within" in said or "no connection" in said
    assert seconds < PATIENCE


@pytest.mark.parametrize(
    ("start", "flood"),
    [(CHUNKED + CHUNK + b"0\r\n", b"X-A: %s\r\n" % (b"b" * 1000)), (CHUNKED, b"1;%s\r\n0\r\n" % (b"a" * 1000))],
    ids=["trailers", "chunks of a byte with long extensions"],
)
def test_bytes_that_are_no_video_are_bounded_too(start, flood):
    with serving(sends(start, itertools.repeat(flood * 50, 10**6))) as port:
        said, _ = give_up(port, max_bytes=20_000)
    assert "far more bytes came" in said


def test_a_slow_reader_is_nobody_s_fault():
    """Only time spent waiting counts: whoever decodes a live stream between two reads may take as long as needed."""
    with serving(sends(LENGTH + VIDEO, itertools.repeat(bytes(500), 400), pause=0.01)) as port:
        stream = video_download.open_stream(f"http://127.0.0.1:{port}/", 0.2, allow_private=True)
        with stream:
            for _ in range(3):
                assert stream.read(100)
                time.sleep(0.3)
            assert stream.read(100)


def test_a_live_stream_that_stalls_ends():
    with serving(sends(OK + b"\r\n" + VIDEO)) as port:
        stream = video_download.open_stream(f"http://127.0.0.1:{port}/", 0.2, allow_private=True)
        with stream, pytest.raises(VideoReadError, match="nothing came for"):
            while stream.read():
                pass


BROKEN = {
    "short": (LENGTH + VIDEO, "stopped after 2012 of 1000000|broke off"),
    "no HTTP": (b"this is not HTTP\r\n\r\n", "no connection"),
    "no size of a chunk": (CHUNKED + b"zz\r\n", "broke off"),
    "negative size": (CHUNKED + b"-5\r\n", "broke off"),
    "a length in odd digits": (OK + "Content-Length: ²\r\n\r\n".encode("latin-1") + VIDEO, "not a readable video"),
    "negative length": (OK + b"Content-Length: -1\r\n\r\n" + VIDEO, "not a readable video"),
    "redirect to no URL": (b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n", "not a URL|not a valid URL"),
    "redirect to a NUL": (b"HTTP/1.1 302 Found\r\nLocation: http://a\0b/\r\n\r\n", "not a valid URL"),
    "long header": (OK + b"X: " + b"a" * 70_000 + b"\r\n\r\n", "no connection"),
    "many headers": (OK + b"X: a\r\n" * 200 + b"\r\n", "no connection"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_answers_that_break_the_rules(kind):
    answer, message = BROKEN[kind]
    with serving(lambda connection: connection.sendall(answer)) as port, pytest.raises(VideoReadError, match=message):
        open_video(f"http://127.0.0.1:{port}/v", timeout=2.0, allow_private_urls=True)


def test_nobody_listens():
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with pytest.raises(VideoReadError, match="no connection"):
            download(f"http://127.0.0.1:{reserved.getsockname()[1]}/clip.mp4", 2.0, allow_private=True)


def test_what_is_asked_for_is_quoted_and_nothing_can_be_slipped_in():
    asked: list[bytes] = []
    listener = socket.socket()
    with listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 404 No\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        url = f"http://me:pass@127.0.0.1:{listener.getsockname()[1]}/ä b%20c\r\nX-Evil: 1?q=ü&r=%2F#part"
        with pytest.raises(VideoReadError, match="404"):
            download(url, 5.0, allow_private=True)
        thread.join(5)
    lines = asked[0].split(b"\r\n")
    assert lines[0] == b"GET /%C3%A4%20b%20cX-Evil:%201?q=%C3%BC&r=%2F HTTP/1.1"
    assert lines[1].startswith(b"Host: 127.0.0.1:")
    assert not [line for line in lines if line.startswith((b"X-Evil", b"Authorization"))]
