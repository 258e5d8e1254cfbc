"""`hf-zsar push`: a model folder to the Hub."""

from __future__ import annotations

import argparse

from . import common


EXAMPLE = """examples:
  hf-zsar push my-model org/my-model --private
  hf-zsar push my-model org/my-model --pull-request --message "After 10 epochs"
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "push",
        help="push a model to the Hugging Face Hub in one commit",
        description=(
            "Push a model with its processor, the code that reads it and a model card. Before anything is sent, the "
            "model is loaded in a process without this package and its scores are compared. A push that failed can be "
            "started again: it sends only what is missing."
        ),
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="FOLDER", help="an export, or what save_pretrained or training wrote")
    parser.add_argument("repo_id", metavar="NAMESPACE/NAME", help="created if missing")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to commit to, created from main if missing")
    parser.add_argument("--pull-request", action="store_true", help="open a pull request instead of committing")
    parser.add_argument("--message", metavar="TEXT", help="title of the commit")
    parser.add_argument(
        "--allow-restricted",
        action="store_true",
        help="push although the license of the weights' source does not allow redistribution",
    )
    parser.add_argument("--no-verify", action="store_true", help="do not load and compare before pushing")


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar push`: push and print the address."""
    from hf_zsar.hub import ExportError, LicenseError, PushError, push

    try:
        commit = push(
            args.folder,
            args.repo_id,
            private=args.private or None,
            revision=args.revision,
            create_pr=args.pull_request,
            commit_message=args.message,
            allow_restricted=args.allow_restricted,
            verify=not args.no_verify,
        )
    except (ExportError, LicenseError, PushError) as error:
        raise common.CommandError(str(error)) from error
    print(commit.pr_url or commit.commit_url)
    return 0
