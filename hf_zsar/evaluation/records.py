"""The record of an evaluation: one JSON value that says what was measured, on what, with what, and gives every number.

It carries the six things without which a number means nothing: training set, class set, clip set, split rule, frames x
views, candidates. Tables, card entries, comparisons and plots are made from records alone.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hf_zsar.files import write_text
from hf_zsar.printing import dump_json, without_nan
from hf_zsar.processing.text_files import read_json


FORMAT = "hf_zsar/result/1"
_LIBRARIES = ("hf-zsar", "torch", "transformers", "safetensors", "av", "numpy")


def library_versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def now() -> str:
    """UTC, ISO 8601, seconds."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def record_json(record: Mapping[str, Any], encoding: str = "utf-8") -> str:
    """The record as JSON text that an encoding can hold, one line. NaN becomes null."""
    return dump_json(without_nan(record), encoding)


def save_record(record: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Write as JSON, atomically."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, record_json(record) + "\n")


def load_record(path: str | os.PathLike) -> dict[str, Any]:
    """Read a record.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a result record.
    """
    record = read_json(path)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(f"{path} is not a result of `hf-zsar evaluate --json` (expected format {FORMAT}).")
    return record


def main_metric(record: Mapping[str, Any]) -> tuple[str, float | None, float | None]:
    """The number to quote: its name, its value in 0..1, and its std over splits (None for one split)."""
    summary = record["summary"]
    name = next(name for name in ("harmonic", "map", "top1") if name in summary)
    value = summary[name]
    if isinstance(value, Mapping):
        return name, value["mean"], value["std"] if value["splits"] > 1 else None
    return name, value, None
