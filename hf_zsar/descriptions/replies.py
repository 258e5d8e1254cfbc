"""Reading what language models answer: fenced or bare JSON and YAML, lists with bullets, broken and cut-off replies.

Nothing here raises on a strange reply: it returns what could be read, and the caller decides whether that is enough.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hf_zsar.processing.action_graph import RELATIONS, ActionGraph, Triple, tidy, tidy_clause, unique
from hf_zsar.processing.description_documents import normalize_attributes
from hf_zsar.processing.text_files import parse_json
from hf_zsar.yaml_files import parse_yaml


# No attribute list and no graph of one action is longer; what a runaway model adds is not read.
MAX_CHARACTERS = 20_000

_FENCE = re.compile(r"```[ \t]*[\w+-]*[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_THINKING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_ITEM = re.compile(r"^\s*(?:[-*+•–]\s+|\(?\d+[.):]\s*)(\S.*?)\s*$")

# Field names of graphs: ours, and those of the released YAML files.
_FIELDS = {
    "objects": ("objects", "obj_en_li", "static_concepts"),
    "sub_actions": ("sub_actions", "sub_act_en_li", "dynamic_concepts", "steps"),
    "oo": ("object_relations", "object_object", "obj_rel_triples"),
    "ao": ("action_relations", "action_object", "act_obj_triples"),
    "aa": ("sub_action_relations", "sub_action_sub_action", "act_rel_triples"),
}
_DEFAULT_PREDICATE = {"oo": "is seen with", "ao": "involves", "aa": "precedes"}


def bare_reply(reply: str) -> str:
    """The reply without its thinking part, cut at `MAX_CHARACTERS`."""
    return _THINKING.sub("", reply[: 4 * MAX_CHARACTERS])[:MAX_CHARACTERS].strip()


def parse_attributes(reply: str) -> list[str]:
    """The attributes in a reply: the first JSON array of strings, else list items, else what commas separate.

    Each is normalized; what is longer than six words is a sentence and no attribute.
    """
    text = bare_reply(reply)
    found = _first_string_array(text)
    if found is None:
        lines = [match.group(1) for line in text.splitlines() if (match := _ITEM.match(line))]
        found = lines or _comma_list(text)
    return [attribute for attribute in normalize_attributes(found) if len(attribute.split()) <= 6]


def _comma_list(text: str) -> list[str]:
    line = next((line for line in text.splitlines() if line.count(",") >= 1), "")
    return line.rpartition(":")[2].split(",")


def _first_string_array(text: str) -> list[str] | None:
    for match in re.finditer(r"\[", text):
        end = text.find("]", match.start())
        body = text[match.start() : end + 1] if end >= 0 else text[match.start() :]
        items = _literal(body)
        if items is None:  # cut off in the middle, or stray characters: the complete quoted strings
            items = re.findall(r'"([^"\n]{1,80})"', body)
        if isinstance(items, list) and items and all(isinstance(item, str) for item in items):
            return items
    return None


def _literal(text: str) -> Any:
    """JSON, or the same with Python's quotes; None if neither."""
    try:
        return parse_json(text, "the reply")
    except ValueError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def parse_mapping(reply: str) -> dict[str, Any] | None:
    """The first mapping in a reply, from a fenced block or the bare text, as YAML (of which JSON is a part).

    A reply that was cut off gives what stands before the cut: lines are dropped from its end until the rest parses.
    """
    text = bare_reply(reply)
    for block in [*_FENCE.findall(text), text]:
        lines = block.strip().splitlines()
        starts = [i for i, line in enumerate(lines) if re.match(r"\s*[{\"'\w].*:|\s*\{", line)][:3]
        for start in starts:
            data = _longest_mapping(lines[start:])
            if data:
                return data
    return None


def _longest_mapping(lines: Sequence[str], max_dropped: int = 12) -> dict[str, Any] | None:
    for dropped in range(min(len(lines), max_dropped)):
        text = "\n".join(lines[: len(lines) - dropped]).rstrip().rstrip(",")
        for candidate in (text, text + "]}", text + "]}}"):
            try:
                data = parse_yaml(candidate, "the reply", words=True)  # "on" and "no" are words here
            except ValueError:
                continue
            if isinstance(data, dict) and any(isinstance(value, (list, dict)) for value in data.values()):
                return data
    return None


def parse_graph(reply: str, action: str) -> ActionGraph | None:
    """The graph in a reply; None when it names neither objects nor sub-actions."""
    data = parse_mapping(reply)
    if data is None:
        return None
    known = {name for names in _FIELDS.values() for name in names}
    for _ in range(2):  # the fields may stand under the name of the action
        if not known & set(data):
            data = next((value for value in data.values() if isinstance(value, dict)), data)
    graph = graph_from_fields(action, data, [])
    return graph if graph.objects or graph.sub_actions else None


def graph_from_fields(action: str, data: Any, remarks: list[str]) -> ActionGraph:
    """A graph out of a mapping with our field names or those of the released files; anything odd is remarked upon."""
    fields = {str(key): value for key, value in data.items()} if isinstance(data, Mapping) else {}

    def field(name: str) -> Any:
        return next((fields[key] for key in _FIELDS[name] if key in fields), None)

    relations = {kind: unique(_triples(field(kind), kind, action, remarks)) for kind in RELATIONS}
    return ActionGraph(
        action=action,
        objects=unique(tidy(text) for text in _strings(field("objects"))),
        sub_actions=tuple(filter(None, (tidy(text) for text in _strings(field("sub_actions"))))),
        relations={kind: triples for kind, triples in relations.items() if triples},
    )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from value.split(",")
    elif isinstance(value, list):
        yield from (str(item) for item in value if isinstance(item, (str, int, float)) and not isinstance(item, bool))


def _triples(value: Any, kind: str, action: str, remarks: list[str]) -> Iterator[Triple]:
    for item in value if isinstance(value, list) else []:
        triple = parse_triple(item, kind)
        if triple is None:
            remarks.append(f"{action}: {item!r} is not a relation and was left out")
        else:
            yield triple


def parse_triple(item: Any, kind: str) -> Triple | None:
    """A relation as `"<a, rel, b>"`, `"a | rel | b"`, a list, or a mapping with subject, predicate, object.

    Two fields are a relation whose predicate was forgotten; of more than three, the last are one phrase with commas.
    """
    if isinstance(item, str):
        parts = re.split(r"\s*\|\s*" if "|" in item else r"\s*,\s*", item.strip().strip("<>()[]"))
    elif isinstance(item, Mapping):
        values = {str(key).lower(): value for key, value in item.items()}
        parts = [values.get("subject"), values.get("predicate", values.get("relation")), values.get("object")]
    elif isinstance(item, (list, tuple)):
        parts = list(item)
    else:
        return None
    texts = [tidy(str(part)) for part in parts if isinstance(part, (str, int, float))]
    if len(texts) == 2:
        texts.insert(1, _DEFAULT_PREDICATE[kind])
    if len(texts) > 3:
        texts = [*texts[:2], ", ".join(texts[2:])]
    return (texts[0], texts[1], texts[2]) if len(texts) == 3 and all(texts) else None


def parse_clauses(reply: str, counts: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """The clauses of a verbalization reply, per kind; a kind with another number of clauses than asked is left out."""
    data = parse_mapping(reply) or {}
    if not set(map(str, data)) & set(RELATIONS):
        data = next((value for value in data.values() if isinstance(value, dict)), data)
    clauses: dict[str, tuple[str, ...]] = {}
    for kind, count in counts.items():
        value = data.get(kind)
        if isinstance(value, dict):
            value = list(value.values())
        texts = [tidy_clause(text) for text in value if isinstance(text, str)] if isinstance(value, list) else []
        if count and len(texts) == count and all(texts):
            clauses[kind] = unique(texts)
    return clauses
