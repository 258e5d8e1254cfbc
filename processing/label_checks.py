"""What can be a label and a set of candidates; the rest is refused in words."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from .limits import hold_to, limits


SHOWN = 5  # labels that a message names
# Half characters of UTF-16, which file names that are not UTF-8 hold; and the end of a C string.
_UNREADABLE = re.compile("[\ud800-\udfff\x00]")


def as_labels(labels: Any) -> list[str]:
    """Labels out of any collection of strings (list, array, Series, column, generator...), in order.

    Raises:
        ValueError: no collection, something in it that is not a string, or more than the limit `labels`.
    """
    if isinstance(labels, (str, bytes)) or not isinstance(labels, Iterable) or getattr(labels, "ndim", 1) != 1:
        raise ValueError(f"labels must be a list of strings, got {shown(labels)}.")
    found = list(islice(labels, int(limits().labels) + 1))
    hold_to("labels", len(found), "the number of labels")
    for position, label in enumerate(found):
        if not isinstance(label, str):
            raise ValueError(
                f"labels must be strings, but number {position} is {shown(label)} ({type(label).__name__})."
            )
    return [str(label) for label in found]  # those of numpy become plain


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> Any:
    """The value of an option, if it is one of a few.

    Raises:
        ValueError: it is not.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {shown(value)}.")
    return value


def check_text(text: str, what: str) -> None:
    """
    Raises:
        ValueError: the text, which the message calls `what`, is longer than the limit `text_characters`, or holds
            what is not a character.
    """
    hold_to("text_characters", len(text), f"the length of {what} {shown(text)}")
    if match := _UNREADABLE.search(text):
        raise ValueError(f"{what} {shown(text)} holds {match[0]!a}, which is not a character: write it anew.")


def check_prompts(labels: int, each: int) -> None:
    """
    Raises:
        ValueError: more prompts than the limit `prompts`.
    """
    hold_to("prompts", labels * each, f"{labels:,} labels with {each:,} prompts each")


def is_visible(text: str) -> bool:
    """Whether anything of it could be read: a letter, digit, punctuation or symbol."""
    return any(unicodedata.category(letter)[0] in "LNPS" for letter in text)


def check_candidates(labels: Any, shares: bool = True) -> list[str]:
    """The labels of one choice, as `as_labels` gives them.

    Args:
        shares: their scores are shares of one (a softmax).

    Raises:
        ValueError: no labels, a label that stands twice, or with `shares` a single one.
    """
    labels = as_labels(labels)
    if len(set(labels)) < len(labels):
        raise ValueError(
            f"labels stand twice among the candidates: {listed(repeated(labels))}. Two answers would share the score "
            "of one: give each once."
        )
    if shares and len(labels) == 1:
        raise ValueError(
            f"{shown(labels[0])} is the only label, so its share of the scores would be 1.0 for every video: give at "
            'least two labels. The pipeline scores one label with function_to_apply="none" or multi_label=True.'
        )
    return labels


def repeated(labels: Sequence[str]) -> list[str]:
    """Those that stand more than once."""
    return [label for label, count in Counter(labels).items() if count > 1]


def listed(labels: Iterable[str]) -> str:
    """The first few labels for a message."""
    labels = list(labels)
    more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    return ", ".join(map(shown, labels[:SHOWN])) + more


def shown(value: Any) -> str:
    """A value as a message shows it: printable, and both ends of a long one."""
    text = repr(value[:100] + value[-100:] if isinstance(value, str) and len(value) > 200 else value)
    return text if len(text) <= 80 else f"{text[:50]}...{text[-25:]}"
