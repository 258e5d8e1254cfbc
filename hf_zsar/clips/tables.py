"""Lists as people save them, a row a line: text, JSON lines, and tables with commas, semicolons or tabs."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator
from typing import Any

from hf_zsar.processing.text_files import TextFileError, parse_json, read_text


_DELIMITERS = ",;\t|"


def read_lines(path: str | os.PathLike, errors: str = "strict") -> list[str]:
    """The lines of a file, whatever system ended them. Raises as `read_text`."""
    return lines_of(read_text(path, errors))


def lines_of(text: str) -> list[str]:
    """Lines without their ends. Unlike `splitlines`, the rarer marks that JSON strings may hold end none."""
    return re.split(r"\r\n|\n|\r", text)


def read_json_lines(path: str | os.PathLike) -> Iterator[tuple[int, Any]]:
    """Line number and value of every line of a JSONL file that is not blank. Raises as `read_json`."""
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            yield number, parse_json(line, f"{os.fspath(path)}, line {number}")


def parse_table(text: str, name: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns in lower case, and line number and cells of each row that is not blank.

    Commas, semicolons, tabs and bars separate cells, whichever gives the header most; Excel's `sep=;` line decides.

    Raises:
        TextFileError: a row with more cells than the header, or broken quotes.
    """
    first, _, rest = text.partition("\n")
    match = re.fullmatch(r"\s*\"?sep=(.)\"?\s*", first)
    text, skipped = (rest, 1) if match else (text, 0)
    try:
        delimiter = match[1] if match else max(_DELIMITERS, key=lambda mark: _cells(first, mark))
    except csv.Error as error:
        raise TextFileError(f"{name}, line {1 + skipped}: {error}.") from error
    # Strict: else a quote that is never closed swallows the rest of the file.
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        header = [cell.strip().lower() for cell in next(rows, [])]
        numbered = [(rows.line_num + skipped, row) for row in rows if any(row)]
    except csv.Error as error:
        raise TextFileError(f"{name}, line {rows.line_num + skipped}: {error}.") from error
    return header, [(number, _record(header, row, name, number)) for number, row in numbered]


def _cells(line: str, delimiter: str) -> int:
    return len(next(csv.reader(io.StringIO(line, newline=""), delimiter=delimiter), []))


def _record(header: list[str], row: list[str], name: str, number: int) -> dict[str, str]:
    if any(row[len(header) :]):
        raise TextFileError(
            f"{name}, entry {number}: {len(row)} cells under {len(header)} columns. "
            "Quote what holds a comma or another separator."
        )
    return {column: cell.strip() for column, cell in zip(header, row, strict=False)}
