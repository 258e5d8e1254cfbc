"""The page and the picture of segments; the page in a browser."""

from __future__ import annotations

import shutil
import time

import numpy as np
import pytest
from PIL import Image

from hf_zsar.plots.segments import MAX_LANES, clock, draw_lanes, draw_segments, lanes
from hf_zsar.plots.style import new_figure
from hf_zsar.segments.annotations import VideoSegments
from hf_zsar.segments.page import save_page, segments_page
from tests.demo.browser import FLAGS
from tests.videos import write_video


SEGMENTS = (
    {"label": "riding a <b>bike</b>", "start": 0.5, "end": 1.5, "score": 0.9},
    {"label": 'say "cheese" & co', "start": 2.5, "end": 3.5, "score": 0.4},
    {"label": "riding a <b>bike</b>", "start": 3.0, "end": 4.0},
)


def found(**more):
    return VideoSegments("folder/ride & more.webm", SEGMENTS, 4.0, **more)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(
        tmp_path_factory.mktemp("page") / "ride & more.webm", 96, codec="libvpx", options={"cpu-used": "8"}
    )


def test_names_are_text_and_nothing_else():
    page = segments_page(found(), "a.webm")
    assert "<b>bike" not in page and "&lt;b&gt;bike" in page and "say &quot;cheese&quot; &amp; co" in page
    assert page.count("data-start") == 2 * len(SEGMENTS) + page.count("[data-start]")
    assert "http" not in page.replace("http-equiv", "")  # nothing comes from elsewhere


def test_a_page_without_segments_and_length():
    assert "nothing found" in segments_page(VideoSegments("a", (), 3.0), "a.mp4")
    with pytest.raises(ValueError, match="length of the video"):
        segments_page(VideoSegments("a"), "a.mp4")


def test_a_large_video_stays_beside_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_zsar.segments.page.EMBEDDED_BYTES", 3)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a b#1.webm").write_bytes(b"1234")
    save_page(tmp_path / "page.html", found(), str(tmp_path / "in/a b#1.webm"))
    assert 'src="in/a%20b%231.webm"' in (tmp_path / "page.html").read_text()


def until(page, condition):
    """Playwright's own waiting evaluates text in the page, which the page forbids."""
    end = time.monotonic() + 30
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
@pytest.mark.parametrize("embedded", [True, False])
def test_a_click_on_a_segment_seeks(video, tmp_path, embedded, monkeypatch):
    sync_api = pytest.importorskip("playwright.sync_api")
    if not embedded:
        monkeypatch.setattr("hf_zsar.segments.page.EMBEDDED_BYTES", 0)
    save_page(tmp_path / "page.html", found(), str(video))
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(error))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto((tmp_path / "page.html").as_uri())
        until(page, "document.querySelector('video').readyState >= 1")
        now = "document.querySelector('video').currentTime"
        assert page.evaluate(now) == 0
        page.click("li:nth-child(2) button")
        until(page, f"Math.abs({now} - 2.5) < 0.1")
        page.click(".lane:nth-of-type(1) button:nth-of-type(2)")
        until(page, f"Math.abs({now} - 3) < 0.1")
        until(page, "document.querySelector('li:nth-child(3) button').classList.contains('on')")
        assert page.inner_text("li:nth-child(1)").endswith("riding a <b>bike</b> 0.90")
        assert errors == []
        browser.close()


def test_the_picture(video, tmp_path):
    draw_segments(str(tmp_path / "a.png"), found(), str(video))
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    blue = (picture[..., 2] - picture[..., 0] > 60).any(axis=0)  # columns with a bar
    half = len(blue) // 2
    assert blue[:half].any() and blue[half:].any()


def test_lanes():
    assert lanes(found()) == ["riding a <b>bike</b>", 'say "cheese" & co']
    many = VideoSegments("a", tuple({"label": str(i), "start": i, "end": i + 1 + i % 7} for i in range(MAX_LANES + 9)))
    kept = lanes(many)
    assert len(kept) == MAX_LANES and kept == sorted(kept, key=int) and "0" not in kept
    assert (clock(59.6), clock(725), clock(3725)) == ("1:00", "12:05", "1:02:05")


def test_ticks_say_where_they_stand():
    axes = new_figure(8, 2).subplots()
    draw_lanes(axes, found(), lanes(found()), 14.6)
    ticks = [place for place in axes.get_xticks() if place <= 14.6]
    assert ticks == [0, 3, 6, 9, 12] and [clock(place) for place in ticks] == ["0:00", "0:03", "0:06", "0:09", "0:12"]
