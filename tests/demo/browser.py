"""The demo's page in headless Chromium, for the tests that do what a person does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
).split()
PATIENCE = 60

# Looks at every picture that the browser paints, for an answer that does not belong to the inputs beside it.
WATCH = """() => {
  window.wrong = [];
  const look = () => {
    const video = document.querySelector("#video video");
    const name = video ? decodeURIComponent(video.src.split("/").pop()) : "";
    const labels = document.querySelector("#labels textarea").value.trim().split(/\\s*\\n\\s*/).join(", ");
    for (const answer of document.querySelectorAll(".answer")) {
      const subject = answer.querySelector(".subject");
      if (!subject || answer.offsetParent === null) continue;
      const shown = subject.innerText;
      if (shown !== `${name} · labels: ${labels}`) window.wrong.push([shown, name, labels, Date.now()]);
    }
    requestAnimationFrame(look);
  };
  look();
}"""


class Gate:
    """Stands before a model's video side and lets a video through when the test says so."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.calls = 0
        self.pause = 0.0
        self.open = threading.Event()
        self.open.set()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        assert self.open.wait(PATIENCE), "the test forgot to open the gate"
        time.sleep(self.pause)
        return self.function(*args, **kwargs)


class Page:
    """What a person does on the page."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(address)
        page.wait_for_selector("#video input[type=file]", state="attached")
        page.evaluate(WATCH)

    def upload(self, file: Path) -> None:
        """Put a video in, in place of the one that is there."""
        if self.page.locator("#video video").count():
            self.page.click("#video button[aria-label='Clear']")
        self.page.set_input_files("#video input[type=file]", str(file))
        self.page.wait_for_selector("#video video")

    def type_labels(self, labels: list[str]) -> None:
        self.page.fill("#labels textarea", "\n".join(labels))

    def upload_example(self, label: str, file: Path) -> None:
        """Put a clip into the field of a label."""
        if not self.page.locator("#examples input[type=file]").count():
            self.page.click("#examples button")
        field = self.page.locator("#examples .block", has_text=label)
        field.locator("input[type=file]").first.set_input_files(str(file))
        self.page.wait_for_selector(f"#examples :text('{file.stem}')")

    def classify(self) -> None:
        self.page.click("#classify")

    def answer(self) -> str:
        """The text of the answer, once there is one."""
        self.page.wait_for_selector("#result .scores, #result [role=alert]")
        return self.page.inner_text("#result")

    def finished(self) -> str:
        """The text of the timeline, once it is complete."""
        self.page.wait_for_function("() => / windows of /.test(document.querySelector('#timeline').innerText)")
        return self.page.inner_text("#timeline")

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < deadline, "it never happened"
            self.page.wait_for_timeout(20)
        return found

    def visible(self) -> str:
        """What there is to be read of answers."""
        return self.page.inner_text("#result") + self.page.inner_text("#timeline")

    def mismatches(self) -> list[Any]:
        """Answers that were seen beside other inputs for longer than an event takes to arrive in the browser."""
        seen: dict[tuple[str, ...], list[int]] = {}
        for *what, when in self.page.evaluate("window.wrong"):
            seen.setdefault(tuple(what), []).append(when)
        return [what for what, times in seen.items() if max(times) - min(times) > 300]
