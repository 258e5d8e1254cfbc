"""The page and the server."""

from __future__ import annotations

import html
import importlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# Of every question Gradio notes how it went, for a page that is not served, and sums all notes up after each.
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))

import gradio as gr
from starlette.middleware import Middleware

from . import charts
from .answers import MOST_CHARACTERS, Refusal, answers, ask, has_whole_code, parse_labels
from .guard import Guard, keep_clean, upload_folder
from .turns import Turns


logger = logging.getLogger(__name__)

MAX_MB = 200
KEPT = 20  # uploads of the largest size that may lie on the disk at once
QUEUE = 64  # questions that may wait at once
SESSIONS = QUEUE  # pages of which Gradio keeps the last answer, frames and all; one that was let go loses nothing
MOST_WAITING = 32, 8  # of them from one address, behind which there may be many people, and of one page
# What a stranger's video may take here, through the limits that hold for every reader (see `processing/limits.py`).
STRICTER = dict(
    picture_pixels=9_000_000,
    clip_pixels=2**28,
    value_pixels=2**25,
    clip_frames=1024,
    windows=1000,
    decoded_pixels=10**11,
)
EXAMPLE_FIELDS = 6  # labels that may have example clips
EXAMPLE_LABELS = "riding a bike\nwalking a dog\nplaying guitar\ncooking"

CSS = ".gradio-container {max-width: 1100px !important; margin: 0 auto !important}\n"
FONTS = ["system-ui", "-apple-system", "Segoe UI", "sans-serif"]
# Every question has a number, its ticket, and so has every end of one. What belongs to another ticket than the newest
# is hidden by a rule of style, so that no answer is seen beside inputs that it does not belong to, whatever order
# things arrive in.
HEAD = """<script>
(() => {
  const rule = document.head.appendChild(document.createElement("style"));
  let ticket = 0, asked = null, ended = 0;
  const next = () => {
    ticket += 1;
    rule.textContent = `.answer[data-ticket="${ticket}"] {display: block !important}`;
    return ticket;
  };
  const end = (status) => { asked = null; ended = next(); return status; };
  window.zsar = {
    // Behind the inputs are the names of the fields of examples, which are no input of the person, and the ticket.
    ask: (given) => { asked = JSON.stringify(given.slice(0, -2)); return [...given.slice(0, -1), next()]; },
    // An event may come late, when these very inputs have been asked about.
    changed: (inputs) => JSON.stringify(inputs) === asked ? "" : end("Press Classify for these inputs."),
    stop: () => end("Stopped."),
    ended: () => ended,
  };
})();
</script>"""
ASK = "(...given) => zsar.ask(given)"
CHANGED = "(...inputs) => zsar.changed(inputs)"


def build_app(pipe: Any, title: str = "Zero-shot action recognition", concurrency: int = 1) -> gr.Blocks:
    """The page for one loaded pipeline.

    Args:
        pipe: a zero-shot video classification pipeline.
        title: heading of the page.
        concurrency: videos that are worked on at once; others wait in a queue.
    """
    described, whole = pipe.processor.descriptions_kind is not None, has_whole_code(pipe)
    hint = "One a line. “label: phrase, phrase” also describes a label." if described else "One a line."
    turns = Turns()
    with gr.Blocks(title=title, analytics_enabled=False) as app:
        gr.HTML(
            f"<h1>{html.escape(title)}</h1>"
            "A video and any names for what may happen in it; the model says which name fits best."
        )
        with gr.Row():
            with gr.Column(scale=5, min_width=280):
                video = gr.Video(
                    sources=["upload", "webcam"],
                    label="Video",
                    height=340,
                    webcam_options=gr.WebcamOptions(mirror=False),
                    elem_id="video",
                )
                labels = gr.Textbox(
                    EXAMPLE_LABELS,
                    label="Labels",
                    info=hint,
                    lines=5,
                    max_lines=20,
                    max_length=MOST_CHARACTERS,
                    elem_id="labels",
                )
                with gr.Accordion("More", open=False):
                    template = gr.Textbox(
                        label="Prompt", info="With {} for the label. Empty: the model's own.", elem_id="template"
                    )
                    window = gr.Slider(
                        0,
                        10,
                        2,
                        step=0.5,
                        label="Timeline",
                        info="Seconds per window; 0 for none.",
                        visible=hasattr(pipe, "timeline"),
                        elem_id="window",
                    )
                    unknown = gr.Checkbox(
                        whole,
                        label="None of these",
                        info="Score that it is something else.",
                        visible=whole,
                        elem_id="unknown",
                    )
                with gr.Accordion("Example clips", open=False, visible=whole, elem_id="examples"):
                    names = gr.Textbox(EXAMPLE_LABELS, visible=False)
                    fields = [example_field(name) for name in field_names(EXAMPLE_LABELS)]
                with gr.Row():
                    button = gr.Button("Classify", variant="primary", elem_id="classify")
                    stop = gr.Button("Stop", elem_id="stop")
            with gr.Column(scale=6, min_width=280):
                status = gr.HTML("Drop a video, type labels, press Classify.", elem_id="status")
                result = gr.HTML(elem_id="result", min_height=60)
                timeline = gr.HTML(elem_id="timeline")
        ticket = gr.Number(0, visible=False)

        def classify(request: gr.Request, *given: Any) -> Iterator[list[Any]]:
            *inputs, shown, ticket = given
            visitor, ticket, own = str(request.session_hash), float(ticket or 0), inputs[:-EXAMPLE_FIELDS]
            clips = zip(inputs[-EXAMPLE_FIELDS:], field_names(shown or ""), strict=True)
            examples = [(path, name) for paths, name in clips for path in paths or ()]
            for update in updates(pipe, (*own, examples), lambda: turns.wants(visitor, ticket)):
                # Both anew, though only what differs is sent: each `gr.skip()` makes Gradio keep one more component.
                yield [charts.for_ticket(ticket, part) for part in update]

        def over(ticket: float, request: gr.Request) -> None:
            turns.take(str(request.session_hash), float(ticket or 0))

        def leave(request: gr.Request) -> None:
            turns.leave(str(request.session_hash))

        inputs = [video, labels, template, window, unknown, *fields]
        button.click(None, None, status, js="() => ''", trigger_mode="multiple")  # first: one waits for the other
        button.click(
            classify,
            [*inputs, names, ticket],
            [result, timeline],
            js=ASK,
            trigger_mode="multiple",
            concurrency_limit=concurrency,
            concurrency_id="model",
            show_progress="minimal",
            show_progress_on=status,
            api_name="classify",
        )
        aside = dict(queue=False, show_progress="hidden", api_visibility="private")
        stop.click(None, None, status, js="() => zsar.stop()", trigger_mode="multiple")
        # Not `change`: fields that `rename` empties are no news to the person.
        changes = [video.change, *(event for field in fields for event in (field.upload, field.clear, field.delete))]
        changes += [component.input for component in inputs[1 : -len(fields)]]
        for change in changes:
            change(None, inputs, status, js=CHANGED, trigger_mode="multiple")
        for event in (stop.click, *changes):  # nobody waits for the old answer: the server need not work on it
            event(over, ticket, None, js="() => zsar.ended()", trigger_mode="always_last", **aside)
        labels.blur(rename, [labels, names], [*fields, names], trigger_mode="always_last", **aside)
        app.unload(leave)
    app.turns, app.over = turns, threading.Event()
    return app.queue(max_size=QUEUE, default_concurrency_limit=concurrency, api_open=False)


def example_field(name: str) -> gr.File:
    """A field for the example clips of a label; hidden without one."""
    return gr.File(label=name, visible=bool(name), file_count="multiple", file_types=["video"], height=120)


def field_names(text: str) -> list[str]:
    """The labels, as typed, that have a field for example clips; empty where there are fewer than fields."""
    try:
        labels = parse_labels(text)[0]
    except Refusal:
        labels = []
    return [*labels, *[""] * EXAMPLE_FIELDS][:EXAMPLE_FIELDS]


def rename(text: str, shown: str) -> list[Any]:
    """The fields of examples for other labels: where one gets another name, the clips in it are let go."""
    pairs = zip(field_names(text), field_names(shown or ""), strict=True)
    changed = [
        gr.skip() if name == before else gr.File(label=name, visible=bool(name), value=None) for name, before in pairs
    ]
    return [*changed, text]


def updates(pipe: Any, given: tuple[Any, ...], wanted: Callable[[], bool]) -> Iterator[tuple[str, str]]:
    """HTML of the result and of the timeline, whenever there is more of them to show.

    Args:
        pipe: a zero-shot video classification pipeline.
        given: video, labels, prompt, seconds of a window, whether to score "none of these", and (path, label) of
            example clips, as they stand on the page.
        wanted: whether anybody waits for the answer; when not, this ends.
    """
    if not wanted():
        return
    try:
        question = ask(pipe, *given)
        yield charts.working(question), ""
        result = ""
        for answer in answers(pipe, question, wanted):
            if not wanted():
                return
            result = result or charts.result(answer)
            yield result, charts.timeline(answer.timeline) if answer.timeline else ""
    except Refusal as refusal:
        problem = str(refusal)
    except Exception:
        logger.exception("a question failed")
        problem = "Something went wrong on the server. Please try again, or with another video."
    else:
        return
    if wanted():
        yield charts.problem(problem), ""


def admit(app: gr.Blocks, visitor: str, address: str, inputs: list[Any]) -> None:
    """A question of a visitor arrives: what they asked before is over, and there must be a place in the queue.

    Raises:
        Refusal: too many questions of theirs wait already.
    """
    if not isinstance(inputs[-1], (int, float)):
        raise Refusal("This is not a question of the page.")
    app.turns.take(visitor, float(inputs[-1]))
    waiting = [event for queue in app._queue.event_queue_per_concurrency_id.values() for event in queue.queue]
    of_address = sum(1 for event in waiting if event.request.client and event.request.client.host == address)
    of_visitor = sum(1 for event in waiting if event.session_hash == visitor)
    if of_address >= MOST_WAITING[0] or of_visitor >= MOST_WAITING[1]:
        raise Refusal("Many questions of yours are waiting already. Please wait for one of them.")


def launch(
    pipe: Any,
    *,
    title: str = "Zero-shot action recognition",
    host: str = "127.0.0.1",
    port: int | None = None,
    max_mb: int = MAX_MB,
    concurrency: int = 1,
    block: bool = True,
) -> tuple[gr.Blocks, str]:
    """Start the demo. From then on this process takes no larger videos than a server of strangers should.

    Args:
        pipe: a zero-shot video classification pipeline.
        title: heading of the page.
        host, port: where to listen; by default only this machine, on the first free port from 7860.
        max_mb: largest upload in megabytes.
        concurrency: videos worked on at once.
        block: serve until interrupted. Otherwise return at once; stop with `app.close()`.

    Returns:
        The app and its address. Uploads lie in a folder of their own, which is removed when the process ends.
    """
    lower_limits(pipe)
    folder, remove_uploads = upload_folder()
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    if block and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _leave)
    app = build_app(pipe, title, concurrency)
    app.uploads, app.remove_uploads = folder, remove_uploads
    keep_clean(folder, app.over)
    most = max_mb * 1024 * 1024
    guard = Middleware(Guard, folder, most, KEPT * most, lambda *question: admit(app, *question))
    theme = gr.themes.Default(font=FONTS, font_mono=["ui-monospace", "monospace"])
    _, address, _ = app.launch(
        server_name=host,
        server_port=port,
        max_file_size=most,
        state_session_capacity=SESSIONS,
        prevent_thread_lock=not block,
        quiet=not block,
        show_error=False,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        theme=theme,
        css=CSS + charts.CSS,
        head=HEAD,
        ssr_mode=False,
        app_kwargs={"middleware": [guard]},
    )
    return app, address


def lower_limits(pipe: Any) -> None:
    """Apply `STRICTER` to the code that the pipeline reads videos with, be it a package or a model's own."""
    package = type(pipe.processor.video_processor).__module__.rpartition(".")[0]
    try:
        module = importlib.import_module(f"{package}.limits")
    except ModuleNotFoundError:
        logger.warning("The model's code is older than the limits of what a video may take: none are lowered.")
    else:
        module.set_limits(**STRICTER)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # an ordinary end, which removes the uploads
