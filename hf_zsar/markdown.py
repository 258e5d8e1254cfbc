"""Text of users and authors inside Markdown: shown as it is, it makes no HTML, link, table or other structure."""

from __future__ import annotations

import re
from typing import Any


_SIGNS = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])|(?<!\S)#")
_START = re.compile(r"\A(\s*\d*)(>|[-+=.)](?=[\s=-]|\Z))")  # of a quotation, a list, a rule
_ENTITY = re.compile(r"&(?=#|\w+;)")
# What a browser takes for the beginning of a tag; "<5 s" and "<https://...>" stay.
_TAG = re.compile(r"<(?=[A-Za-z/!?])(?!https?://)")


class Markdown(str):
    """Text that is Markdown already: our own."""

    __slots__ = ()


def plain(value: Any) -> str:
    """A value as one line that reads the same in Markdown; [`Markdown`] stays as it is."""
    if isinstance(value, Markdown):
        return value
    text = _START.sub(r"\1\\\2", _SIGNS.sub(r"\\\g<0>", re.sub(r"\s+", " ", str(value))))
    return Markdown(_ENTITY.sub("&amp;", text).replace("<", "&lt;"))


def code(value: Any) -> Markdown:
    """A value as code within a line."""
    text = " ".join(str(value).split()) or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if "`" in (text[0], text[-1]) else ""
    return Markdown(f"{fence}{pad}{text}{pad}{fence}")


def cell(value: Any) -> Markdown:
    """A value inside a table."""
    if value is None or value == "":
        return Markdown("–")
    if isinstance(value, Markdown):
        return Markdown(re.sub(r"(?<!\\)\|", r"\\|", " ".join(value.split())))
    return Markdown(plain(f"{value:.6g}" if isinstance(value, float) else value))


def without_html(text: str) -> Markdown:
    """Markdown that somebody wrote, without the tags in it."""
    return Markdown(_TAG.sub("&lt;", text))
