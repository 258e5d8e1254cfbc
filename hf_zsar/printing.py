"""Text for streams and files of any encoding: names of files are bytes, and need not be text at all."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str, encoding: str = "utf-8") -> str:
    """Text that a stream of this encoding can show: what it lacks, control characters and bytes of names that are no
    text come out as escapes."""
    text = _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)
    return text.encode(encoding, "backslashreplace").decode(encoding)


def dump_json(value: Any, encoding: str = "utf-8", indent: int | None = None) -> str:
    """Strict JSON that this encoding can hold: all in ASCII where it lacks a character. Bytes of file names that are
    no text stand as escapes, from which `json.loads` and `os.fsencode` make them again.

    Raises:
        ValueError: a number that JSON does not have.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = json.dumps(value, allow_nan=False, indent=indent)
    return text


def without_nan(value: Any) -> Any:
    """A value for JSON with None for NaN and infinities, which JSON does not have; tuples come out as lists."""
    if isinstance(value, Mapping):
        return {str(key): without_nan(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
