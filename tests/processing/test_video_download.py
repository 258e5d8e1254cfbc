"""Videos from URLs: what is fetched, what is refused, and that nothing waits for ever. All on this machine."""

from __future__ import annotations

import socket
import sys
import threading
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hf_zsar.processing import video_download
from hf_zsar.processing.limits import set_limits
from hf_zsar.processing.video_download import is_text
from hf_zsar.processing.video_processing_zsar import ZSARVideoProcessor
from hf_zsar.processing.video_reading import VideoReadError, open_video
from tests.videos import frame_number


@pytest.fixture
def server():
    """A server on the loopback interface; `server.routes[path]` is what answers there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.requests.append(self.path)
            self.server.routes[self.path.split("?")[0]](self)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        routes: dict = {}
        requests: list = []

        def handle_error(self, *_):
            pass  # clients hang up on purpose

        def url(self, path: str = "/clip.mp4", host: str = "127.0.0.1") -> str:
            return f"http://{host}:{self.server_port}{path}"

    running = Server(("127.0.0.1", 0), Handler)
    running.routes, running.requests = {}, []
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


def sends(body: bytes, content_type: str = "application/octet-stream", length: int | None = None, **headers: str):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", content_type)
        if length != -1:
            handler.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def redirects(location: str, status: int = 302):
    def answer(handler):
        handler.send_response(status)
        handler.send_header("Location", location)
        handler.end_headers()

    return answer


def fetch(url: str, **options):
    return open_video(url, **{"allow_private_urls": True, "timeout": 5.0, **options})


# What is read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [None, -1])
def test_a_video_is_fetched_and_the_copy_removed(server, synthetic, length, tmp_path, monkeypatch):
    monkeypatch.setattr(video_download.tempfile, "tempdir", str(tmp_path))
    server.routes["/clip.mp4"] = sends(synthetic("h264.mp4").read_bytes(), "text/plain", length)
    with fetch(server.url() + "?token=a%20b") as reader:
        assert [frame_number(picture) for picture in reader.read_at([0.0, 1.0]).frames] == [0, 24]
        assert reader.info.name == server.url() + "?token=***"
        # Where the system reads files that have no name, a kill of this process leaves none either.
        assert len(list(tmp_path.iterdir())) == (0 if sys.platform == "linux" else 1)
    assert list(tmp_path.iterdir()) == [], "the temporary copy is gone"
    assert server.requests == ["/clip.mp4?token=a%20b"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server, synthetic, status):
    server.routes["/old"] = redirects("/clip.mp4", status)
    server.routes["/clip.mp4"] = sends(synthetic("h264.mp4").read_bytes())
    with fetch(server.url("/old")) as reader:
        assert reader.info.num_frames == 48


def test_through_the_video_processor(server, synthetic):
    server.routes["/clip.mp4"] = sends(synthetic("h264.mp4").read_bytes())
    processor = ZSARVideoProcessor(num_frames=2)
    by_url = processor(server.url(), allow_private_urls=True, timeout=5)["pixel_values_videos"]
    assert (by_url == processor(synthetic("h264.mp4"))["pixel_values_videos"]).all()
    with pytest.raises(VideoReadError, match="not a public address"):
        processor(server.url())
    assert "allow_private_urls" not in processor.to_dict(), "a saved configuration cannot switch the check off"


def test_a_live_url_gives_windows_as_they_come(server, synthetic):
    data = synthetic("h264.mkv").read_bytes()
    cut = len(data) * 3 // 4
    go_on = threading.Event()

    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(data[:cut])
        handler.wfile.flush()
        go_on.wait(10)
        handler.wfile.write(data[cut:])

    server.routes["/live"] = answer
    with fetch(server.url("/live"), live=True) as reader:
        windows = reader.windows(0.5, num_frames=2)
        first = next(windows)
        assert not go_on.is_set(), "the first window comes while the stream is still running"
        go_on.set()
        rest = list(windows)
    assert [(window.start, round(window.end, 2)) for window in [first, *rest]] == [
        (0, 0.5),
        (0.5, 1),
        (1, 1.5),
        (1.5, 2),
    ]


# What is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/a.mp4",
        "file:///etc/passwd",
        "rtsp://example.org/a",
        "gopher://example.org",
        "data://x",
        "s3://b/k",
    ],
)
def test_only_http(url):
    with pytest.raises(VideoReadError, match=f"only http and https are read, not {url.split(':')[0]}"):
        fetch(url)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f000001", "0.0.0.0"])
def test_this_machine_is_refused(server, host):
    server.routes["/clip.mp4"] = sends(b"secret")
    with pytest.raises(VideoReadError, match="not a public address|was not found"):
        open_video(server.url(host=host), timeout=5.0)
    assert server.requests == []


def test_every_redirect_is_checked(server, synthetic, monkeypatch):
    """A public server may not send us to a private one, nor from http to another scheme."""
    server.routes["/clip.mp4"] = sends(synthetic("h264.mp4").read_bytes())
    monkeypatch.setattr(video_download, "is_public", lambda address: address == "127.0.0.1")
    for target, message in [
        (f"http://127.0.0.2:{server.server_port}/clip.mp4", "127.0.0.2, which is not a public address"),
        ("file:///etc/passwd", "only http and https are read, not file .after a redirect"),
        ("ftp://127.0.0.1/clip.mp4", "only http and https"),
        ("//169.254.169.254/latest", "169.254.169.254"),
    ]:
        server.routes["/away"] = redirects(target)
        with pytest.raises(VideoReadError, match=message):
            open_video(server.url("/away"), timeout=5.0)
    assert server.requests == ["/away"] * 4
    server.routes["/near"] = redirects("clip.mp4")
    with open_video(server.url("/near"), timeout=5.0) as reader:
        assert reader.info.num_frames == 48


def test_the_name_is_resolved_once_and_that_address_used(server, synthetic, monkeypatch):
    """A name that changes its address between check and use (DNS rebinding) gains nothing."""
    server.routes["/clip.mp4"] = sends(synthetic("h264.mp4").read_bytes())
    asked: list[str] = []

    def resolver(host, port, **_):
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "10.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(video_download, "is_public", lambda address: address == "127.0.0.1")
    real = socket.getaddrinfo
    monkeypatch.setattr(
        video_download.socket,
        "getaddrinfo",
        lambda host, *a, **k: (resolver if host == "video.test" else real)(host, *a, **k),
    )
    with open_video(server.url(host="video.test"), timeout=5.0) as reader:
        assert reader.info.num_frames == 48
    assert asked == ["video.test"]


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch):
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 80)) for each in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(video_download.socket, "getaddrinfo", lambda *_, **__: answers)
    with pytest.raises(VideoReadError, match="10.0.0.1, which is not a public address"):
        open_video("http://mixed.test/a.mp4", timeout=2.0)


@pytest.mark.parametrize("error", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
def test_a_host_without_an_address(error, monkeypatch):
    def nobody_knows(*_, **__):
        raise error

    monkeypatch.setattr(video_download.socket, "getaddrinfo", nobody_knows)
    with pytest.raises(VideoReadError, match="the host nowhere.test was not found"):
        open_video("http://nowhere.test/a.mp4", timeout=2.0)


@pytest.mark.parametrize("length", [None, -1])
def test_too_large(server, length):
    server.routes["/clip.mp4"] = sends(b"\x00" * 300_000, length=length)
    # An announced length is refused before the body is read.
    match = "more than the 100000 bytes allowed" if length else "300000 bytes, more than the 100000 allowed"
    with pytest.raises(VideoReadError, match=match):
        fetch(server.url(), max_bytes=100_000)
    before = set_limits(download_bytes=90_000)
    try:
        with pytest.raises(VideoReadError, match="90000"):
            fetch(server.url())
    finally:
        set_limits(**asdict(before))


def test_circles(server):
    server.routes["/a"] = redirects("/b")
    server.routes["/b"] = redirects("/a")
    with pytest.raises(VideoReadError, match="more than 5 redirects"):
        fetch(server.url("/a"))
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>Please sign in</body></html>", "text, not a video.*<!DOCTYPE"),
        (b'{"error": "not found"}', "text, not a video"),
        (b"#EXTM3U\n#EXTINF:2,\nfile:///etc/passwd\n", "text, not a video"),
        ("Größe: zu groß".encode() * 40, "text, not a video"),
        (bytes(range(256)) * 20, "not a readable video"),
    ],
)
def test_an_answer_that_is_no_video(server, body, message):
    server.routes["/clip.mp4"] = sends(body, "video/mp4")
    with pytest.raises(VideoReadError, match=message) as caught:
        fetch(server.url())
    assert server.url() in str(caught.value)


def test_text_may_end_in_the_middle_of_a_letter():
    assert is_text("ö".encode()[:1].rjust(30, b"a"))
    assert not is_text(b"\x00\x00\x00\x20ftypisom")


def test_status_codes(server):
    server.routes["/gone"] = lambda handler: handler.send_error(404, "Not Found")
    with pytest.raises(VideoReadError, match="answered 404 Not Found"):
        fetch(server.url("/gone"))


@pytest.mark.parametrize("url", ["http://", "http:///a.mp4", "http://[::1", "http://host:port/", "http://a b/c.mp4"])
def test_malformed_urls(url):
    with pytest.raises(VideoReadError):
        open_video(url, timeout=2.0)
