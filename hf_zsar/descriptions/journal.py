"""An append-only cache of the questions that a language model was asked, and of its answers.

One JSON line per answer, forced to the disk before the next question: a run that is killed loses the question under
way and nothing else. A line that the kill tore is cut off when the next one is written.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from hf_zsar.files import append_line
from hf_zsar.processing.descriptions import DescriptionError
from hf_zsar.processing.text_files import parse_json


def cache_key(label: str, *parts: Any) -> str:
    """SHA-256 over the label and everything that shapes the answer (prompt, texts, model, settings)."""
    return hashlib.sha256(json.dumps([label, *parts], ensure_ascii=False, sort_keys=True).encode()).hexdigest()


class Journal:
    """Records by key, in a file (or in memory only, with `path=None`).

    Raises:
        DescriptionError: the file exists but is not a journal.
    """

    def __init__(self, path: str | os.PathLike | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.records: dict[str, dict[str, Any]] = {}
        if self.path is not None and self.path.exists():
            self._load(self.path)

    def _load(self, path: Path) -> None:
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]  # everything behind the last newline was cut off by a kill
        for number, line in enumerate(whole.decode("utf-8", "replace").split("\n")[:-1], start=1):
            try:
                record = parse_json(line, f"line {number}")
                self.records[record["key"]] = record
            except (ValueError, KeyError, TypeError) as error:
                raise DescriptionError(
                    f"{path}: line {number} is not a cache record; name another file or delete this one."
                ) from error

    def get(self, key: str) -> dict[str, Any] | None:
        """The record under a key, None if there is none."""
        return self.records.get(key)

    def put(self, key: str, label: str, **fields: Any) -> dict[str, Any]:
        """Keep a record; it is on the disk when this returns."""
        record = {"key": key, "label": label, **fields}
        self.records[key] = record
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            append_line(self.path, json.dumps(record, ensure_ascii=False))
        return record
