"""Parts of speech of short English descriptions, by rules: enough to tell what is done from what is there.

Made for plain sentences ("A diver stands on a rock. He jumps off the cliff."), dictionary definitions and imperatives.
It needs no model and no data, and errs where a trained tagger would not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from . import english as en


# Word groups that act as one word, with their part of speech.
_GROUPS = {
    "in front of": "P", "on top of": "P", "next to": "P", "close to": "P", "out of": "P", "away from": "P",
    "back and forth": "A", "up and down": "A", "left and right": "A", "from side to side": "A", "close together": "A",
    "each other's": "D", "one another's": "D", "each other": "R", "one another": "R",
}  # fmt: skip
_TOKEN = re.compile(
    rf"\b(?:{'|'.join(_GROUPS)})(?![\w'])|[^\W\d_]+(?:['-][^\W\d_]+)*|\d+(?:[.,]\d+)*|[.,;:!?()]", re.IGNORECASE
)
_BE = frozenset(["is", "are", "was", "were", "be", "been", "being", "am", "isn't", "aren't"])


@dataclass
class Token:
    """A word and its part of speech.

    `tag` is N (noun or adjective), V, D (determiner), P (preposition), T ("to" before a verb), C (conjunction),
    R (pronoun), X (auxiliary), A (adverb), Q (number) or S (punctuation). `form` says which form a verb has.
    """

    text: str
    tag: str = ""
    base: str = ""
    form: str = ""

    @property
    def lower(self) -> str:
        return self.text.lower()


def tag_sentence(sentence: str) -> list[Token]:
    """Words with parts of speech, left to right; each decision sees the tags before it and the word after it."""
    tokens = [Token(text) for text in _TOKEN.findall(sentence)]
    for position, token in enumerate(tokens):
        token.tag = _closed_class(token.lower) or ""
        if token.lower in ("to", "as"):
            token.tag = _tag_to(tokens, position)
        elif token.lower == "that" and position and tokens[position - 1].tag == "N":
            token.tag = "R"
        elif not token.tag:
            _tag_open(tokens, position)
        elif token.tag == "A" and position and token.lower in en.ADJECTIVE_ADVERBS:
            follows = tokens[position - 1].tag in ("D", "P", "V", "C")
            if tokens[position - 1].tag == "D" or (follows and _next(tokens, position)[0] == "N"):
                token.tag = "N"  # "the right hand", "with straight arms", "to first base"
    return tokens


def _tag_open(tokens: Sequence[Token], position: int) -> None:
    token = tokens[position]
    base = en.verb_base(token.lower)
    if base is None:
        base = _unlisted_verb(tokens, position)
        token.tag, token.base, token.form = ("V", base, _verb_form(token.lower, base)) if base else ("N", "", "")
        return
    token.base, token.form = base, _verb_form(token.lower, base)
    token.tag = "V" if _reads_as_verb(tokens, position, base) else "N"


def _unlisted_verb(tokens: Sequence[Token], position: int) -> str | None:
    """The base form of a word that is no listed verb but stands like one: "she sniffs", "... and hides the ball"."""
    word, previous = tokens[position].lower, tokens[position - 1] if position else Token("", "S")
    following, _ = _next(tokens, position)
    subject = previous.lower in ("he", "she", "it", "they", "who")
    if word.endswith("s") and not word.endswith(("ss", "us")) and len(word) > 3:
        if subject or (following == "D" and previous.tag in ("C", "S", "N") and position):
            return en.strip_third_person(word)
    elif word.endswith("ing") and len(word) > 5 and following == "D" and previous.tag != "D":
        return en.strip_ing(word)
    return None


def _closed_class(word: str) -> str | None:
    if word in _GROUPS:
        return _GROUPS[word]
    if not word[0].isalnum():
        return "S"
    if word[0].isdigit():
        return "Q"
    if word.endswith("'s") and len(word) > 3:
        return "D"  # a possessive opens a noun phrase as an article does
    for tag, words in (
        ("D", en.DETERMINERS),
        ("C", en.CONJUNCTIONS),
        ("R", en.PRONOUNS),
        ("X", en.AUXILIARIES),
        ("P", en.PREPOSITIONS),
    ):
        if word in words:
            return tag
    return "A" if en.is_adverb(word) else None


def _tag_to(tokens: Sequence[Token], position: int) -> str:
    if tokens[position].lower == "as":
        return "C" if position + 1 < len(tokens) and tokens[position + 1].lower in en.PRONOUNS else "P"
    following = tokens[position + 1].lower if position + 1 < len(tokens) else ""
    return "T" if following and en.verb_base(following) == following else "P"


def _verb_form(word: str, base: str) -> str:
    if word == base:
        return "base"
    if word.endswith("ing"):
        return "ing"
    return "s" if word.endswith("s") else "ed"


def _next(tokens: Sequence[Token], position: int) -> tuple[str, str]:
    """The closed class (or "N") of the next token, and its text."""
    if position + 1 >= len(tokens):
        return "S", ""
    word = tokens[position + 1].lower
    return _closed_class(word) or "N", word


@dataclass(frozen=True)
class _Context:
    """What a verb decision looks at: the token before, the class after, and the clause so far."""

    previous: Token
    following: str
    next_word: str
    base: str
    first: bool
    clause_verb: Token | None  # the last verb of the clause
    joined: bool  # a conjunction or comma stands between that verb and here

    @property
    def nouny(self) -> bool:
        return self.base in en.NOUNY

    @property
    def object_follows(self) -> bool:
        return self.following in ("D", "R", "Q") and self.next_word not in ("that", "which", "who")


def _context(tokens: Sequence[Token], position: int, base: str) -> _Context:
    verb, joined = None, False
    for token in reversed(tokens[:position]):
        if token.lower in (".", ";", ":", "while", "when", "who", "which", "that", "until"):
            break
        if token.tag == "V":
            verb = token
            break
        joined = joined or token.tag in ("C", "S")
    previous = tokens[position - 1] if position else Token("", "S")
    return _Context(previous, *_next(tokens, position), base, position == 0, verb, joined)


def _reads_as_verb(tokens: Sequence[Token], position: int, base: str) -> bool:
    token, context = tokens[position], _context(tokens, position, base)
    previous = context.previous
    if previous.tag == "T" or (previous.tag == "R" and previous.lower not in ("others", "each other", "one another")):
        return True
    if previous.tag == "D":  # "one swings a punch": a determiner alone as the subject
        alone = previous.lower in ("one", "each", "another", "both", "other")
        return alone and token.form == "s" and context.object_follows
    if previous.tag == "X" and token.form in ("base", "s"):
        return previous.lower not in _BE
    return {"ing": _ing_is_verb, "ed": _ed_is_verb, "s": _s_is_verb, "base": _base_is_verb}[token.form](context)


def _ing_is_verb(context: _Context) -> bool:
    previous = context.previous
    if previous.tag == "N":  # "a person holding a bow", not "a rock climbing wall"
        return context.following != "N" or previous.lower.endswith("s") or previous.lower in en.ANYBODY
    if previous.tag == "P" and previous.lower not in ("by", "while", "of", "for", "after", "before", "without"):
        return context.object_follows
    return True


def _ed_is_verb(context: _Context) -> bool:
    if context.previous.tag == "X":
        return True
    if context.previous.tag in ("P", "Q") or context.following == "N":
        return False
    if context.previous.tag in ("C", "S", "A"):
        return context.object_follows or context.clause_verb is not None
    return context.object_follows or context.following in ("P", "S", "C")


def _s_is_verb(context: _Context) -> bool:
    tag, following = context.previous.tag, context.following
    if tag in ("P", "V"):
        return False
    if context.object_follows:
        return True
    if tag in ("N", "A", "Q"):
        if not context.nouny or following == "A":
            return True
        return (context.clause_verb is None or context.joined) and following in ("P", "C", "S", "N")
    if tag in ("C", "S"):  # "..., stops and sniffs the grass", but "pads, gloves and bats"
        if following == "N":  # "spreads icing", but "slices fall"
            return en.verb_base(context.next_word) != context.next_word or context.next_word in en.NOUNY
        parallel = context.clause_verb is not None and context.clause_verb.form == "s"
        return not context.first and (context.base not in en.THINGS or (parallel and following == "P"))
    return False


def _base_is_verb(context: _Context) -> bool:
    tag, following = context.previous.tag, context.following
    if tag in ("S", "C"):  # imperative or dictionary style, or a second verb: "put or spread the cream"
        plural_clause = context.clause_verb is not None and context.clause_verb.form == "base"
        if plural_clause and (following == "N" or (following == "S" and context.base not in en.THINGS)):
            return True
        if context.first and following in ("P", "A") and context.base not in en.THINGS:
            return True  # "play on a drum": a noun would have its article
        return context.object_follows or (not context.nouny and (following in ("P", "C", "N", "A") or context.first))
    if tag == "N":  # a plural subject: "two opponents grip", "children bounce"
        word = context.previous.lower
        plural = word.endswith("s") or word in ("people", "men", "women", "children", "couple")
        return plural and (context.object_follows or not context.nouny or following in ("P", "C", "S", "A"))
    if tag in ("A", "Q"):
        return context.object_follows or (not context.nouny and following in ("P", "C"))
    return False
