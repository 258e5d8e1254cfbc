"""Action graphs without a language model: objects, sub-actions and relations read out of plain descriptions.

Honestly weaker than a language model: it knows only what the text says. Without a text it has the label alone, which
gives at most the object in it ("flipping a pancake" -> pancake) and no sub-actions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hf_zsar.processing.action_graph import ActionGraph, Triple, gerund, is_plural, sub_action_chain, unique
from hf_zsar.processing.descriptions import canonical_key

from . import english as en
from .phrases import Event, NounPhrase, Reading, read_sentence, read_text


# Where something takes place, out of the preposition in front of the place: "runs across the court" -> "on the court".
_WHERE = {"on": "on", "in": "in", "at": "at", "near": "near", "beside": "beside", "under": "under"}
_WHERE |= dict.fromkeys(["across", "along", "over", "through", "down", "up"], "on")
_WATER = frozenset(["lake", "ocean", "pool", "river", "sea", "stream", "surf", "water", "waves"])
_ACTING_PARTS = frozenset(["finger", "fingers", "hand", "hands"])


class TextGraphs:
    """Makes an `ActionGraph` for a label from its descriptions.

    Args:
        max_objects, max_sub_actions: upper limits (the published graphs have five to ten objects).
    """

    kind = "extractor"
    name = "text-rules"
    params: dict[str, int]

    def __init__(self, max_objects: int = 10, max_sub_actions: int = 8) -> None:
        self.max_objects, self.max_sub_actions = max_objects, max_sub_actions
        self.params = {"max_objects": max_objects, "max_sub_actions": max_sub_actions}

    def generate(self, label: str, descriptions: Sequence[str] = ()) -> ActionGraph:
        """The graph, with its clauses written out.

        Args:
            label: the class name in any spelling.
            descriptions: short texts about the action; several are read one after the other.
        """
        action = canonical_key(label)
        readings = [reading for text in descriptions for reading in read_text(text)]
        objects = _objects(readings, action) or _label_objects(action)
        objects = objects[: self.max_objects]
        sub_actions = _sub_actions(readings, action)[: self.max_sub_actions]
        relations = {
            "oo": _object_relations(readings, objects),
            "ao": tuple(_action_relations(action, readings, objects)),
            "aa": sub_action_chain(action, sub_actions) if sub_actions else (),
        }
        return ActionGraph(action, tuple(objects), tuple(sub_actions), relations).with_clauses()


def object_name(phrase: NounPhrase) -> str:
    """The phrase as an object's name: "" for people without a role, pronouns and what no frame shows."""
    if phrase.pronoun or not phrase.text or phrase.head in en.FILLERS:
        return ""
    if phrase.head in en.ANYBODY or phrase.text.split()[-1] in en.FILLERS:
        return ""
    words = phrase.text.split()
    if "of" not in words:
        words = words[-3:]
    return " ".join(words) if len(words) <= 5 else phrase.head


def _objects(readings: Sequence[Reading], action: str) -> list[str]:
    """Names of distinct things in order of appearance; "bow" after "curved bow" is the same thing."""
    named: dict[str, str] = {}
    for reading in readings:
        for phrase in reading.phrases:
            name = object_name(phrase)
            if name and name != action:
                named.setdefault(_key(name), name)
    return list(named.values())


def _label_objects(action: str) -> list[str]:
    """What the label itself names: the object of its verb or the noun in front ("cliff diving" -> "cliff")."""
    reading = read_sentence(action)
    if any(event.verb == "do" for event in reading.events):  # "doing yoga": nothing to see by that name
        return []
    return list(unique(name for name in map(object_name, reading.phrases) if name != action))


def _sub_actions(readings: Sequence[Reading], action: str) -> list[str]:
    texts = [_sub_action(event) for reading in readings for event in reading.events if _tells(event)]
    return list(unique(text for text in texts if text and gerund(text) != action))


def _tells(event: Event) -> bool:
    """Whether an event shows something: no "begins", no "uses" without a thing."""
    if event.verb in en.CATENATIVES | en.LIGHT_VERBS:
        return any(not phrase.pronoun for phrase in event.objects)
    return True


def _sub_action(event: Event) -> str:
    """As an instruction to the actor, or "the blades whirling" where a thing moves by itself."""
    subject = event.subject
    if subject is None or en.is_person(subject.head) or subject.head in _ACTING_PARTS or not object_name(subject):
        return event.text()
    return f"the {subject.text} {gerund(event.text())}"


def _action_relations(action: str, readings: Sequence[Reading], objects: Sequence[str]) -> Iterator[Triple]:
    """One relation between the action and each object: who does it, where, with what, or just "involves"."""
    roles: dict[str, str] = {}
    for reading in readings:
        subjects = {id(event.subject) for event in reading.events if event.subject is not None}
        tools = {id(place) for event in reading.events if event.objects for place in event.places}
        for phrase in reading.phrases:
            roles.setdefault(en.singular(phrase.head), _role(phrase, id(phrase) in subjects, id(phrase) in tools))
    for name in objects:
        yield (action, roles.get(_key(name), "involves"), name)


def _key(name: str) -> str:
    """What makes two names the same thing: the head noun in the singular."""
    return en.singular(name.split(" of ")[0].split()[-1])


def _role(phrase: NounPhrase, is_subject: bool, is_tool: bool) -> str:
    if is_subject and en.is_person(phrase.head):
        return "is performed by"
    if phrase.preposition in _WHERE and phrase.text.split()[-1] in en.PLACES and " of " not in phrase.text:
        where = _WHERE[phrase.preposition]
        return f"takes place {'in' if where == 'on' and phrase.head in _WATER else where}"
    return "uses" if is_tool and phrase.preposition == "with" else "involves"


def _object_relations(readings: Sequence[Reading], objects: Sequence[str], limit: int = 8) -> tuple[Triple, ...]:
    """How things stand to each other: from events ("arrow is placed on string"), else from sharing a sentence."""
    known = {_key(name): name for name in objects}

    def name_of(phrase: NounPhrase) -> str:
        return known.get(en.singular(phrase.head), "") if object_name(phrase) else ""

    links = [link for reading in readings for link in _links(reading)]
    triples = [_oriented(name_of(left), predicate, name_of(right)) for left, predicate, right in links]
    triples = [triple for triple in unique(triples) if triple[0] != triple[2]]
    if not triples:
        triples = [
            _oriented(left, "be seen with", right)
            for reading in readings
            for left, right in _neighbours([name_of(phrase) for phrase in reading.phrases])
        ]
    return unique(triples)[:limit]


def _oriented(left: str, predicate: str, right: str) -> Triple:
    """The triple with its verb agreeing with the subject: "be drawn" -> "is drawn" or "are drawn"."""
    verb, _, rest = predicate.partition(" ")
    if is_plural(left):
        verb = {"be": "are"}.get(verb, verb)
    else:
        verb = {"be": "is", "have": "has"}.get(verb) or en.third_person(verb)
    return left, f"{verb} {rest}".strip(), right


def _links(reading: Reading) -> Iterator[tuple[NounPhrase, str, NounPhrase]]:
    """Pairs of phrases with the verb phrase between them, its verb in the base form."""
    for thing, modifier in reading.modifiers:
        if modifier.preposition == "in" and en.is_person(thing.head) and modifier.head not in en.PLACES:
            yield thing, "wear", modifier
        else:
            yield thing, "have" if modifier.preposition == "with" else f"be {modifier.preposition}", modifier
    for event in reading.events:
        thing = next((phrase for phrase in event.objects if not phrase.pronoun), None)
        for position, place in enumerate(event.places):
            if position and not (thing is not None and place.preposition == "with"):
                continue  # "sits in a chair with a book in her hands": only the first place is surely hers
            if thing is not None:
                yield thing, f"be {en.past_participle(event.verb)} {place.preposition}", place
            elif event.subject is not None and not event.objects:
                yield event.subject, f"{event.verb} {place.preposition}", place


def _neighbours(names: Sequence[str]) -> list[tuple[str, str]]:
    present = list(unique(names))
    return list(zip(present, present[1:], strict=False))
