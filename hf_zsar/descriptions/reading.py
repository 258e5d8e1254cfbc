"""Short English descriptions -> things and events ("who does what to what, where"), by spaCy's dependency parse."""

from __future__ import annotations

import functools
import html
import re
import unicodedata
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Token

DEFAULT_PIPELINE = "en_core_web_sm"
INSTALL = "pip install 'hf-zsar[graphs]' and an English pipeline: python -m spacy download en_core_web_sm"
# About two words of five in English descriptions are stop words; in other languages next to none are.
LEAST_STOP_WORDS = 0.2
# Words for just anybody: no thing to look for in a frame. Further people are known by their endings.
ANYBODY = frozenset("person people man men woman women boy girl child children adult someone everyone other".split())
PERSON_ENDINGS = (
    "er",
    "or",
    "ist",
    "man",
    "men",
    "woman",
    "women",
    "boy",
    "girl",
    "ant",
    "ete",
    "chef",
    "cook",
    "ina",
)
# What no frame shows, and what only counts or measures something else.
NOTHING = frozenset("way time moment air order kind sort lot place half side front top bottom position which".split())


class NotEnglishWarning(UserWarning):
    """A description does not read as English, so little can be made of it."""


@functools.cache
def english(name: str | None = None) -> Language:
    """A spaCy pipeline by name; by default `en_core_web_sm`, else the first English one that is installed.

    Raises:
        ImportError: spaCy or the pipeline is missing; the message says how to install them.
    """
    try:
        import spacy
    except ImportError as error:
        raise ImportError(f"Reading descriptions needs spaCy: {INSTALL}") from error
    installed = spacy.util.get_installed_models()
    name = name or next(
        (each for each in (DEFAULT_PIPELINE, *installed) if each in installed and each[:2] == "en"), ""
    )
    try:
        return spacy.load(name)
    except OSError as error:
        raise ImportError(f"There is no spaCy pipeline {name or 'for English'!r} here: {INSTALL}") from error


@dataclass(frozen=True)
class Thing:
    """A noun with what belongs to it, in lower case, without determiner: "cup of coffee", key "cup"."""

    text: str
    key: str
    token: Token

    @property
    def is_person(self) -> bool:
        """Whether a noun is a person: a guess from the word alone."""
        return self.key in ANYBODY or self.token.lower_.endswith(PERSON_ENDINGS)

    @property
    def preposition(self) -> str:
        """The preposition in front of a thing, "" if there is none."""
        return self.token.head.lower_ if self.token.dep_ == "pobj" else ""


@dataclass(frozen=True)
class Event:
    """A verb with what it is done by and to, and as an instruction: "draw the string back to the cheek"."""

    verb: Token
    subject: Token | None
    thing: Token | None
    text: str


@dataclass(frozen=True)
class Reading:
    """The things and the events of a text, in order."""

    things: tuple[Thing, ...]
    events: tuple[Event, ...]


def clean_text(text: str) -> str:
    """Plain text: tags stripped, entities resolved, NFC, white space collapsed."""
    text = re.sub(r"<[^<>]{0,200}>", " ", html.unescape(text))
    text = re.sub(r"\((?:=|of\b)[^()]*\)", " ", text)  # glosses of dictionaries
    text = re.sub(r"[()]", " ", text)
    return " ".join(unicodedata.normalize("NFC", text).replace("’", "'").split())


def read_text(text: str, pipeline: str | None = None) -> Reading:
    """Parse a text.

    Warns:
        NotEnglishWarning: it has next to none of the words that every English text has.
    """
    doc = english(pipeline)(clean_text(text))
    words = [token for token in doc if token.is_alpha]
    if len(words) > 5 and sum(token.is_stop for token in words) < LEAST_STOP_WORDS * len(words):
        message = f"This does not read as English, from which alone graphs and attributes are made: {text[:80]!r}"
        warnings.warn(message, NotEnglishWarning, stacklevel=2)
    return Reading(tuple(_things(doc)), tuple(event for token in doc if (event := _event(token)) is not None))


def verb_lemma(word: str, pipeline: str | None = None) -> str:
    """The word read as a verb, in its base form: "wrestling" -> "wrestle"."""
    nlp = english(pipeline)
    doc = nlp.make_doc(word)
    for token in doc:
        token.pos_ = "VERB"
    return nlp.get_pipe("lemmatizer")(doc)[0].lemma_ if len(doc) else ""


def is_stop_word(word: str, pipeline: str | None = None) -> bool:
    """Whether the word carries no meaning by itself."""
    return english(pipeline).vocab[word].is_stop


def root(word: str, pipeline: str | None = None) -> str:
    """A key that the forms of a verb, or a noun and its plural, have in common."""
    base = verb_lemma(word, pipeline)
    return base if base != word else verb_lemma(word.removesuffix("s"), pipeline)


def _things(doc: Doc) -> Iterator[Thing]:
    for chunk in doc.noun_chunks:
        root = chunk.root
        if root.pos_ == "PRON" or root.lemma_.lower() in NOTHING or not root.is_alpha:
            continue
        if root.dep_ == "pobj" and root.head.lower_ == "of" and root.head.head.pos_ == "NOUN":
            continue  # named by what it is a part of: "loaf of bread"
        words = [token.lower_ for token in chunk if token.pos_ in ("NOUN", "PROPN", "ADJ") or token.dep_ == "amod"]
        whole = next((child for child in root.children if child.lower_ == "of"), None)
        part = next((child for child in whole.children if child.dep_ == "pobj"), None) if whole is not None else None
        words = [*words[-3:], *(["of", part.lower_] if part is not None else [])]
        if words:
            yield Thing(" ".join(words), root.lemma_.lower(), root)


def _event(verb: Token) -> Event | None:
    """The event of a verb; parsers sometimes call a verb a noun, but then it still has a subject and an object."""
    children = {child.dep_: child for child in reversed(list(verb.children))}
    subject = children.get("nsubj")
    thing = children.get("dobj") or children.get("nsubjpass")
    is_verb = verb.pos_ == "VERB" or (subject is not None and "dobj" in children)
    if not is_verb or verb.dep_ in ("aux", "auxpass", "amod", "compound") or "neg" in children:
        return None
    if subject is None and verb.dep_ == "conj":
        subject = next((child for child in verb.head.children if child.dep_ == "nsubj"), None)
    return Event(verb, subject, thing, _instruction(verb, children.get("nsubjpass")))


def _instruction(verb: Token, passive: Token | None, longest: int = 9) -> str:
    parts = [part for part in verb.children if part.i > verb.i and part.dep_ in _BELONGS and part.lower_ != "by"]
    words = [verb.lemma_.lower()]
    for part in [*([passive] if passive is not None else []), *parts]:
        more = [_plain(token) for token in part.subtree if token.pos_ not in ("PUNCT", "SPACE")]
        clauses = any(token.dep_ in ("relcl", "advcl", "ccomp") for token in part.subtree)
        if not clauses and len(words) + len(more) <= longest:
            words += more
    return " ".join(words)


# What stands behind a verb and belongs to it, by its dependency.
_BELONGS = frozenset("dobj prt prep advmod dative acomp oprd agent pobj".split())


def _plain(token: Token) -> str:
    """Without possessives, which a picture does not show: "her hand" -> "the hand"."""
    return "the" if token.dep_ == "poss" and token.pos_ == "PRON" else token.lower_
