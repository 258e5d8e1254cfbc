"""Documents about labels as people write them: shorthands completed, texts repaired, faults named.

Exports with code carry the container alone, which reads what was written here.
"""

from __future__ import annotations

import errno
import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, TextIO

from .action_graph import RELATIONS, unique
from .description_schemas import SCHEMAS, check
from .descriptions import SCHEMA_IDS, DescriptionError
from .label_checks import check_text
from .limits import hold_to
from .text_files import TextFileError, read_json


try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_GRAPH_FIELDS = frozenset({"objects", "sub_actions", "relations", "clauses", *RELATIONS})
_BULLET = re.compile(r"^(?:[-*+#•–—·‣▪●]+\s*|\(?\d+[.):](?=\D|$)\s*)+")
_VIDEO = re.compile(r"/|\.(?:mp4|avi|mkv|webm|mov|mpe?g)$", re.IGNORECASE)
_TRAILING = " \t\"'`.,;:!?…"


def checked(data: Any, kind: str | None, source: str) -> dict[str, Any]:
    """The full document for whatever form `data` has, repaired.

    Raises:
        DescriptionError: see `Descriptions.from_dict`.
    """
    document = _as_document(data, kind, source)
    kind = next(name for name, schema in SCHEMA_IDS.items() if schema == document["schema"])
    _check_size(document, kind, source or "the descriptions")
    document = _repaired(document, kind)
    check(document, SCHEMAS[kind], source)
    return document


def normalize_attribute(text: str) -> str:
    """Rule 1 of 4.3: NFC, lower case, white space collapsed, no list mark in front, no punctuation at the end."""
    previous = None
    while text != previous:  # a bullet may hide another; the result is a fixed point
        previous = text
        text = " ".join(unicodedata.normalize("NFC", text.lower()).split())
        text = _BULLET.sub("", text).lstrip("\"'` ").rstrip(_TRAILING)
    return text


def normalize_attributes(attributes: Iterable[str]) -> tuple[str, ...]:
    """Each attribute normalized, empty ones and repetitions dropped."""
    return unique(normalize_attribute(text) for text in attributes)


def _as_document(data: Any, kind: str | None, source: str) -> dict[str, Any]:
    """The full document for whatever form `data` has; its schema id is known afterwards."""
    where = source or "the descriptions"
    if not isinstance(data, Mapping) or not data:
        hint = ""
        if isinstance(data, list) and data and isinstance(data[0], Mapping) and {"text", "defn"} & set(data[0]):
            hint = " It looks like texts about labels: `hf-zsar describe --texts FILE` makes descriptions out of them."
        found = f"an empty {type(data).__name__}" if data in ({}, [], "") else type(data).__name__
        raise DescriptionError(f"{where}: expected a JSON object with an entry per label, found {found}.{hint}")
    if "schema" in data or "classes" in data and "generator" in data:
        if data.get("schema") not in SCHEMA_IDS.values():
            known = " or ".join(map(repr, SCHEMA_IDS.values()))
            raise DescriptionError(f'{where}: schema {data.get("schema")!r} is unknown; write "schema": {known}.')
        return dict(data)
    if _is_per_video(data):
        raise DescriptionError(
            f"{where}: this is an attribute file of BIKE, which lists attributes per *video* (path -> word list -> "
            "attributes), while descriptions here are per *class* (label -> attributes) and shared by all videos. It "
            "cannot be turned into one; make a class file with `hf-zsar describe --kind attributes`."
        )
    kind = kind or _guess_kind(data)
    classes = {key: _full_entry(value, kind) for key, value in data.items()}
    return {"schema": SCHEMA_IDS[kind], "generator": {"kind": "manual"}, "classes": classes}


def _guess_kind(data: Mapping[str, Any]) -> str:
    dicts = [value for value in data.values() if isinstance(value, Mapping)]
    return "graph" if any(_GRAPH_FIELDS & set(value) for value in dicts) else "attributes"


def _full_entry(value: Any, kind: str) -> Any:
    if kind == "attributes":
        return {"attributes": value} if isinstance(value, (list, tuple, str)) else value
    if isinstance(value, (list, tuple)):
        return {"clauses": {"ao": list(value)}}
    if isinstance(value, Mapping) and not {"clauses", "relations"} & set(value) and set(RELATIONS) & set(value):
        rest = {key: item for key, item in value.items() if key not in RELATIONS}
        return {**rest, "clauses": {key: value[key] for key in RELATIONS if key in value}}
    return value


def _is_per_video(data: Mapping[str, Any]) -> bool:
    """Whether keys are videos and values word lists by source: `{"surfing/a.mp4": {"kinetics_top5": ["sea"]}}`."""
    values = list(data.values())
    if not all(isinstance(value, Mapping) and value and all(map(_strings, value.values())) for value in values):
        return False
    inner = {key for value in values for key in value}
    if inner & (_GRAPH_FIELDS | {"attributes"}):
        return False
    return any("top" in key for key in inner) or all(_VIDEO.search(key) for key in data)


def _check_size(document: Mapping[str, Any], kind: str, where: str) -> None:
    """Refuse texts and lists beyond the limits, and texts that are none, before anything is made of them."""
    classes = document.get("classes")
    if not isinstance(classes, Mapping):
        return
    own = ("attributes",) if kind == "attributes" else tuple(_GRAPH_FIELDS)
    try:
        hold_to("labels", len(classes), "the number of classes")
        for key, entry in classes.items():
            fields = entry if isinstance(entry, Mapping) else {}
            _check_texts([key, {name: fields[name] for name in own if name in fields}], repr(key)[:80])
    except ValueError as error:
        raise DescriptionError(f"{where}: {error}") from error


def _check_texts(value: Any, where: str, depth: int = 7) -> None:
    if not depth:
        raise DescriptionError(f"in {where}, lists are nested too deeply")
    if isinstance(value, str):
        check_text(value, f"in {where}, the text")
    elif isinstance(value, (list, tuple, Mapping)):
        hold_to("descriptions", len(value), f"in {where}, the length of a list")
        for item in value.values() if isinstance(value, Mapping) else value:
            _check_texts(item, where, depth - 1)


def _repaired(document: dict[str, Any], kind: str) -> dict[str, Any]:
    """The document with attributes normalized, repeated and empty items dropped; the rest is left to the check."""
    classes = document.get("classes")
    if not isinstance(classes, Mapping):
        return document
    repair = _repaired_attributes if kind == "attributes" else _repaired_graph
    return {**document, "classes": {key: repair(value) for key, value in classes.items()}}


def _strings(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)


def _repaired_attributes(entry: Any) -> Any:
    if not isinstance(entry, Mapping) or not _strings(entry.get("attributes")):
        return entry
    return {**entry, "attributes": list(normalize_attributes(entry["attributes"]))}


def _repaired_graph(entry: Any) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    entry = dict(entry)
    for name in ("objects", "sub_actions"):
        if _strings(entry.get(name)):
            entry[name] = list(unique(entry[name])) if name == "objects" else [text for text in entry[name] if text]
    if isinstance(entry.get("clauses"), Mapping):
        entry["clauses"] = {k: list(unique(v)) if _strings(v) else v for k, v in entry["clauses"].items()}
    return entry


def read_description_file(path: str | os.PathLike, read: Callable[[Any], Any] = read_json) -> Any:
    """What `read` makes of a file; JSON unless said otherwise.

    Raises:
        DescriptionError: no such file, or of another form; the message names the file and the place.
    """
    try:
        return read(path)
    except OSError as error:
        raise DescriptionError(f"{path}: cannot be read ({error.strerror or error}); check the path.") from error
    except TextFileError as error:
        raise DescriptionError(str(error)) from error


def format_json(value: Any, indent: str = "", width: int = 110) -> str:
    """JSON that people can read and edit: what fits into a line stands on one, everything else is indented."""
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    nested = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, list) for item in value))
    if not value or not isinstance(value, (dict, list)) or (not nested and len(indent) + len(flat) <= width):
        return flat
    inner = indent + "  "
    if isinstance(value, dict):
        items = [f"{json.dumps(k, ensure_ascii=False)}: {format_json(v, inner, width)}" for k, v in value.items()]
    else:
        items = [format_json(item, inner, width) for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{inner}" + f",\n{inner}".join(items) + f"\n{indent}{closing}"


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a UTF-8 file, whole or not at all; a link is followed, an old file's mode kept.

    Every writer of a file uses one temporary name and locks it. So what a killed process left is written over, and
    what a living one is writing is waited for.

    Raises:
        OSError: it cannot be written; an old file stays as it was.
    """
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
        raise OSError(errno.EISDIR, "it is not a regular file", os.fspath(path))
    os.makedirs(os.path.dirname(target), exist_ok=True)
    temporary = os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.tmp")
    try:
        with _open_alone(temporary) as file:
            try:
                file.truncate(0)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                if os.path.exists(target):
                    os.chmod(temporary, os.stat(target).st_mode & 0o777)
                os.replace(temporary, target)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise
    except OSError as error:  # also of closing the file, which tries again to write
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _open_alone(path: str) -> TextIO:
    """A file to write to that no other process writes to."""
    while True:
        file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by the caller
        with suppress(OSError):  # of file systems without locks
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
        # While this one waited, the file may have got its name.
        if os.path.exists(path) and os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            return file
        file.close()
