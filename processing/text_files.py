"""Text and JSON files that somebody else wrote: the one reader of each, bounded, with one error for all its faults."""

from __future__ import annotations

import codecs
import json
import os
import sys
from collections import Counter
from typing import Any

from .limits import hold_to, limits


# The mark of UTF-32 begins with that of UTF-16, so it is looked for first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class TextFileError(ValueError):
    """A text file that cannot be read; the message names it and the place, and says what to do."""


def decode(data: bytes, name: str, errors: str = "strict") -> str:
    """Text of a file: UTF-8, or what its byte order mark says.

    Args:
        name: how messages call it.
        errors: `"surrogateescape"` keeps bytes that are not UTF-8: file names may hold some.

    Raises:
        TextFileError: another encoding.
    """
    mark, encoding = next(((mark, code) for mark, code in _MARKS if data.startswith(mark)), (b"", "utf-8"))
    data = data[len(mark) :]
    try:
        text = data.decode(encoding, errors if encoding == "utf-8" else "strict")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TextFileError(f"{name} is not {encoding.upper()} (line {line}): save it as UTF-8.") from error
    if "\0" in text:
        raise TextFileError(f"{name} holds zero bytes: it is not text, or UTF-16 without its mark. Save it as UTF-8.")
    return text


def read_text(path: str | os.PathLike, errors: str = "strict", limit: str = "text_bytes") -> str:
    """The text of a file, see [`decode`].

    Args:
        limit: which limit its bytes are held to.

    Raises:
        OSError: it cannot be opened.
        TextFileError: too large, or as [`decode`].
    """
    name = os.fspath(path)
    if "\0" in name:
        raise TextFileError(f"{name!r} is not a name of a file: it holds a zero byte.")
    with open(path, "rb") as file:
        data = file.read(int(getattr(limits(), limit)) + 1)
    hold_to(limit, len(data), f"{name}: a text of so many bytes or more", TextFileError)
    return decode(data, name, errors)


def read_json(path: str | os.PathLike) -> Any:
    """The value of a JSON file. Raises as [`read_text`] and [`parse_json`]."""
    return parse_json(read_text(path), os.fspath(path))


def parse_json(text: str, name: str) -> Any:
    """The value of a JSON text.

    Args:
        name: what the text is, for messages: a file, a line of it.

    Raises:
        TextFileError: not JSON, a key twice in one object, a number of thousands of digits, or nested deeper than the
            limit `json_depth`.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique)
        depth = depth_of(value)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise TextFileError(f"{name} is not JSON: {error.msg} at {place}; correct it there.") from error
    except RecursionError:
        depth = sys.getrecursionlimit()
    except ValueError as error:
        raise TextFileError(f"{name} is not JSON: {error}.") from error
    hold_to("json_depth", depth, f"{name}: lists and objects within each other", TextFileError)
    return value


def depth_of(value: Any) -> int:
    """Levels of lists and objects in a value: 0 for a string or a number."""
    level, depth = [value], 0
    while containers := [each for each in level if isinstance(each, (dict, list))]:
        depth += 1
        level = [child for each in containers for child in (each.values() if isinstance(each, dict) else each)]
    return depth


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        repeated = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {repeated!r} appears twice in one object; keep one of the two")
    return data
