"""Labels to prompts: cleaning of class names and filling of templates."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence

from .label_checks import shown
from .text_repair import normalize_text


_SEPARATORS = re.compile(r"[\s_/'’‘\"“”-]+")


def clean_label(label: str, repair: bool = True) -> str:
    """A class name as published -> words: `"ApplyEyeMakeup"`, `"apply_eye_makeup"` -> `"apply eye makeup"`.

    Underscores and slashes become spaces, CamelCase is split, white space collapsed. Text that already holds spaces
    keeps its capitals and punctuation; a single CamelCase or snake_case word is lower-cased. `repair` also undoes
    entities and the like (see `normalize_text`).
    """
    text = normalize_text(label) if repair else " ".join(label.split())
    if " " in text and "_" not in text:
        return text
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text.replace("_", " ").replace("/", " "))
    words = " ".join(words.split())
    return words.lower() if words != text else text


def class_key(name: str) -> str:
    """Where the spellings of one class name meet: capitals, blanks, `_`, `-`, `/` and quotes do not count."""
    return _SEPARATORS.sub("", unicodedata.normalize("NFKC", html.unescape(name)).casefold())


def check_template(template: str) -> str:
    """Return the template if it has exactly one `{}`.

    Raises:
        ValueError: otherwise, naming the template.
    """
    if not isinstance(template, str) or template.count("{}") != 1:
        raise ValueError(f"A prompt template needs exactly one '{{}}' for the label, got {shown(template)}.")
    return template


def as_templates(templates: str | Sequence[str]) -> list[str]:
    """One template or several as a list.

    Raises:
        ValueError: none, or one without exactly one `{}`.
    """
    found = [templates] if isinstance(templates, str) else list(templates)
    if not found:
        raise ValueError("Prompt templates must be one or several strings with {} for the label, got none.")
    return [check_template(template) for template in found]


def fill_templates(label: str, templates: Sequence[str]) -> list[str]:
    """One prompt per template, in order."""
    return [check_template(template).replace("{}", label) for template in templates]


def describe(label: str, descriptions: Sequence[str], templates: Sequence[str]) -> list[str]:
    """The label alone in every template, and with each description behind it; half of the prompts are of either."""
    alone = fill_templates(label, templates)
    described = [prompt for each in descriptions for prompt in fill_templates(f"{label}, {each}", templates)]
    return alone * max(1, len(descriptions)) + described
