"""Relations of an action graph put into English, by rules of our own: when a file is made or read."""

from __future__ import annotations

import re


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


def verbalize(triple: Triple, kind: str) -> str:
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
