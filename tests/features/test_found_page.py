"""The page of what was found, in a browser: pictures, time ranges, a click plays the place; hostile names are text."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from hf_zsar.cli import main
from hf_zsar.features.shards import Row
from hf_zsar.plots.found_page import address_of, found_page
from tests.tiny_models import tiny_folder
from tests.videos import write_video


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A page of two texts over windows of a video with an awkward name, and what was said."""
    folder = tmp_path_factory.mktemp("found")
    (folder / "clips").mkdir()
    write_video(folder / "clips" / "a b#1 <i>'100%'.webm", 120, fps=24, codec="libvpx", gop=6)
    model = str(tiny_folder("actionclip", folder / "model"))
    store, page = str(folder / "store"), folder / "pages" / "found.html"
    page.parent.mkdir()
    assert main(["embed", str(folder / "clips"), "--out", store, "--window", "1", "--model", model]) == 0
    words = ["search", store, "cooking & <b>more</b>", "riding a bike", "--model", model, "--top-k", "3"]
    assert main([*words, "--html", str(page), "--json"]) == 0
    return page


def test_a_click_seeks(found, capsys):
    playwright = pytest.importorskip("playwright.sync_api", reason="driving a browser needs playwright")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed")
    flags = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=flags.split())
        tab = browser.new_page(viewport={"width": 900, "height": 700})
        wrong = []
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("requestfailed", lambda request: wrong.append(request.url))
        tab.goto(found.as_uri())
        assert tab.locator("h2").all_inner_texts() == ["cooking & <b>more</b>", "riding a bike"]
        assert tab.locator(".card").count() == 6 and tab.locator("i, h2 b").count() == 0
        loaded = "images => images.every(image => image.naturalWidth > 100)"
        assert tab.locator(".card img").evaluate_all(loaded)
        for place in (4, 1):
            card = tab.locator(".card").nth(place)
            start = float(card.get_attribute("data-start"))
            card.click()
            tab.wait_for_function(
                "start => { const v = document.querySelector('video');"
                " return v.readyState >= 2 && v.currentTime >= start - 0.05 && v.currentTime < start + 1.5 }",
                arg=start, timeout=15_000,
            )  # fmt: skip
            assert card.get_attribute("class") == "card now"
        tab.screenshot(path=str(found.parent / "found.png"))
        browser.close()
    assert not wrong


def test_the_page_stands_alone_and_ranges_are_shown(found):
    text = found.read_text()
    assert not re.findall(r"(?:src|href)=.?https?:|@import|<link", text)
    assert text.count("data:image/jpeg;base64,") == 6
    assert re.search(r"0:0[0-4]\.0 - 0:0[1-5]\.0", text)


def test_what_cannot_be_shown_has_no_picture_and_secrets_no_place(tmp_path):
    rows = [Row("x", "gone.mp4"), Row("y", "http://127.0.0.1:9/v.mp4?token=***", 1.0, 2.0), Row("z", "javascript:x")]
    text = found_page({"t": [(row, 0.5) for row in rows]}, tmp_path, time_limit=5)
    assert text.count("no picture") == 3 and "<img" not in text
    assert 'href="http://127.0.0.1:9/v.mp4?token=***#t=1.000,2.000"' in text and 'href="javascript' not in text
    for source in ("s3://bucket/a.mp4", "data:text/html,x", "tar://a.mp4::/x.tar"):
        assert not address_of(source, tmp_path).startswith(("s3:", "data:", "tar:")), json.dumps(source)


def test_wrong_places_for_a_page(tmp_path, capsys):
    assert main(["search", "none", "a", "--html", str(tmp_path / "x.png")]) == 2
    assert "must end in one of .html" in capsys.readouterr().err
