"""The demo as a public server: what it lets in, what it tells, how it bears many visitors."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import hf_zsar
from hf_zsar.processing.limits import limits, set_limits
from tests.tiny_models import tiny_model, tiny_processor
from tests.videos import write_video


gradio_client = pytest.importorskip("gradio_client", reason="the demo needs Gradio (pip install 'hf-zsar[demo]')")

from hf_zsar.demo import app as server  # noqa: E402
from hf_zsar.demo import guard  # noqa: E402
from hf_zsar.demo.answers import Refusal  # noqa: E402
from hf_zsar.demo.turns import Turns  # noqa: E402


ROOT = Path(__file__).resolve().parents[2]
LABELS = "riding a bike\nplaying guitar\ncooking"
BOUNDARY = "a-line-that-is-in-no-file"


@pytest.fixture(scope="module")
def pipe() -> Any:
    return hf_zsar.pipeline(tiny_model("rest"), processor=tiny_processor("rest"), device="cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("server") / "my clip.mp4", 45, fps=15, height=48, width=64)


@pytest.fixture(scope="module")
def running(pipe: Any) -> Iterator[tuple[Any, str]]:
    """The app and its address."""
    before = asdict(limits())
    app, address = server.launch(pipe, block=False, max_mb=1)
    yield app, address.rstrip("/")
    app.over.set()
    app.close()
    app.remove_uploads()
    set_limits(**before)


def request(url: str, data: bytes | None = None, **headers: str) -> tuple[int, str]:
    """Status and text."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")


def post(url: str, data: bytes) -> tuple[int, str]:
    return request(url, data, **{"Content-Type": "application/json"})


def upload(address: str, file: Path, **headers: str) -> tuple[int, str]:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{file.name}"\r\n\r\n'
    body = head.encode() + file.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **headers}
    return request(f"{address}/gradio_api/upload", body, **headers)


def join(address: str, video: Any, session: str = "s", **more: Any) -> tuple[int, str]:
    """Queue a question."""
    number = next(fn["id"] for fn in config(address)["dependencies"] if fn["api_name"] == "classify")
    data = [video, LABELS, "", 1.0, False, *[None] * server.EXAMPLE_FIELDS, "", 1]
    body = {"data": data, "fn_index": number, "session_hash": session, **more}
    return request(
        f"{address}/gradio_api/queue/join", json.dumps(body).encode(), **{"Content-Type": "application/json"}
    )


def config(address: str) -> dict[str, Any]:
    return json.loads(request(f"{address}/config")[1])


# ------------------------------------------------------------------------------------------------- what it tells
def test_no_answer_names_a_path_of_the_server(running: tuple[Any, str], clip: Path, tmp_path: Path) -> None:
    app, address = running
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all")
    told = [request(f"{address}{path}")[1] for path in ("/", "/config", "/gradio_api/info", "/theme.css")]
    for number, file in enumerate((clip, broken)):
        status, text = upload(address, file)
        assert status == 200
        [path] = json.loads(text)
        assert path.startswith("/uploads/") and path.endswith(f"/{file.name}")
        video = {"path": path, "meta": {"_type": "gradio.FileData"}}
        told += [text, join(address, video, f"paths {number}")[1]]
        told.append(request(f"{address}/gradio_api/queue/data?session_hash=paths%20{number}")[1])
        assert request(f"{address}/gradio_api/file={urllib.request.quote(path)}")[0] == 200
    assert '<div class=\\"scores\\">' in told[6]
    assert "This video cannot be read" in told[-1]
    secrets = [str(app.uploads), tempfile.gettempdir() + "/", str(ROOT), str(Path.home()) + "/", sys.prefix]
    for text in told:
        assert [secret for secret in secrets if secret in text] == []


# ----------------------------------------------------------------------------------------------- what it lets in
@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/process_recording",
        "/gradio_api/component_server",
        "/gradio_api/proxy=https://example.org/",
        "/gradio_api/call/classify",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=/uploads/../../etc/passwd",
        "/gradio_api/stream/s/1/2/playlist.m3u8",
        "/gradio_api/runs",
        "/gradio_api/vibe-code",
        "/monitoring",
        "/monitoring/summary",
        "/docs",
        "/openapi.json",
        "/static/../../secret",
    ],
)
def test_what_the_page_does_not_need_is_not_served(running: tuple[Any, str], path: str) -> None:
    for data in (None, b"{}"):
        status, text = request(running[1] + path, data)
        assert status == 404
        assert "no such page" in text


@pytest.mark.parametrize(
    "video",
    [
        {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
        {"path": "https://example.org/clip.mp4", "meta": {"_type": "gradio.FileData"}},
        {"path": "/uploads/../../etc/passwd", "meta": {"_type": "gradio.FileData"}},
        {"video": {"path": "/etc/passwd"}, "subtitles": None},
        [{"deeper": [{"path": "../../etc/passwd"}]}],
    ],
)
def test_a_question_is_about_an_upload_only(running: tuple[Any, str], video: Any) -> None:
    status, text = join(running[1], video)
    assert status == 400
    assert "not a request of the page" in text


def test_a_link_beside_an_upload_is_not_followed(running: tuple[Any, str], clip: Path) -> None:
    guarding = guard.Guard(None, Path("/srv/up"), 1, 1, lambda *question: None)
    content = {"session_hash": "s", "data": [{"path": "/uploads/x/clip.mp4", "url": "http://example.org/"}, 1]}
    admitted = guarding._admitted({"path": "/gradio_api/queue/join", "client": None}, content)
    assert admitted["data"][0] == {"path": "/srv/up/x/clip.mp4"}


@pytest.mark.parametrize("body", [b"{", b"[1]", b'{"data": 1}', b'{"data": [1], "session_hash": "s"}', b"[" * 100_000])
def test_what_is_no_question_is_refused(running: tuple[Any, str], body: bytes) -> None:
    assert post(f"{running[1]}/gradio_api/queue/join", body)[0] == 400


def test_sizes_are_bounded(running: tuple[Any, str], clip: Path, tmp_path: Path, monkeypatch: Any) -> None:
    app, address = running
    # Told at once, before the body is sent.
    assert b" 413 " in told_early(address, "/gradio_api/upload", 3_000_000)
    assert b"at most 1 MB" in told_early(address, "/gradio_api/upload", 3_000_000)
    larger = tmp_path / "larger.mp4"  # small enough for a request, too large for a file
    larger.write_bytes(bytes(1_500_000))
    assert upload(address, larger)[0] == 413
    status, text = join(address, None, labels="x" * 2_000_000)
    assert (status, "too large" in text) == (413, True)
    monkeypatch.setattr(guard, "stored", lambda folder: 10**12)
    status, text = upload(address, clip)
    assert (status, "too many uploads" in text) == (503, True)
    monkeypatch.setattr(guard, "stored", lambda folder: 0)
    monkeypatch.setattr(guard, "MOST_UPLOADS", 0)
    assert upload(address, clip)[0] == 503
    left = [file for file in app.uploads.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in left) < 1_200_000, "nothing of what was refused is kept"


def told_early(address: str, path: str, length: int) -> bytes:
    """What the server says to a request of which it has seen the beginning only."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as raw:
        raw.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
        told = raw.recv(4000)
        while b"}" not in told:
            told += raw.recv(4000)
        return told


def test_an_upload_must_say_how_long_it_is(running: tuple[Any, str]) -> None:
    host, port = running[1].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as raw:
        raw.sendall(b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert b" 411 " in raw.recv(1000)


def test_an_upload_that_a_full_disk_cannot_hold(tmp_path: Path) -> None:
    async def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    sent: list[dict[str, Any]] = []
    scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "headers": [(b"content-length", b"9")]}
    guarding = guard.Guard(full, tmp_path, 10, 100, lambda *question: None)
    asyncio.run(guarding(scope, full, send))
    assert sent[0]["status"] == 507 and b"no room for uploads" in sent[1]["body"]
    assert not guarding._uploading, "its place is free again"


def test_a_slow_upload_is_given_up(running: tuple[Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "UPLOAD_SECONDS", 0.3)
    host, port = running[1].removeprefix("http://").split(":")
    head = f"Content-Length: 1000\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n--"
    with socket.create_connection((host, int(port)), timeout=30) as raw:
        raw.sendall(b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\n" + head.encode())
        assert b"200" not in raw.recv(1000)


def test_places_in_the_queue_are_limited_for_each_visitor() -> None:
    def event(host: str, session: str) -> Any:
        return SimpleNamespace(request=SimpleNamespace(client=SimpleNamespace(host=host)), session_hash=session)

    def app(*events: Any) -> Any:
        queues = {"model": SimpleNamespace(queue=list(events))}
        return SimpleNamespace(_queue=SimpleNamespace(event_queue_per_concurrency_id=queues), turns=Turns())

    of_address, of_page = server.MOST_WAITING
    full = app(*(event("1.2.3.4", f"page {number}") for number in range(of_address)))
    with pytest.raises(Refusal, match="waiting already"):
        server.admit(full, "new", "1.2.3.4", [None, 1])
    server.admit(full, "new", "5.6.7.8", [None, 1])
    busy = app(*(event("1.2.3.4", "page") for _ in range(of_page)))
    with pytest.raises(Refusal, match="waiting already"):
        server.admit(busy, "page", "9.9.9.9", [None, 2])
    server.admit(busy, "other", "9.9.9.9", [None, 2])
    assert not busy.turns.wants("page", 1), "what they asked before is over all the same"
    with pytest.raises(Refusal, match="not a question"):
        server.admit(app(), "page", "", ["x"])


def test_turns() -> None:
    turns = Turns()
    assert turns.wants("a", 1)
    turns.take("a", 2)
    turns.take("a", 1)
    assert (turns.wants("a", 1), turns.wants("a", 2), turns.wants("b", 1)) == (False, True, True)
    turns.leave("a")
    assert not turns.wants("a", 10**9)
    for number in range(20_000):
        turns.take(str(number), 1)
    assert len(turns._newest) == 10_000


def test_the_server_takes_smaller_videos_than_the_library(running: tuple[Any, str]) -> None:
    in_force = asdict(limits())
    assert server.STRICTER.items() <= in_force.items()
    assert all(in_force[name] < value for name, value in asdict(type(limits())()).items() if name in server.STRICTER)


def test_of_all_questions_of_a_page_only_the_last_answer_is_kept(running: tuple[Any, str], clip: Path) -> None:
    app, address = running
    [path] = json.loads(upload(address, clip)[1])
    kept = []
    for _ in range(3):
        assert join(address, {"path": path, "meta": {"_type": "gradio.FileData"}}, "one page")[0] == 200
        assert "process_completed" in request(f"{address}/gradio_api/queue/data?session_hash=one%20page")[1]
        state = app.app.state_holder["one page"]
        kept.append((len(state.blocks_config.blocks), len(state.config_values), len(app._queue.event_analytics)))
    assert kept[1:] == kept[:1] * 2 and kept[0][2] == 1


def test_a_failure_is_told_and_ends(pipe: Any, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError(f"out of memory in {ROOT}")

    monkeypatch.setattr(pipe, "label_bank", fail)
    first, last = server.updates(pipe, (str(clip), LABELS, "", 0.0), lambda: True)
    assert "Reading" in first[0]
    assert "Something went wrong on the server" in last[0] and str(ROOT) not in last[0]
    assert list(server.updates(pipe, (str(clip), LABELS, "", 0.0), lambda: False)) == []


def test_uploads_of_killed_servers_go_when_the_next_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, signal; from hf_zsar.demo.guard import upload_folder; folder, _ = upload_folder()\n"
            "(folder / 'clip.mp4').write_bytes(b'video'); os.kill(os.getpid(), signal.SIGKILL)",
        ],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        cwd=ROOT,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.rglob("clip.mp4")] == ["clip.mp4"]
    living, remove = guard.upload_folder()
    (living / "other.mp4").write_bytes(b"video")
    _, remove_another = guard.upload_folder()
    assert not list(tmp_path.rglob("clip.mp4")), "left by the killed one"
    assert (living / "other.mp4").is_file(), "of a server that runs"
    remove()
    remove_another()
    assert list(tmp_path.iterdir()) == []


def test_fields_for_examples_are_named_after_the_labels() -> None:
    assert server.field_names("a\nb: words") == ["a", "b", "", "", "", ""]
    assert server.field_names("") == [""] * 6
    assert server.field_names(", ".join("abcdefgh")) == list("abcdef")
    *fields, shown = server.rename("a\nc\nd", "a\nb")
    assert shown == "a\nc\nd"
    assert fields[0] == fields[3] == server.gr.skip()  # the clips of `a` stay
    assert [(field.label, field.visible, field.value) for field in fields[1:3]] == [(c, True, None) for c in "cd"]
    *fields, _ = server.rename("a", "a\nb")
    assert not fields[1].visible and fields[1].value is None
