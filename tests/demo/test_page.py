"""The demo's page in headless Chromium, where Debian's `chromium` and `chromium-driver` are installed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hf_zsar
from tests.tiny_models import tiny_model, tiny_processor
from tests.videos import write_video


gradio = pytest.importorskip("gradio", reason="the demo needs Gradio (pip install 'hf-zsar[demo]')")

from hf_zsar.demo import app as page_module  # noqa: E402
from hf_zsar.demo.answers import Refusal, answer  # noqa: E402


LABELS = ["riding a bike", "playing guitar", "cooking"]
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
)
PATIENCE = 60


@pytest.fixture(scope="module")
def pipe() -> Any:
    return hf_zsar.pipeline(tiny_model("dasti"), processor=tiny_processor("dasti"), device="cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("page") / "clip.mp4", 90, fps=15, height=96, width=128)


def test_answers_and_refusals_fill_the_same_outputs(pipe: Any, clip: Path) -> None:
    shown = page_module.shown(answer(pipe, str(clip), "\n".join(LABELS), window=2.0))
    refused = page_module.refused("No & never.")
    app = page_module.build_app(pipe)
    (classify,) = [fn for fn in app.fns.values() if fn.api_name == "classify"]
    assert len(shown) == len(refused) == len(classify.outputs)
    assert classify.concurrency_limit == 1
    assert app.delete_cache == (page_module.CLEAN_EVERY, page_module.KEEP_FOR)
    assert "No &amp; never." in refused[0]["value"]
    assert refused[1] is None, "no scores of an earlier video stay"
    with pytest.raises(Refusal):
        answer(pipe, None, "a\nb")


# ---------------------------------------------------------------------------------------------------------- browser
class Page:
    """What a person does on the page."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver = driver
        driver.get(address)
        self.wait(lambda: self.find("#labels textarea") and self.find("#video input[type=file]"))

    def find(self, selector: str) -> list[Any]:
        from selenium.webdriver.common.by import By

        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def wait(self, condition: Callable[[], Any]) -> Any:
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        wait = WebDriverWait(self.driver, PATIENCE, 0.1, ignored_exceptions=[StaleElementReferenceException])
        return wait.until(lambda _: condition())

    def upload(self, file: Path) -> None:
        self.find("#video input[type=file]")[0].send_keys(str(file))

    def classify(self, file: Path, labels: list[str]) -> None:
        self.upload(file)
        box = self.find("#labels textarea")[0]
        box.clear()
        box.send_keys("\n".join(labels))
        self.wait(lambda: self.find("#video video"))
        self.find("#classify")[0].click()
        self.wait(lambda: self.find("#frames img") or self.find("#problem [role=alert]"))

    def press(self, selector: str, text: str) -> None:
        self.wait(lambda: [button for button in self.find(selector) if text in button.text])[0].click()

    def text(self, selector: str) -> str:
        return "\n".join(element.text for element in self.find(selector))

    def width(self) -> tuple[int, int]:
        sizes = "return [document.documentElement.clientWidth, document.documentElement.scrollWidth]"
        return tuple(self.driver.execute_script(sizes))


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="driving a browser needs selenium")
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not chromedriver:
        pytest.skip("chromium and chromedriver are not installed (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.add_argument("--window-size=1200,900")
    running = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    yield running
    running.quit()


@pytest.fixture
def serve(pipe: Any) -> Iterator[Callable[..., tuple[str, Path]]]:
    """Starts the demo; gives its address and the folder of uploads."""
    running = []

    def start(**options: Any) -> tuple[str, Path]:
        app, address = page_module.launch(pipe, block=False, **options)
        running.append(app)
        return address, Path(app.uploads.name)

    yield start
    for app in running:
        app.close()
        app.uploads.cleanup()


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1200, 900), (390, 844)], ids=["desktop", "phone"])
def test_drop_a_video_type_labels_read_scores(
    size: tuple[int, int], driver: Any, serve: Callable, pipe: Any, clip: Path
) -> None:
    metrics = dict(width=size[0], height=size[1], deviceScaleFactor=1, mobile=False)
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page = Page(driver, serve()[0])
    page.classify(clip, LABELS)
    expected = pipe(str(clip), candidate_labels=LABELS)
    page.wait(lambda: f"{expected[0]['score']:.0%}" in page.text("#scores"))
    scores = page.text("#scores")
    for entry in expected:
        assert entry["label"] in scores
        assert f"{entry['score']:.0%}" in scores
    assert expected[0]["label"] in page.text("#explanation")
    assert set(LABELS) <= set(page.text("#timeline .legend").split("\n"))
    assert len(page.find("#frames img")) == 4
    assert "the model looked at 4 frames" in page.text("#about")
    client, scroll = page.width()
    assert scroll <= client, "the page is wider than the screen"


@pytest.mark.slow
def test_a_broken_file_shows_its_message_and_the_next_video_works(
    driver: Any, serve: Callable, clip: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(clip.read_bytes()[: clip.stat().st_size // 20])
    page = Page(driver, serve()[0])
    page.classify(broken, LABELS)
    assert page.text("#problem [role=alert]").startswith("This video cannot be read")
    assert not page.find("#frames img")
    page.find("#video button[aria-label='Clear']")[0].click()
    page.wait(lambda: page.find("#video input[type=file]"))
    page.upload(clip)
    page.wait(lambda: page.find("#video video"))
    page.find("#classify")[0].click()
    page.wait(lambda: page.find("#frames img"))
    assert not page.text("#problem")


@pytest.mark.slow
def test_the_camera_records_what_the_model_can_read(driver: Any, serve: Callable) -> None:
    page = Page(driver, serve()[0])
    page.find("#video button[aria-label='Capture from camera']")[0].click()
    page.press("#video button", "Webcam")
    page.press("#video button", "Record")
    time.sleep(3)
    page.press("#video button", "Stop")
    page.wait(lambda: page.find("#video video[src*='/file=']"))
    page.find("#classify")[0].click()
    page.wait(lambda: page.find("#frames img") or page.find("#problem [role=alert]"))
    assert not page.text("#problem")
    assert "the model looked at 4 frames" in page.text("#about")


@pytest.mark.slow
def test_a_file_that_is_too_large_is_refused_in_words(driver: Any, serve: Callable, tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(3_000_000))
    address, uploads = serve(max_mb=1)
    page = Page(driver, address)
    page.upload(large)
    page.wait(lambda: "exceed the maximum" in page.text("body").lower())
    assert not [file for file in uploads.rglob("*.mp4") if file.stat().st_size > 1_100_000]


def files_in(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


@pytest.mark.slow
def test_uploads_are_removed_after_a_while_and_at_the_end(
    driver: Any, serve: Callable, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "CLEAN_EVERY", 1)
    monkeypatch.setattr(page_module, "KEEP_FOR", 2)
    address, uploads = serve()
    page = Page(driver, address)
    page.classify(clip, LABELS)
    assert list(uploads.rglob("clip.mp4"))
    deadline = time.monotonic() + PATIENCE
    while (left := files_in(uploads)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not left
