"""The Action Semantic Knowledge Graph of STDD as a value, and the prompts derived from it.

Source: arXiv 2412.09895 and its code (card of STDD, S6). A graph says what is seen in an action (objects), what is
done in it (sub-actions, in order) and how these are related; every relation reads as one clause that completes "This
is an example of <label>, ...". How a relation without a given clause is put into words is our own rule.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


# Relation kinds: object-object, action-object, sub-action-sub-action, in the order in which their clauses are used.
RELATIONS: dict[str, str] = {"oo": "object_object", "ao": "action_object", "aa": "sub_action_sub_action"}

# Which clauses a prompt group takes; "a" is the label alone.
PROMPT_GROUPS: dict[str, tuple[str, ...]] = {
    "xmix": ("oo", "ao", "aa"),
    "xoo": ("oo",),
    "xao": ("ao",),
    "xaa": ("aa",),
    "a": (),
}

Triple = tuple[str, str, str]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DETERMINERS = _words("a an the its their his her one two three four both some each every another")
_PREPOSITIONS = _words(
    "about above across against along among around at before behind below beneath beside between beyond by down during"
    " for from in inside into near next of off on onto out outside over past through to toward towards under"
    " underneath up upon with within without"
)
_ING_VERBS = _words("bring cling fling ring sing sling spring sting string swing wring wing ping")
_PARTICIPLES = _words("built cut drawn held hit hung kept left lit made put seen set sewn shot thrown tied torn worn")
_NO_DOUBLING = _words("target budget market offer differ")


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
            clauses += given if given is not None else [verbalise(triple, kind) for triple in self.triples(kind)]
        return list(unique(clauses))

    def with_clauses(self) -> ActionGraph:
        """The same graph with every clause written out, so that a saved file says exactly what a model will read."""
        clauses = {kind: tuple(self.clause_list("x" + kind)) for kind in RELATIONS}
        relations = {kind: self.triples(kind) for kind in RELATIONS}
        return ActionGraph(self.action, self.objects, self.sub_actions, relations, clauses)


def graph_prompts(label: str, clauses: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """The prompts of one label, one list per template (card of STDD, S7).

    Args:
        label: the label as it goes into the prompt.
        clauses: usually `graph.clause_list(group)`; empty gives the label prompt alone.
        templates: each with one `{}`.

    Returns:
        Per template the label prompt, then the label with each clause; no prompt twice.
    """
    texts = [label, *(f"{label}, {clause}" for clause in clauses)]
    return [list(unique(template.replace("{}", text) for text in texts)) for template in templates]


def sub_action_chain(action: str, sub_actions: Sequence[str]) -> tuple[Triple, ...]:
    """Order as relations: the action starts with the first sub-action, each of them precedes the next."""
    chain = [(before, "precedes", after) for before, after in zip(sub_actions, sub_actions[1:], strict=False)]
    return ((action, "starts with", sub_actions[0]), *chain)


def verbalise(triple: Triple, kind: str) -> str:
    """One relation as a clause: `("peel", "separated from", "fruit")`, "oo" -> "where the peel is separated ..."."""
    subject, predicate, item = triple
    if kind == "oo":
        return f"where {with_article(subject)} {_finite(predicate, subject)} {with_article(item)}"
    if kind == "ao":
        bare = is_plural(item) and predicate.split()[-1] not in _PREPOSITIONS
        return f"which {_finite(predicate, 'it')} {item if bare else with_article(item)}"
    if predicate == "starts with":
        return f"starting with {gerund(item)}"
    verb = {"precedes": "comes before", "follows": "comes after"}.get(predicate, _finite(predicate, "it"))
    return f"where {gerund(subject)} {verb} {gerund(item)}"


def _finite(predicate: str, subject: str) -> str:
    """The predicate, with "is" or "are" in front where it lacks a verb: "on", "attached to"."""
    first = predicate.split()[0].lower() if predicate.split() else ""
    if first in _PREPOSITIONS or (first.endswith(("ed", "ing", "en")) and len(first) > 4) or first in _PARTICIPLES:
        return f"{'are' if is_plural(subject) else 'is'} {predicate}"
    return predicate


def with_article(phrase: str) -> str:
    """The phrase with "the" in front, unless it brings a determiner of its own."""
    first = phrase.split()[0].lower() if phrase.split() else ""
    return phrase if first in _DETERMINERS or phrase[:1].isdigit() or phrase[:1].isupper() else f"the {phrase}"


def is_plural(phrase: str) -> bool:
    """A guess from the end of the head noun: "hands" yes, "grass" no."""
    head = re.split(r"\s(?:of|in|on|with|for)\s", phrase)[0]
    if head.endswith(("children", "people", "men", "feet", "teeth")):
        return True
    return head.endswith("s") and not head.endswith(("ss", "us", "is"))


def gerund(phrase: str) -> str:
    """The phrase with its first word as an -ing form: "peel the orange" -> "peeling the orange"."""
    verb, _, rest = phrase.partition(" ")
    if verb in _DETERMINERS or verb.endswith("ing") and verb.lower() not in _ING_VERBS:
        return phrase  # "the blades whirling" and "peeling the orange" are ready
    if verb.endswith("ie"):
        form = verb[:-2] + "ying"
    elif verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")) and verb != "be":
        form = verb[:-1] + "ing"
    elif re.fullmatch(r".*[^aeiou][aeiou][bdgklmnprt]", verb) and _doubles(verb):
        form = verb + verb[-1] + "ing"
    else:
        form = verb + "ing"
    return f"{form} {rest}".strip()


def _doubles(verb: str) -> bool:
    # One vowel group means one syllable, and those double: put, grab. Of longer verbs only begin, forget and the like.
    syllables = len(re.findall(r"[aeiouy]+", verb))
    stressed_end = verb.endswith(("gin", "get", "mit", "fer", "trol", "pel", "cur")) and verb not in _NO_DOUBLING
    return verb[-1] != "k" and (syllables == 1 or stressed_end)


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


__all__ = ["PROMPT_GROUPS", "RELATIONS", "ActionGraph", "Triple", "graph_prompts", "sub_action_chain", "verbalise"]
