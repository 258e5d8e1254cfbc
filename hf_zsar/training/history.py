"""The course of a run: a record for each epoch, and a picture of them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from hf_zsar.files import write_json
from hf_zsar.plots.training import draw_history
from hf_zsar.processing.text_files import TextFileError, read_json


def write_history(records: list[dict[str, Any]], output: Path) -> None:
    """`history.json` and, with matplotlib, `curve.png`."""
    write_json(output / "history.json", records)
    with suppress(ImportError):
        draw_history(records, output / "curve.png")


def read_history(output: Path) -> list[dict[str, Any]]:
    """What `write_history` wrote into a folder; nothing where it did not.

    Raises:
        TextFileError: the file is damaged.
    """
    path = output / "history.json"
    records = read_json(path) if path.is_file() else []
    if not isinstance(records, list) or not all(isinstance(each, dict) and "epoch" in each for each in records):
        raise TextFileError(f"{path} is not a list of epochs: remove it.")
    return records


__all__ = ["read_history", "write_history"]
