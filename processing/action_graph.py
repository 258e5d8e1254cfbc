"""The Action Semantic Knowledge Graph of STDD as a value, and the prompts derived from it.

Source: arXiv 2412.09895 and its code (card of STDD, S6). A graph says what is seen in an action (objects), what is
done in it (sub-actions, in order) and how these are related; every relation reads as one clause that completes "This
is an example of <label>, ...". Files hold those clauses, written out when they were made or
read (see `graph_clauses`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .clauses import PROMPT_GROUPS
from .graph_clauses import Triple, verbalize


# Relation kinds: object-object, action-object, sub-action-sub-action, in the order in which their clauses are used.
RELATIONS: dict[str, str] = {"oo": "object_object", "ao": "action_object", "aa": "sub_action_sub_action"}

# Of the entry of a file.
FIELDS = ("objects", "sub_actions", "relations", "clauses", *RELATIONS)


@dataclass(frozen=True)
class ActionGraph:
    """What is known about one action.

    Args:
        action: the label, as words.
        objects: static concepts.
        sub_actions: dynamic concepts in the order in which they happen.
        relations: per kind (`"oo"`, `"ao"`, `"aa"`) triples (subject, predicate, object). In `"ao"` the subject is the
            action; in `"aa"` it may be the action too ("starts with").
        clauses: per kind ready clauses. A kind that is missing here is put into words from its relations.
    """

    action: str
    objects: tuple[str, ...] = ()
    sub_actions: tuple[str, ...] = ()
    relations: Mapping[str, tuple[Triple, ...]] = field(default_factory=dict)
    clauses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, action: str, data: Mapping[str, Any]) -> ActionGraph:
        """Read the entry of a graph file, or a bare `{"oo": [...], "ao": [...], "aa": [...]}` of clauses."""
        relations, clauses = data.get("relations", {}), data.get("clauses", data)
        return cls(
            action=tidy(action),
            objects=unique(tidy(text) for text in data.get("objects", ())),
            sub_actions=tuple(filter(None, (tidy(text) for text in data.get("sub_actions", ())))),
            relations={
                kind: unique(tuple(tidy(part) for part in triple) for triple in relations[name])
                for kind, name in RELATIONS.items()
                if name in relations
            },
            clauses={
                kind: unique(tidy_clause(text) for text in clauses[kind]) for kind in RELATIONS if kind in clauses
            },
        )

    def to_dict(self) -> dict[str, Any]:
        """The entry of a graph file; empty parts are left out."""
        data: dict[str, Any] = {}
        if self.objects:
            data["objects"] = list(self.objects)
        if self.sub_actions:
            data["sub_actions"] = list(self.sub_actions)
        if self.relations:
            data["relations"] = {
                RELATIONS[kind]: [list(t) for t in triples] for kind, triples in self.relations.items()
            }
        if self.clauses:
            data["clauses"] = {kind: list(clauses) for kind, clauses in self.clauses.items()}
        return data

    def triples(self, kind: str) -> tuple[Triple, ...]:
        """The relations of a kind; where a file gives none, those that the concepts themselves imply.

        Objects imply "action involves object"; ordered sub-actions imply "starts with" and "precedes".
        """
        if self.relations.get(kind):
            return self.relations[kind]
        if kind == "ao":
            return tuple((self.action, "involves", item) for item in self.objects)
        if kind == "aa" and self.sub_actions:
            return sub_action_chain(self.action, self.sub_actions)
        return ()

    def clause_list(self, group: str = "xmix") -> list[str]:
        """The clauses of a prompt group: kinds in the order oo, ao, aa, first occurrence wins.

        Raises:
            ValueError: the group is none of `PROMPT_GROUPS`.
        """
        if group not in PROMPT_GROUPS:
            raise ValueError(f"Unknown prompt group {group!r}: use one of {', '.join(PROMPT_GROUPS)}.")
        clauses: list[str] = []
        for kind in PROMPT_GROUPS[group]:
            given = self.clauses.get(kind)
            clauses += given if given is not None else self._written_out(kind)
        return list(unique(clauses))

    def _written_out(self, kind: str) -> list[str]:
        return [verbalize(triple, kind) for triple in self.triples(kind)]

    def written_out(self) -> ActionGraph:
        """The same graph with a clause for each relation, so that nothing has to be put into words later."""
        written = {kind: tuple(self._written_out(kind)) for kind in RELATIONS if kind not in self.clauses}
        clauses = {**{kind: own for kind, own in written.items() if own}, **self.clauses}
        return replace(self, clauses={kind: clauses[kind] for kind in RELATIONS if kind in clauses})

    def with_clauses(self) -> ActionGraph:
        """The same graph with every clause written out, so that a saved file says exactly what a model will read."""
        clauses = {kind: tuple(self.clause_list("x" + kind)) for kind in RELATIONS}
        relations = {kind: self.triples(kind) for kind in RELATIONS}
        return ActionGraph(self.action, self.objects, self.sub_actions, relations, clauses)


def sub_action_chain(action: str, sub_actions: Sequence[str]) -> tuple[Triple, ...]:
    """Order as relations: the action starts with the first sub-action, each of them precedes the next."""
    chain = [(before, "precedes", after) for before, after in zip(sub_actions, sub_actions[1:], strict=False)]
    return ((action, "starts with", sub_actions[0]), *chain)


def canonical_key(label: str) -> str:
    """A label as lower-case words: `"HandstandPushups"`, `"handstand_pushups"` -> "handstand pushups"."""
    text = re.sub(r"[_\-/]", " ", unicodedata.normalize("NFC", label))
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)
    return " ".join(text.lower().split())


def tidy(text: str) -> str:
    """Unicode NFC, white space collapsed, no quotes or commas around, no full stop at the end."""
    text = " ".join(unicodedata.normalize("NFC", text).split())
    return text.strip(" \"'`,;").rstrip(".").rstrip(" \"'`,;.")


def tidy_clause(text: str) -> str:
    """A clause as it stands behind the comma: tidied, and without a leading "This is an example of <label>,"."""
    clause = tidy(text)
    while re.match(r"this is an? (example|video|kind) of\b", clause, re.IGNORECASE) and "," in clause:
        clause = tidy(clause.split(",", 1)[1])
    return clause


def unique(items: Iterable[Any]) -> tuple[Any, ...]:
    """The items without empty ones and repetitions, first occurrence wins."""
    return tuple(dict.fromkeys(item for item in items if item and (not isinstance(item, tuple) or all(item))))
