"""Short English descriptions -> noun phrases and events ("who does what to what, where"), by rules on tagged words."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from . import english as en
from .tagging import Token, tag_sentence


def clean_text(text: str) -> str:
    """Plain text: tags stripped, entities resolved, NFC, white space collapsed."""
    text = re.sub(r"<[^<>]{0,200}>", " ", html.unescape(text))
    text = re.sub(r"\((?:=|of\b)[^()]*\)", " ", text)  # glosses of dictionaries
    text = re.sub(r"[()]", " ", text)
    return " ".join(unicodedata.normalize("NFC", text).replace("’", "'").split())


def split_sentences(text: str) -> list[str]:
    """Sentences, also at line breaks and semicolons; a full stop between digits does not end one."""
    parts = re.split(r"(?<=[.!?;])\s+|\n+", text)
    return [part.strip() for part in parts if part.strip()]


@dataclass
class NounPhrase:
    """A noun phrase in lower case.

    Args:
        text: without determiner; "of" joins ("cup of coffee"). A pronoun stands for itself.
        determiner: as written, "" if none; numbers count as determiners.
        preposition: the one in front of it, "" if none.
        pronoun: whether it is only a pronoun.
        joined: whether "and" ties it to the phrase before.
    """

    text: str
    determiner: str = ""
    preposition: str = ""
    pronoun: bool = False
    joined: bool = False

    @property
    def head(self) -> str:
        """The noun itself: "cup of coffee" -> "cup"."""
        return self.text.split(" of ")[0].split()[-1]

    @property
    def full(self) -> str:
        """With its determiner; whose hand it is does not matter to a picture: "her hand" -> "the hand"."""
        article = "the" if self.determiner in _POSSESSIVES else self.determiner
        return f"{article} {self.text}".strip()


@dataclass
class Event:
    """One verb (base form) with what stands around it."""

    verb: str
    subject: NounPhrase | None = None
    particle: str = ""
    objects: list[NounPhrase] = field(default_factory=list)
    places: list[NounPhrase] = field(default_factory=list)
    passive: bool = False

    def text(self, max_words: int = 9) -> str:
        """As an instruction: "pull the string back to the cheek"; places that make it too long are dropped."""
        objects = " and ".join(phrase.full for phrase in self.objects).split()
        particle = self.particle.split()
        words = [self.verb, *particle, *objects] if len(objects) > 3 else [self.verb, *objects, *particle]
        for place in self.places:
            more = f"{'and' if place.joined else place.preposition} {place.full}".split()
            if len(words) + len(more) > max_words:
                break
            words += more
        return " ".join(words)


@dataclass
class Reading:
    """All noun phrases and all events of one sentence, in order, and (thing, what is said of it) pairs."""

    phrases: list[NounPhrase] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    modifiers: list[tuple[NounPhrase, NounPhrase]] = field(default_factory=list)


_POSSESSIVES = frozenset(["his", "her", "their", "your", "my", "our", "one's", "each other's", "one another's"])
_STAND_ALONE = frozenset(["other", "others", "another", "one", "both", "her", "this", "that", "each"])
# "a series of jumps" is about jumps, "the edge of a rock" about a rock.
_MEASURES = en.FILLERS | {"couple", "pair", "edge", "middle", "top", "bottom", "group", "bit", "end", "some"}
_SUBORDINATORS = frozenset(["while", "when", "as", "after", "but", "until", "because", "so", "if", "before"])
_PARTICLES = frozenset(
    [
        *("away", "back", "backward", "backwards", "down", "downward", "downwards", "forward", "forwards", "off"),
        *("out", "over", "together", "apart", "sideways", "up", "upward", "upwards", "around", "in", "on", "through"),
        *(
            "back and forth",
            "up and down",
            "left and right",
            "from side to side",
            "overhead",
            "aside",
            "close together",
        ),
    ]
)
# With these, "up" and "out" in front of a noun say where one moves; with all other verbs they belong to the verb.
_GOING = frozenset(
    ["climb", "crawl", "drive", "go", "hike", "jump", "move", "ride", "run", "skate", "ski", "step", "walk"]
)
_NEGATIONS = frozenset(["without", "not", "never", "no", "don't", "doesn't"])


class _Reader:
    """Walks over the chunks of one sentence and fills a `Reading`; one method per kind of chunk."""

    def __init__(self) -> None:
        self.reading = Reading()
        self.event: Event | None = None
        self.subject: NounPhrase | None = None
        self.preposition = ""
        self.conjoined = False
        self.negated = False
        self.predicate = False  # right behind "is": "full" in "the cup is full" is no thing
        self.swap_at: int | None = None
        # Phrases since the last conjunction or comma, which turn out to be the next subject if a verb follows them.
        self.pending: list[NounPhrase] = []
        self.conjoined_since = False

    def read(self, tokens: Sequence[Token]) -> Reading:
        """The reading of one tagged sentence."""
        for kind, words in _chunks(tokens):
            if words[0].lower in _NEGATIONS:
                self.negated = True
            if kind not in ("NP", "A"):
                self.predicate = False
            handler = {"NP": self._phrase, "V": self._verb, "P": self._prep, "A": self._adverb, "R": self._pronoun}
            handler |= {"C": self._conjunction, "S": self._stop, "X": self._auxiliary}
            if kind in handler:
                handler[kind](words, tokens)
        if self.swap_at is not None:  # "B after A": A happens first
            events = self.reading.events
            self.reading.events = events[self.swap_at :] + events[: self.swap_at]
        return self.reading

    def _phrase(self, words: Sequence[Token], tokens: Sequence[Token]) -> None:
        phrase = _noun_phrase(words, self.preposition)
        if phrase.pronoun and phrase.text and self.event is not None:
            (self.event.places if phrase.preposition else self.event.objects).append(phrase)
        elif phrase.text and not self.negated and not (self.predicate and not phrase.determiner):
            self.reading.phrases.append(phrase)
            self._attach(phrase)
        self.preposition, self.conjoined = "", False

    def _attach(self, phrase: NounPhrase) -> None:
        event = self.event
        self.pending.append(phrase)
        if event is None:
            if self.subject is not None and phrase.preposition:  # "a dog with a collar"
                self.reading.modifiers.append((self.subject, phrase))
            self.subject = self.subject or phrase
        elif self.conjoined and not phrase.preposition and event.places:
            phrase.preposition, phrase.joined = event.places[-1].preposition, True
            event.places.append(phrase)
        elif phrase.preposition in ("up", "out") and not event.objects and event.verb not in _GOING:
            event.particle, phrase.preposition = phrase.preposition, ""
            event.objects.append(phrase)
        elif phrase.preposition == "by" and event.passive:
            event.subject = phrase
        elif phrase.preposition:
            event.places.append(phrase)
        elif not event.places:
            event.objects.append(phrase)

    def _verb(self, words: Sequence[Token], tokens: Sequence[Token]) -> None:
        if self.negated:
            self.event = None
            return
        if self.event is not None and self.pending and self.conjoined_since:
            self._detach()
        verb = words[0]
        before = tokens[_index(tokens, verb) - 1] if _index(tokens, verb) else Token("", "S")
        self.event = Event(verb.base, self.subject, passive=verb.form == "ed" and before.tag == "X")
        if self.event.passive and self.subject is not None:
            self.event.subject, self.event.objects = None, [self.subject]
        if self.preposition == "after" and self.reading.events:
            self.swap_at = len(self.reading.events)
        self.reading.events.append(self.event)
        self.preposition, self.conjoined, self.pending, self.conjoined_since = "", False, [], False

    def _detach(self) -> None:
        """The phrases since the last comma or "and" are the subject of the verb that follows, not objects."""
        assert self.event is not None
        for phrase in self.pending:
            for owned in (self.event.objects, self.event.places):
                if any(phrase is item for item in owned):
                    owned[:] = [item for item in owned if item is not phrase]
        self.subject = self.pending[0]
        self.subject.preposition = ""

    def _prep(self, words: Sequence[Token], tokens: Sequence[Token]) -> None:
        event = self.event
        if event is not None and self.preposition in _PARTICLES and not event.particle and not event.places:
            event.particle = self.preposition
        self.preposition = words[0].lower

    def _adverb(self, words: Sequence[Token], tokens: Sequence[Token]) -> None:
        if self.event is not None and not self.event.particle and words[0].lower in _PARTICLES:
            self.event.particle = words[0].lower

    def _pronoun(self, words: Sequence[Token], tokens: Sequence[Token]) -> None:
        word = words[0].lower
        if word in ("it", "them", "him", "me", "us", "each other", "one another", "himself", "herself", "themselves"):
            phrase = NounPhrase(word, "", self.preposition, pronoun=True)
            if self.event is not None and (phrase.preposition or not self.event.objects):
                (self.event.places if phrase.preposition else self.event.objects).append(phrase)
        relative = word in ("who", "which", "that", "whom")
        if relative:  # "a stroke in which the arms are pushed" is about arms
            self.subject = None if self.preposition else self.subject
            self.event, self.pending = None, []
        elif word in ("he", "she", "they", "it", "you", "we", "i"):
            self.subject = None
        self.preposition = ""

    def _conjunction(self, words: Sequence[Token], tokens: Sequence[Token]) -> None:
        word = words[0].lower
        self._close_particle()
        if word == "after" and self.reading.events:
            self.swap_at = len(self.reading.events)
        self.conjoined, self.preposition, self.negated = word in ("and", "or"), "", False
        self.pending, self.conjoined_since = [], True
        if word in _SUBORDINATORS:
            self.event, self.subject = None, None

    def _stop(self, words: Sequence[Token], tokens: Sequence[Token]) -> None:
        self._close_particle()
        self.preposition, self.negated, self.pending, self.conjoined_since = "", False, [], True
        self.conjoined = words[0].lower == ","
        if words[0].lower in (".", ";", ":"):
            self.event, self.subject = None, None

    def _auxiliary(self, words: Sequence[Token], tokens: Sequence[Token]) -> None:
        if self.pending and self.conjoined_since and self.event is not None:
            self._detach()
            self.event = None
        self.predicate = True

    def _close_particle(self) -> None:
        """A preposition with no noun behind it belongs to the verb: "presses the lid down"."""
        if self.event is not None and self.preposition in _PARTICLES and not self.event.particle:
            self.event.particle = self.preposition


def _index(tokens: Sequence[Token], token: Token) -> int:
    return next(position for position, item in enumerate(tokens) if item is token)


def _chunks(tokens: Sequence[Token]) -> Iterator[tuple[str, list[Token]]]:
    """Runs of determiners, numbers and nouns as "NP" (joined over "of"), every other token alone."""
    position = 0
    while position < len(tokens):
        end = position
        while end < len(tokens) and _continues_phrase(tokens, position, end):
            end += 1
        if end == position:
            yield tokens[position].tag, [tokens[position]]
            end += 1
        else:
            yield "NP", [token for token in tokens[position:end] if token.tag != "S"]
        position = end


def _continues_phrase(tokens: Sequence[Token], start: int, position: int) -> bool:
    token, inside = tokens[position], position > start
    if token.lower == ",":  # "a small, thin beam"
        return (
            inside
            and tokens[position - 1].lower in en.ADJECTIVES
            and tokens[min(position + 1, len(tokens) - 1)].tag == "N"
        )
    if token.tag == "D":  # only in front, in a row ("both of the"), or after "of"
        return not inside or tokens[position - 1].tag in ("D", "Q") or tokens[position - 1].lower == "of"
    if token.lower == "of":
        return inside and position + 1 < len(tokens) and tokens[position + 1].tag in ("D", "Q", "N")
    return token.tag in ("N", "Q")


def _noun_phrase(words: Sequence[Token], preposition: str) -> NounPhrase:
    determiner = next((token.lower for token in words if token.tag in ("D", "Q")), "")
    if all(token.tag != "N" for token in words):  # "one foot in front of the other", "beside her"
        word = words[-1].lower
        article = determiner if len(words) > 1 else ""
        return NounPhrase(word if word in _STAND_ALONE else "", article, preposition, pronoun=True)
    kept = list(words)
    while (cut := next((i for i, token in enumerate(kept) if token.lower == "of"), 0)) and (
        kept[cut - 1].lower in _MEASURES or kept[cut - 1].tag != "N"
    ):
        kept = kept[cut + 1 :]  # "a series of jumps" is about jumps, "one of the hands" about hands
        determiner = next((token.lower for token in kept if token.tag in ("D", "Q")), "")
    inner = next((i for i, token in enumerate(kept) if token.lower == "of"), len(kept))
    text = [token.lower for token in kept[:inner] if token.tag == "N"]
    text += ["the" if token.lower in _POSSESSIVES else token.lower for token in kept[inner:]]
    return NounPhrase(" ".join(text), determiner, preposition)


def read_sentence(sentence: str) -> Reading:
    """Noun phrases and events of one sentence; events in the order of time, as far as "after" tells it."""
    return _Reader().read(tag_sentence(sentence))


def read_text(text: str) -> list[Reading]:
    """The readings of all sentences of a text."""
    return [read_sentence(sentence) for sentence in split_sentences(clean_text(text))]
