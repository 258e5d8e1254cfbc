"""JSON schemas (draft 2020-12) of the two description files, and a validator for the keywords that they use.

Both schemas are ours. The validator answers with paths, reasons and remedies instead of the jargon of schemas.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .descriptions import SCHEMA_IDS, DescriptionError


DRAFT = "https://json-schema.org/draft/2020-12/schema"

_OPTIONAL_STRING = {"type": ["string", "null"]}
_STRINGS = {"type": "array", "items": {"type": "string", "minLength": 1}}
_UNIQUE_STRINGS = {**_STRINGS, "uniqueItems": True}
_TRIPLES = {
    "type": "array",
    "items": {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 3, "maxItems": 3},
}
_GENERATOR = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["manual", "extractor", "llm", "import"]},
        "name": _OPTIONAL_STRING,
        "version": _OPTIONAL_STRING,
        "model": _OPTIONAL_STRING,
        "revision": _OPTIONAL_STRING,
        "prompt": _OPTIONAL_STRING,
        "params": {"type": "object"},
        "created": _OPTIONAL_STRING,
        "grounded": {"type": "boolean"},
    },
    "required": ["kind"],
}
_CLASS_META = {
    "id": {"type": "integer", "minimum": 0},
    "name": {"type": "string"},
    "descriptions": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["text"],
            "properties": {
                "text": {"type": "string"},
                "source": {"type": "string"},
                "license": {"type": "string"},
            },
        },
    },
}


def _document(schema_id: str, extra: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """The frame that both files share: provenance on top, one entry per class below."""
    return {
        "$schema": DRAFT,
        "type": "object",
        "required": ["schema", "classes"],
        "properties": {
            "schema": {"const": schema_id},
            "dataset": _OPTIONAL_STRING,
            "language": {"type": "string", "default": "en"},
            **extra,
            "generator": _GENERATOR,
            "classes": {"type": "object", "minProperties": 1, "additionalProperties": dict(entry)},
        },
        "additionalProperties": False,
    }


ATTRIBUTES_SCHEMA: dict[str, Any] = _document(
    SCHEMA_IDS["attributes"],
    {"num_attributes": {"type": "integer", "minimum": 1, "default": 8}},
    {
        "type": "object",
        "required": ["attributes"],
        "properties": {**_CLASS_META, "attributes": _UNIQUE_STRINGS},
    },
)

GRAPH_SCHEMA: dict[str, Any] = _document(
    SCHEMA_IDS["graph"],
    {},
    {
        "type": "object",
        "properties": {
            **_CLASS_META,
            "made_by": {"type": "string"},
            "objects": _UNIQUE_STRINGS,
            "sub_actions": _STRINGS,
            "relations": {
                "type": "object",
                "properties": {
                    "object_object": _TRIPLES,
                    "action_object": _TRIPLES,
                    "sub_action_sub_action": _TRIPLES,
                },
                "additionalProperties": False,
            },
            "clauses": {
                "type": "object",
                "properties": {"oo": _UNIQUE_STRINGS, "ao": _UNIQUE_STRINGS, "aa": _UNIQUE_STRINGS},
                "additionalProperties": False,
            },
        },
        "additionalProperties": False,
    },
)

SCHEMAS: dict[str, dict[str, Any]] = {"attributes": ATTRIBUTES_SCHEMA, "graph": GRAPH_SCHEMA}


@dataclass(frozen=True)
class Problem:
    """One violation: `path` in the document (empty = the document itself), what is wrong, what to do about it."""

    path: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path or 'the document'}: {self.reason}; {self.remedy}"


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (Mapping,),
    "array": (list, tuple),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
_NAMES = {"object": "an object", "array": "an array", "string": "a string", "integer": "an integer"}
_NAMES |= {"boolean": "true or false", "null": "null"}


def _is(value: Any, name: str) -> bool:
    if name == "integer":  # as in JSON Schema: 8.0 is an integer, true is not
        return not isinstance(value, bool) and (
            isinstance(value, int) or (isinstance(value, float) and value % 1 == 0)
        )
    return isinstance(value, _TYPES[name])


def _show(value: Any, limit: int = 60) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _join(path: str, key: str) -> str:
    if not key.isidentifier():
        return f"{path}[{json.dumps(key, ensure_ascii=False)}]"
    return f"{path}.{key}" if path else key


def iter_problems(value: Any, schema: Mapping[str, Any], path: str = "") -> Iterator[Problem]:
    """Every violation of `schema` in `value`, in document order.

    Covers exactly the keywords of the two schemas above: type, const, enum, required, properties,
    additionalProperties, minProperties, items, minItems, maxItems, uniqueItems, minLength, minimum.
    """
    if "type" in schema:
        names = [schema["type"]] if isinstance(schema["type"], str) else list(schema["type"])
        if not any(_is(value, name) for name in names):
            yield _wrong_type(value, names, path)
            return
    if "const" in schema and value != schema["const"]:
        yield Problem(path, f"{_show(value)} is not {_show(schema['const'])}", f"write {_show(schema['const'])}")
    if "enum" in schema and value not in schema["enum"]:
        yield Problem(
            path, f"{_show(value)} is not one of the known values", "use one of " + _show(schema["enum"], 200)
        )
    if isinstance(value, Mapping):
        yield from _object_problems(value, schema, path)
    elif isinstance(value, (list, tuple)):
        yield from _array_problems(value, schema, path)
    elif isinstance(value, str) and len(value) < schema.get("minLength", 0):
        yield Problem(path, "the string is empty", "write a text or remove the item")
    elif _is(value, "integer") and value < schema.get("minimum", value):
        yield Problem(path, f"{value} is too small", f"use {schema['minimum']} or more")


def _wrong_type(value: Any, names: Sequence[str], path: str) -> Problem:
    found = next((text for name, text in _NAMES.items() if _is(value, name)), "a number")
    wanted = " or ".join(_NAMES[name] for name in names)
    remedy = f"write [{_show(value)}]" if names == ["array"] and isinstance(value, str) else f"write {wanted} here"
    return Problem(path, f"expected {wanted}, found {found} ({_show(value)})", remedy)


def _object_problems(value: Mapping[str, Any], schema: Mapping[str, Any], path: str) -> Iterator[Problem]:
    properties: Mapping[str, Any] = schema.get("properties", {})
    extra = schema.get("additionalProperties", True)
    for key in schema.get("required", ()):
        if key not in value:
            yield Problem(path, f'the field "{key}" is missing', f'add "{key}"')
    if len(value) < schema.get("minProperties", 0):
        yield Problem(path, "it has no entries", "add at least one class")
    for key, item in value.items():
        if not isinstance(key, str):
            yield Problem(path, f"the key {key!r} is not a string", "write every key as a string")
        elif key in properties:
            yield from iter_problems(item, properties[key], _join(path, key))
        elif isinstance(extra, Mapping):
            yield from iter_problems(item, extra, _join(path, key))
        elif not extra:
            close = difflib.get_close_matches(key, properties, n=1)
            remedy = f'did you mean "{close[0]}"?' if close else "remove it; known fields: " + ", ".join(properties)
            yield Problem(path, f'unknown field "{key}"', remedy)


def _array_problems(value: Sequence[Any], schema: Mapping[str, Any], path: str) -> Iterator[Problem]:
    low, high = schema.get("minItems", 0), schema.get("maxItems", len(value))
    if not low <= len(value) <= high:
        wanted = f"exactly {low}" if low == schema.get("maxItems") else f"{low} or more"
        yield Problem(path, f"it has {len(value)} items instead of {wanted}", f"write {wanted} items")
    if schema.get("uniqueItems"):
        first: dict[str, int] = {}
        for position, item in enumerate(value):
            key = json.dumps(item, sort_keys=True, default=repr)
            if key in first:
                yield Problem(
                    f"{path}[{position}]", f"{_show(item)} repeats item {first[key]}", "remove the repetition"
                )
            first.setdefault(key, position)
    if "items" in schema:
        for position, item in enumerate(value):
            yield from iter_problems(item, schema["items"], f"{path}[{position}]")


def check(value: Any, schema: Mapping[str, Any], source: str = "", limit: int = 5) -> None:
    """Raise `DescriptionError` with the first `limit` problems, or return.

    Args:
        source: what is being checked, for the message (a file name).
    """
    problems = list(iter_problems(value, schema))
    if not problems:
        return
    lines = [f"- {problem}" for problem in problems[:limit]]
    if len(problems) > limit:
        lines.append(f"- and {len(problems) - limit} more")
    head = f"{source or 'the descriptions'}: {len(problems)} problem{'s' * (len(problems) > 1)}"
    raise DescriptionError("\n".join([head, *lines]))
