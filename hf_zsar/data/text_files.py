"""Lists, manifests and tables as people save them: with a byte order mark, with semicolons, from other systems.

Every reader of a text file that a person wrote starts here. Standard library only.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any


# The mark of UTF-32 begins with that of UTF-16, so it is looked for first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DELIMITERS = ",;\t|"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class TextFileError(ValueError):
    """A text file that cannot be read; the message names it and the place, and says what to do."""


def decode(data: bytes, name: str, errors: str = "strict") -> str:
    """Text of a file: UTF-8, or what its byte order mark says.

    Args:
        name: how messages call it.
        errors: `"surrogateescape"` keeps bytes that are no UTF-8: file names may hold some.

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
        raise TextFileError(f"{name} holds zero bytes: it is no text, or UTF-16 without its mark. Save it as UTF-8.")
    return text


def read_text(path: str | os.PathLike, errors: str = "strict") -> str:
    """The text of a file, see `decode`.

    Raises:
        OSError: it cannot be opened.
        TextFileError: as `decode`.
    """
    return decode(Path(path).read_bytes(), os.fspath(path), errors)


def read_lines(path: str | os.PathLike, errors: str = "strict") -> list[str]:
    """The lines of a file, whatever system ended them. Raises as `read_text`."""
    return lines_of(read_text(path, errors))


def lines_of(text: str) -> list[str]:
    """Lines without their ends. Unlike `splitlines`, the rarer marks that JSON strings may hold end none."""
    return re.split(r"\r\n|\n|\r", text)


def read_json(path: str | os.PathLike) -> Any:
    """The value of a JSON file. Raises as `read_text`, and `TextFileError` if it is no JSON."""
    return parse_json(read_text(path), os.fspath(path))


def read_json_lines(path: str | os.PathLike) -> Iterator[tuple[int, Any]]:
    """Line number and value of every line of a JSONL file that is not blank. Raises as `read_json`."""
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            yield number, parse_json(line, f"{os.fspath(path)}, line {number}")


def parse_json(text: str, name: str) -> Any:
    """
    Raises:
        TextFileError: it is no JSON, or nested beyond reason.
    """
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise TextFileError(f"{name} is not JSON: {error}.") from error


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


def parse_table(text: str, name: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns in lower case, and line number and cells of each row that is not blank.

    Commas, semicolons, tabs and bars separate cells, whichever gives the header most; Excel's `sep=;` line decides.

    Raises:
        TextFileError: a row with more cells than the header, or broken quotes.
    """
    first, _, rest = text.partition("\n")
    match = re.fullmatch(r"\s*\"?sep=(.)\"?\s*", first)
    text, skipped = (rest, 1) if match else (text, 0)
    delimiter = match[1] if match else max(_DELIMITERS, key=lambda mark: _cells(first, mark))
    # Strict: else a quote that is never closed swallows the rest of the file.
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        header = [cell.strip().lower() for cell in next(rows, [])]
        numbered = [(rows.line_num + skipped, row) for row in rows if any(row)]
    except csv.Error as error:
        raise TextFileError(f"{name}, line {rows.line_num + skipped}: {error}.") from error
    return header, [(number, _record(header, row, name, number)) for number, row in numbered]


def _cells(line: str, delimiter: str) -> int:
    return len(next(csv.reader([line], delimiter=delimiter), []))


def _record(header: list[str], row: list[str], name: str, number: int) -> dict[str, str]:
    if any(row[len(header) :]):
        raise TextFileError(
            f"{name}, entry {number}: {len(row)} cells under {len(header)} columns. "
            "Quote what holds a comma or another separator."
        )
    return {column: cell.strip() for column, cell in zip(header, row, strict=False)}


def printable(text: str, encoding: str = "utf-8") -> str:
    """Text that a stream of this encoding can show: what it lacks, control characters and bytes of names that are no
    text come out as escapes."""
    text = _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)
    return text.encode(encoding, "backslashreplace").decode(encoding)
