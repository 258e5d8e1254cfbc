"""The page and the server."""

from __future__ import annotations

import logging
import os
import tempfile
from typing import Any


os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from . import charts
from .answers import Answer, Refusal, answer
from .explanations import DESCRIBED


logger = logging.getLogger(__name__)

MAX_MB = 200
QUEUE = 16  # people who may wait at once
CLEAN_EVERY, KEEP_FOR = 300, 3600  # seconds: how often uploads are looked through, and how long one is kept
EXAMPLE_LABELS = "riding a bike\nwalking a dog\nplaying guitar\ncooking"

CSS = """
.gradio-container {max-width: 1100px !important; margin: 0 auto !important}
#frames .grid-wrap {height: auto; min-height: 0; max-height: none; overflow: visible}
@media (max-width: 640px) {#frames .grid-container {grid-template-columns: repeat(3, minmax(0, 1fr)) !important}}
"""
FONTS = ["system-ui", "-apple-system", "Segoe UI", "sans-serif"]


def build_app(pipe: Any, title: str = "Zero-shot action recognition", concurrency: int = 1) -> gr.Blocks:
    """The page for one loaded pipeline.

    Args:
        pipe: a zero-shot video classification pipeline.
        title: heading of the page.
        concurrency: videos that are worked on at once; others wait in a queue.
    """
    described = pipe.model.config.model_type in DESCRIBED
    hint = "One a line. “label: phrase, phrase” also describes a label." if described else "One a line."
    with gr.Blocks(title=title, delete_cache=(CLEAN_EVERY, KEEP_FOR), analytics_enabled=False) as app:
        gr.Markdown(
            f"# {title}\nA video and any names for what may happen in it; the model says which name fits best."
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
                labels = gr.Textbox(EXAMPLE_LABELS, label="Labels", info=hint, lines=5, max_lines=20, elem_id="labels")
                with gr.Accordion("More", open=False):
                    template = gr.Textbox(
                        label="Prompt", info="With {} for the label. Empty: the model's own.", elem_id="template"
                    )
                    window = gr.Slider(0, 10, 2, step=0.5, label="Timeline", info="Seconds per window; 0 for none.")
                button = gr.Button("Classify", variant="primary", elem_id="classify")
            with gr.Column(scale=6, min_width=280):
                problem = gr.HTML(visible=False, elem_id="problem")
                scores = gr.Label(label="Scores", num_top_classes=8, elem_id="scores")
                about = gr.Markdown(elem_id="about")
                explanation = gr.HTML(visible=False, elem_id="explanation")
                timeline = gr.HTML(visible=False, elem_id="timeline")
                frames = gr.Gallery(
                    label="Frames",
                    show_label=False,
                    columns=4,
                    object_fit="contain",
                    container=False,
                    visible=False,
                    format="jpeg",
                    elem_id="frames",
                )

        def classify(video: str | None, text: str, template: str, window: float) -> list[Any]:
            try:
                return shown(answer(pipe, video, text, template, window))
            except Refusal as refusal:
                return refused(str(refusal))

        outputs = [problem, scores, about, explanation, timeline, frames]
        run = dict(fn=classify, inputs=[video, labels, template, window], outputs=outputs)
        button.click(**run, concurrency_limit=concurrency, concurrency_id="model", api_name="classify")
    return app.queue(max_size=QUEUE, default_concurrency_limit=concurrency)


def shown(answer: Answer) -> list[Any]:
    """Updates of the outputs for an answer."""
    return [
        gr.update(visible=False),
        answer.scores,
        answer.about,
        _chart(charts.bars(answer.explanation) if answer.explanation else None),
        _chart(charts.timeline(answer.timeline) if answer.timeline else None),
        gr.update(value=answer.frames, visible=True),
    ]


def refused(sentence: str) -> list[Any]:
    """Updates of the outputs when there is no answer: the sentence, and nothing left over from before."""
    return [_chart(charts.problem(sentence)), None, "", *[gr.update(visible=False)] * 3]


def _chart(text: str | None) -> Any:
    return gr.update(visible=False) if text is None else gr.update(value=text, visible=True)


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
    """Start the demo.

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
    uploads = tempfile.TemporaryDirectory(prefix="hf-zsar-demo-")
    os.environ["GRADIO_TEMP_DIR"] = uploads.name
    app = build_app(pipe, title, concurrency)
    app.uploads = uploads  # lives as long as the app
    theme = gr.themes.Default(font=FONTS, font_mono=["ui-monospace", "monospace"])
    _, address, _ = app.launch(
        server_name=host,
        server_port=port,
        max_file_size=max_mb * 1024 * 1024,
        prevent_thread_lock=not block,
        quiet=not block,
        show_error=False,
        footer_links=[],
        theme=theme,
        css=CSS + charts.CSS,
        ssr_mode=False,
    )
    return app, address
