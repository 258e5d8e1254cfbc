"""`hf-zsar push-space`: the demo of a pushed model as a Space."""

from __future__ import annotations

import argparse

from . import common


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "push-space",
        help="make a Hugging Face Space with the demo of a pushed model",
        description="Make a Gradio Space in which anybody can try a model that lies on the Hub.",
    )
    parser.add_argument("repo_id", metavar="NAMESPACE/NAME", help="of the Space; created if missing")
    parser.add_argument("--model", required=True, metavar="ID", help="model on the Hub, pushed with `hf-zsar push`")
    parser.add_argument("--title", help="heading of the page (default: the model's name)")
    parser.add_argument("--private", action="store_true", help="make a new Space private")


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar push-space`: push and print the address."""
    from hf_zsar.hub import PushError, push_space

    try:
        commit = push_space(args.repo_id, args.model, title=args.title, private=args.private or None)
    except PushError as error:
        raise common.CommandError(str(error)) from error
    print(str(commit.repo_url))
    return 0
