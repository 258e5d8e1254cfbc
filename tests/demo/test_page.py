"""The page as a person uses it, in headless Chromium where one is installed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import hf_zsar
from hf_zsar.processing.limits import limits, set_limits
from tests.demo.browser import FLAGS, Gate, Page
from tests.tiny_models import tiny_model, tiny_processor
from tests.videos import write_video


gradio = pytest.importorskip("gradio", reason="the demo needs Gradio (pip install 'hf-zsar[demo]')")

from hf_zsar.demo import app as page_module  # noqa: E402
from hf_zsar.demo import guard  # noqa: E402


LABELS = ["riding a bike", "playing guitar", "cooking"]
OTHERS = ["walking a dog", "surfing"]


@pytest.fixture(scope="module")
def pipe() -> Any:
    pipe = hf_zsar.pipeline(tiny_model("dasti"), processor=tiny_processor("dasti"), device="cpu")
    pipe.model.encode_videos = Gate(pipe.model.encode_videos)
    return pipe


@pytest.fixture
def gate(pipe: Any) -> Iterator[Gate]:
    gate = pipe.model.encode_videos
    yield gate
    gate.pause = 0.0
    gate.open.set()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two of six seconds and one of twenty."""
    folder = tmp_path_factory.mktemp("page")
    sizes = dict(fps=15, height=96, width=128)
    return [write_video(folder / f"clip {n}.mp4", frames, **sizes) for n, frames in (("a", 90), ("b", 90), ("c", 300))]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="driving a browser needs playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def serve(pipe: Any) -> Iterator[Callable[..., Any]]:
    """Starts the demo with some options, or gives the one that runs with them."""
    running: dict[str, Any] = {}
    before = asdict(limits())

    def start(**options: Any) -> Any:
        key = str(sorted(options.items()))
        if key not in running:
            running[key] = page_module.launch(pipe, block=False, **options)
        return running[key]

    yield start
    for app, _ in running.values():
        app.over.set()
        app.close()
        app.remove_uploads()
    set_limits(**before)


@pytest.fixture
def open_page(browser: Any, serve: Callable) -> Iterator[Callable[..., Page]]:
    """Opens the page in a tab of its own."""
    tabs = []

    def start(width: int = 1200, height: int = 900, **options: Any) -> Page:
        tabs.append(browser.new_page(viewport=dict(width=width, height=height)))
        return Page(tabs[-1], serve(**options)[1])

    yield start
    for tab in tabs:
        tab.close()


def test_whole_scores_come_first_then_the_timeline(open_page: Callable, gate: Gate, pipe: Any, clips: list) -> None:
    page = open_page()
    page.upload(clips[0])
    page.type_labels(LABELS)
    expected = pipe(str(clips[0]), candidate_labels=LABELS)
    gate.pause = 0.3
    page.classify()
    answer = page.answer()
    assert "Window " in page.page.inner_text("#timeline"), "the timeline is still on its way"
    assert answer.startswith("clip a.mp4 · labels: riding a bike, playing guitar, cooking")
    for entry in expected:
        assert entry["label"] in answer and f"{entry['score']:.0%}" in answer
    timeline = page.finished()
    assert "3 windows of 2 s" in timeline
    assert all(label in timeline for label in LABELS)
    assert page.page.locator("#result .frames img").count() == 4
    assert page.mismatches() == []


def test_a_new_click_ends_the_old_question(open_page: Callable, gate: Gate, clips: list) -> None:
    """Another video and other labels while a long video is being scored."""
    page = open_page()
    page.upload(clips[2])
    page.type_labels(LABELS)
    gate.open.clear()
    before = gate.calls
    page.classify()
    page.wait_for(lambda: gate.calls > before)  # the model works on the long video
    page.upload(clips[1])
    page.type_labels(OTHERS)
    page.classify()
    gate.open.set()
    assert page.answer().startswith("clip b.mp4 · labels: walking a dog, surfing")
    page.finished()
    page.page.wait_for_timeout(300)
    assert page.visible().startswith("clip b.mp4")
    assert "clip c" not in page.visible()
    assert page.mismatches() == []
    assert gate.calls - before == 1 + 4, "no window of the long video was scored for nothing"


def test_changed_labels_and_stop_leave_no_answer_behind(open_page: Callable, gate: Gate, clips: list) -> None:
    page = open_page()
    page.upload(clips[2])
    page.type_labels(LABELS)
    gate.pause = 0.2
    page.classify()
    page.answer()
    page.page.click("#stop")
    page.wait_for(lambda: "Stopped." in page.page.inner_text("#status"))
    assert page.visible().strip() == ""
    done = page.wait_for(lambda: gate.calls)
    page.page.wait_for_timeout(700)
    assert gate.calls <= done + 1, "the server goes on with what was stopped"
    gate.pause = 0.0
    page.classify()
    page.finished()
    page.page.type("#labels textarea", "\nx")
    page.wait_for(lambda: page.visible().strip() == "")
    assert "Press Classify" in page.page.inner_text("#status")
    page.classify()
    assert page.answer().startswith("clip c.mp4 · labels: riding a bike, playing guitar, cooking, x")


@pytest.mark.slow
def test_example_clips_of_a_label(open_page: Callable, clips: list) -> None:
    page = open_page()
    page.upload(clips[0])
    page.type_labels(LABELS)
    page.page.click("#examples button")  # the field of labels loses the focus
    page.wait_for(lambda: "walking a dog" not in page.page.inner_text("#examples"))
    page.upload_example("playing guitar", clips[1])
    page.classify()
    answer = page.answer()
    assert "1 example clip" in answer and "none of these" in answer.lower()
    page.type_labels([LABELS[0], "surfing", LABELS[2]])
    page.classify()
    page.page.wait_for_selector("#result .subject:has-text('surfing')")
    assert "example clip" not in page.page.inner_text("#result"), "that clip shows another label"


def test_two_tabs_and_a_reload_do_not_mix(open_page: Callable, gate: Gate, clips: list) -> None:
    first, second = open_page(), open_page()
    for page, clip, labels in ((first, clips[0], LABELS), (second, clips[1], OTHERS)):
        page.upload(clip)
        page.type_labels(labels)
    gate.open.clear()
    first.classify()
    second.classify()
    gate.open.set()
    assert first.answer().startswith("clip a.mp4 · labels: riding a bike")
    assert second.answer().startswith("clip b.mp4 · labels: walking a dog")
    gate.pause = 0.2
    first.classify()
    first.answer()
    again = Page(first.page, first.page.url)
    assert again.visible().strip() == ""
    again.upload(clips[1])
    again.classify()
    assert again.answer().startswith("clip b.mp4")
    assert again.mismatches() == second.mismatches() == []


@pytest.mark.slow
def test_a_broken_file_shows_its_message_and_the_next_video_works(
    open_page: Callable, clips: list, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(clips[0].read_bytes()[:1500])
    page = open_page()
    page.upload(broken)
    page.type_labels(LABELS)
    page.classify()
    assert page.answer().startswith("This video cannot be read")
    assert not page.page.locator("#result img").count()
    page.upload(clips[0])
    page.classify()
    assert page.answer().startswith("clip a.mp4")


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1200, 900), (390, 844)], ids=["desktop", "phone"])
def test_the_page_fits_the_screen(open_page: Callable, size: tuple[int, int], clips: list) -> None:
    page = open_page(*size)
    page.upload(clips[0])
    page.type_labels([*LABELS, "an action with a name so long that it does not fit into one line of a small screen"])
    page.classify()
    page.finished()
    client, scroll = page.page.evaluate("[document.documentElement.clientWidth, document.documentElement.scrollWidth]")
    assert scroll <= client, "the page is wider than the screen"


@pytest.mark.slow
def test_the_camera_records_what_the_model_can_read(open_page: Callable) -> None:
    page = open_page()
    page.page.click("#video button[aria-label='Capture from camera']")
    page.page.click("#video button:has-text('Webcam')")
    page.page.click("#video button:has-text('Record')")
    page.page.wait_for_timeout(3000)
    page.page.click("#video button:has-text('Stop')")
    page.page.wait_for_selector("#video video[src*='/file=']")
    page.classify()
    assert "the model looked at 4 frames" in page.answer()


@pytest.mark.slow
def test_a_file_that_is_too_large_is_refused_in_words(open_page: Callable, serve: Callable, tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(3_000_000))
    page = open_page(max_mb=1)
    page.page.set_input_files("#video input[type=file]", str(large))
    page.wait_for(lambda: "exceed the maximum" in page.page.inner_text("body").lower())
    uploads = serve(max_mb=1)[0].uploads
    assert not [file for file in uploads.rglob("*.mp4") if file.stat().st_size > 1_100_000]


def test_uploads_are_removed_after_a_while(serve: Callable, tmp_path: Path) -> None:
    old, new = tmp_path / "a" / "old.mp4", tmp_path / "b" / "new.mp4"
    for file in (old, new, tmp_path / "broken off"):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
    ago = time.time() - 100
    os.utime(old, (ago, ago))
    os.utime(tmp_path / "broken off", (ago, ago))
    guard.sweep(tmp_path, 50)
    assert [path.name for path in tmp_path.rglob("*")] == ["b", "new.mp4"]
