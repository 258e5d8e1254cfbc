"""`hf-zsar demo`: a web page to try a model on."""

from __future__ import annotations

import argparse

from . import common


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "demo",
        help="open a web page: drop a video, type labels, see scores",
        description="Serve a web page where one drops a video or records one, types labels and sees the scores.",
    )
    common.add_model_arguments(parser)
    group = parser.add_argument_group("server")
    group.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    group.add_argument("--port", type=common.positive, help="port (default: the first free one from 7860)")
    group.add_argument("--max-mb", type=common.positive, default=200, metavar="MB", help="largest upload (200)")
    group.add_argument("--concurrency", type=common.positive, default=1, metavar="N", help="videos at once (1)")
    parser.add_argument("--title", default="Zero-shot action recognition", help="heading of the page")


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise common.CommandError("the demo needs Gradio: pip install 'hf-zsar[demo]'") from error
    from hf_zsar.demo.app import launch

    pipe = common.load_pipeline(args)
    launch(pipe, title=args.title, host=args.host, port=args.port, max_mb=args.max_mb, concurrency=args.concurrency)
    return 0
