"""Action graphs without a language model: objects, sub-actions and relations read out of plain descriptions.

Honestly weaker than a language model: it knows only what the text says. Without a text it has the label alone, which
gives at most the object in it ("flipping a pancake" -> pancake) and no sub-actions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hf_zsar.processing.action_graph import ActionGraph, Triple, canonical_key, sub_action_chain, unique
from hf_zsar.processing.graph_clauses import gerund

from .reading import ANYBODY, Event, Reading, Thing, read_text


if TYPE_CHECKING:
    from spacy.tokens import Token

# Where something takes place, out of the preposition in front of the place: "runs across the court" -> "on the court".
_WHERE = {"on": "on", "in": "in", "near": "near", "beside": "beside", "under": "under"}
_WHERE |= dict.fromkeys(["across", "along", "over", "down", "up"], "on")
# Verbs that show nothing by themselves.
EMPTY_VERBS = frozenset("be have do make use begin start continue try keep include involve".split())


class TextGraphs:
    """Makes an `ActionGraph` for a label from its descriptions.

    Args:
        max_objects, max_sub_actions: upper limits (the published graphs have five to ten objects).
        pipeline: name of a spaCy pipeline for English; see `reading.english`.
    """

    kind = "extractor"
    name = "spacy"
    params: dict[str, int | str | None]

    def __init__(self, max_objects: int = 10, max_sub_actions: int = 8, pipeline: str | None = None) -> None:
        self.max_objects, self.max_sub_actions, self.pipeline = max_objects, max_sub_actions, pipeline
        self.params = {"max_objects": max_objects, "max_sub_actions": max_sub_actions, "pipeline": pipeline}

    def generate(self, label: str, descriptions: Sequence[str] = ()) -> ActionGraph:
        """The graph, with its clauses written out.

        Args:
            label: the class name in any spelling.
            descriptions: short texts about the action; several are read one after the other.
        """
        action = canonical_key(label)
        readings = [read_text(text, self.pipeline) for text in descriptions]
        found = named_things(readings, action) or things_of_label(action, self.pipeline)
        objects = dict(list(found.items())[: self.max_objects])
        texts = (_sub_action(event) for reading in readings for event in reading.events)
        sub_actions = unique(text for text in texts if text and gerund(text) != action)[: self.max_sub_actions]
        stated = unique(t for reading in readings for t in _object_relations(reading, objects) if t[0] != t[2])
        names = list(objects.values())
        relations = {
            "oo": stated[:8] or tuple((a, "seen with", b) for a, b in zip(names[:8], names[1:], strict=False)),
            "ao": tuple(_action_relations(action, readings, objects)),
            "aa": sub_action_chain(action, sub_actions) if sub_actions else (),
        }
        return ActionGraph(action, tuple(names), sub_actions, relations).with_clauses()


def named_things(readings: Sequence[Reading], action: str) -> dict[str, str]:
    """Key and name of the distinct things in order of appearance; "bow" after "curved bow" is the same thing."""
    named: dict[str, str] = {}
    for reading in readings:
        for thing in reading.things:
            if thing.key not in ANYBODY and thing.text != action:
                named.setdefault(thing.key, thing.text)
    return named


def things_of_label(action: str, pipeline: str | None = None) -> dict[str, str]:
    """What the label itself names: the object of its verb. Read behind a subject, else "diving" may be a noun."""
    verb, _, rest = action.partition(" ")
    if not rest or not verb.endswith("ing") or verb in ("doing", "making", "having"):
        return {}
    return named_things([read_text(f"She is {action}.", pipeline)], action)


def _sub_action(event: Event) -> str:
    """As an instruction to the actor, or "the blades whirling" where a thing moves by itself; "" if nothing shows."""
    if event.verb.lemma_ in EMPTY_VERBS and event.thing is None:
        return ""
    subject = event.subject
    if subject is None or event.thing is not None or subject.pos_ != "NOUN":
        return event.text
    if Thing("", subject.lemma_.lower(), subject).is_person:
        return event.text
    return f"the {subject.lower_} {gerund(event.text)}"


def _object_relations(reading: Reading, objects: dict[str, str]) -> Iterator[Triple]:
    """How things stand to each other: "archer raises bow", "arrow on string", "steam rises from pot"."""

    def name(token: Token | None) -> str:
        return objects.get(token.lemma_.lower(), "") if token is not None else ""

    for event in reading.events:
        thing = name(event.thing)
        verb = " ".join([event.verb.lower_, *(child.lower_ for child in event.verb.children if child.dep_ == "prt")])
        says_who = event.verb.tag_ in ("VBZ", "VBP", "VBD", "NNS") and event.subject is not None
        if says_who and event.thing is not None:
            yield name(event.subject), verb, thing
        holders = [event.verb, *([event.thing] if event.thing is not None else [])]
        for where in (child for holder in holders for child in holder.children if child.dep_ == "prep"):
            if where.lower_ in ("with", "by", "of") and event.thing is not None:
                continue  # with what it is done: a relation to the action
            for place in (child for child in where.children if child.dep_ == "pobj" and child.i > event.verb.i):
                if event.thing is not None:
                    yield thing, where.lower_, name(place)
                elif says_who:
                    yield name(event.subject), f"{verb} {where.lower_}", name(place)


def _action_relations(action: str, readings: Sequence[Reading], objects: dict[str, str]) -> Iterator[Triple]:
    """One relation between the action and each object: who does it, where, with what, or just "involves"."""
    roles: dict[str, str] = {}
    for reading in readings:
        objects_of = {event.verb: event.thing for event in reading.events}
        for thing in reading.things:
            roles.setdefault(thing.key, _role(thing, objects_of))
    for key, name in objects.items():
        yield action, roles.get(key, "involves"), name


def _role(thing: Thing, objects_of: dict[Token, Token | None]) -> str:
    if thing.token.dep_ == "nsubj" and thing.is_person:
        return "is performed by"
    verb = thing.token.head.head if thing.preposition else None
    if verb in objects_of:
        if thing.preposition in _WHERE and (objects_of[verb] is None or thing.token.i < verb.i):
            return f"takes place {_WHERE[thing.preposition]}"
        if thing.preposition == "with" and objects_of[verb] is not None:
            return "uses"
    return "involves"
