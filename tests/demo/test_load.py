"""The demo under the load of many visitors, in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

import hf_zsar
from tests.tiny_models import tiny_model, tiny_processor
from tests.videos import write_video


gradio_client = pytest.importorskip("gradio_client", reason="the demo needs Gradio (pip install 'hf-zsar[demo]')")

from hf_zsar.demo import charts  # noqa: E402
from hf_zsar.demo.answers import answers, ask  # noqa: E402


ROOT = Path(__file__).resolve().parents[2]
LABELS = "riding a bike\nplaying guitar\ncooking"
REST = (True, *[None] * 6, "")  # "none of these", no example clips
CLIENT = dict(verbose=False, download_files=False, analytics_enabled=False, httpx_kwargs={"timeout": 300})


@pytest.fixture(scope="module")
def pipe() -> Any:
    return hf_zsar.pipeline(tiny_model("rest"), processor=tiny_processor("rest"), device="cpu")


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[psutil.Process, str, Path]]:
    """A server in a process of its own: the process, its address and where its temporary files lie."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with (tmp_path / "log").open("w") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.demo.server", str(port)],
            cwd=ROOT,
            # What is free but kept for threads to come is not a leak.
            env={**os.environ, "TMPDIR": str(scratch), "MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "65536"},
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{address}/config", timeout=5).close()
            break
        except OSError:
            time.sleep(0.2)
    yield psutil.Process(child.pid), address, scratch
    if child.poll() is None:
        child.kill()
    child.wait()


@pytest.mark.slow
def test_uploads_are_gone_when_the_server_is_told_to_end(process: tuple[Any, str, Path], tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", 45)
    server_process, address, scratch = process
    client = gradio_client.Client(address, **CLIENT)
    client.predict(gradio_client.handle_file(str(clip)), LABELS, "", 1.0, *REST, 1, api_name="/classify")
    assert list(scratch.rglob("clip.mp4"))
    server_process.send_signal(signal.SIGTERM)
    server_process.wait(60)
    assert [path for path in scratch.rglob("*") if path.is_file() or path.name.startswith("hf-zsar")] == []


VISITORS, QUESTIONS, ROUNDS = 32, 4, 6


@pytest.mark.slow
def test_many_visitors_get_their_own_answers(process: tuple[Any, str, Path], pipe: Any, tmp_path: Path) -> None:
    """Good and broken files among each other: no wrong answer, and neither memory, threads nor files pile up."""
    server_process, address, scratch = process
    files, expected = [], {}
    for number in range(8):
        file = tmp_path / f"clip {number}.mp4"
        if number % 4 == 3:
            file.write_bytes(bytes(range(256)) * (number + 1))
            expected[file] = "This video cannot be read"
        else:
            write_video(file, 30 + 8 * number, fps=15, height=48 + 8 * number, width=64)
            *_, answer = answers(pipe, ask(pipe, str(file), LABELS, "", 1.0, True))
            expected[file] = charts.scores(answer.scores, answer.unknown)
        files.append(file)

    def visit(number: int) -> int:
        client = gradio_client.Client(address, **CLIENT)
        for turn in range(QUESTIONS):
            file = files[(number + turn) % len(files)]
            given = gradio_client.handle_file(str(file)), LABELS, "", 1.0, *REST, turn
            job = client.submit(*given, api_name="/classify")
            job.result(timeout=300)
            page = "".join(part for output in job.outputs() for part in output if isinstance(part, str))
            assert expected[file] in page, page[-500:]
            others = {text for other, text in expected.items() if text != expected[file]}
            assert not [text for text in others if text in page]
        client.close()
        return QUESTIONS

    measured = []
    for _ in range(ROUNDS):
        with ThreadPoolExecutor(VISITORS) as visitors:
            assert sum(visitors.map(visit, range(VISITORS))) == VISITORS * (QUESTIONS)
        info = server_process.memory_info()
        measured.append((info.rss / 2**20, server_process.num_fds(), server_process.num_threads()))
        print(f"{info.rss / 2**20:.0f} MiB, {measured[-1][1]} descriptors, {measured[-1][2]} threads")
    assert measured[-1][0] - measured[2][0] < 12, "MiB from 384 to 768 questions"
    assert measured[-1][1] - measured[2][1] < 16, "descriptors"
    kept = [path for folder in scratch.glob("*/uploads") for path in folder.rglob("*") if path.is_file()]
    sizes = sorted(path.stat().st_size for path in kept)
    assert sizes == sorted(file.stat().st_size for file in files), "the same upload is kept once, and nothing else"
