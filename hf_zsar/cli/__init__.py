"""The `hf-zsar` command.

Each sub-command is a module of this package with two functions, `add_parser(subparsers)` and `run(args) -> int` (the
exit status), listed by name in `COMMANDS`. A module imports only the standard library at its top, so that `--help`
answers at once; whatever is heavy is imported inside `run`.

Exit status: 0 all done, 1 some inputs failed and the rest was done, 2 nothing could be done (wrong usage, no model, no
labels), 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from hf_zsar.errors import sentence
from hf_zsar.processing.urls import redacted

from .common import say


# In the order of `hf-zsar --help`; the module is the name with "_" for "-".
COMMANDS = (
    "classify",
    "find",
    "demo",
    "adapt",
    "calibrate",
    "embed",
    "search",
    "label",
    "dedup",
    "sample",
    "models",
    "evaluate",
    "train",
    "cache",
    "compare",
    "describe",
    "explain-transfer",
    "filter-overlap",
    "fit-prototypes",
    "convert",
    "export-onnx",
    "push",
    "push-space",
)


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of one command, or of all when the command is not known yet (`--help`)."""
    parser = argparse.ArgumentParser(
        prog="hf-zsar", description="Zero-shot action recognition: a video and any class names in, scores out."
    )
    parser.add_argument("--version", action=PrintVersion, help="print the version and exit")
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in [command] if command in COMMANDS else COMMANDS:
        module(name).add_parser(subparsers)
    return parser


def module(command: str) -> Any:
    """The module of a sub-command."""
    return importlib.import_module(f"{__name__}.{command.replace('-', '_')}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `hf-zsar` with these arguments (default: those of the process) and give the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    _prepare_streams()
    command = next((word for word in argv if not word.startswith("-")), None)
    args = build_parser(command).parse_args(argv)
    if not sys.stderr.isatty():  # of the libraries; read by them when they are imported
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    format_warning, warnings.formatwarning = warnings.formatwarning, _warning
    try:
        status = module(args.command).run(args)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output (`| head`) has left
        _drop_unwritten()
        return 1
    except Exception as error:
        if args.traceback:
            raise
        _drop_unwritten()
        say(f"hf-zsar {args.command}: {sentence(error)}")
        return 2
    finally:
        warnings.formatwarning = format_warning


def _warning(message: Warning | str, *_: object, **__: object) -> str:
    return f"warning: {redacted(str(message))}\n"


def _prepare_streams() -> None:
    """So that printing ends no run: what a stream cannot encode is escaped; a closed stream (`2>&-`) is replaced."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for the rest of the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _drop_unwritten() -> None:
    """Drop output that cannot be written (closed pipe, full disk), of which the interpreter would complain at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class PrintVersion(argparse.Action):
    """`--version`, looked up only when asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **kwargs: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, **kwargs)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from hf_zsar import __version__

        print(f"hf-zsar {__version__}")
        parser.exit()
