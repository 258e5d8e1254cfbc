"""Text and JSON files that somebody else wrote: the one reader of each, bounded, with one error for all that is wrong."""

from __future__ import annotations

import json
import os
import re
from typing import Any


# Of the largest list file of the field (Kinetics-700's annotations, 110 MB), doubled.
TEXT_BYTES = 256 * 2**20
# No format of ours has more than 7 levels; what walks over a value may need several calls for each.
JSON_DEPTH = 64

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
# What a file that starts so is written in; "utf-8-sig" also reads files without the mark.
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def read_text(
    path: str | os.PathLike, *, error: type[Exception] = ValueError, max_bytes: int = TEXT_BYTES
) -> str:
    """The text of a file: UTF-8, or UTF-16 with a byte-order mark; the mark is no part of it.

    Raises:
        error: no such file, a folder, more than `max_bytes`, or no text. The message names the file and the remedy.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as problem:
        raise error(f"{name}: cannot be read ({problem.strerror or problem}); check the path.") from problem
    except ValueError as problem:  # a NUL in the name
        raise error(f"{name!r}: cannot be read ({problem}); check the path.") from problem
    if len(data) > max_bytes:
        raise error(f"{name}: larger than the {max_bytes} bytes allowed for such a file.")
    try:
        return data.decode(_MARKS.get(data[:2], "utf-8-sig"))
    except UnicodeDecodeError as problem:
        raise error(f"{name}: not UTF-8 (byte {problem.start}); save it as UTF-8.") from problem


def read_json(path: str | os.PathLike, *, error: type[Exception] = ValueError, max_bytes: int = TEXT_BYTES) -> Any:
    """The value of a JSON file.

    Raises:
        error: as [`read_text`] and [`parse_json`]; the message names the file.
    """
    return parse_json(read_text(path, error=error, max_bytes=max_bytes), os.fspath(path), error=error)


def parse_json(text: str, where: str, *, error: type[Exception] = ValueError) -> Any:
    """The value of a JSON text.

    Args:
        where: what the text is, for messages: a file, a line of it.

    Raises:
        error: not JSON, a key twice in one object, nested deeper than `JSON_DEPTH`, a number of thousands of digits,
            or half a surrogate pair (which no file or tokenizer takes).
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as problem:
        place = f"line {problem.lineno}, column {problem.colno}"
        raise error(f"{where}: not valid JSON at {place}: {problem.msg}; correct it there.") from problem
    except UnicodeEncodeError as problem:
        raise error(f"{where}: a string holds half of a surrogate pair, which is no character.") from problem
    except RecursionError as problem:
        raise error(f"{where}: nested deeper than the {JSON_DEPTH} levels allowed.") from problem
    except ValueError as problem:
        raise error(f"{where}: not valid JSON: {problem}.") from problem
    if depth_of(value) > JSON_DEPTH:
        raise error(f"{where}: nested deeper than the {JSON_DEPTH} levels allowed.")
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
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {repeated!r} appears twice in one object; keep one of the two")
    return data


__all__ = ["parse_json", "read_json", "read_text"]
