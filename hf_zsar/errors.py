"""Errors as sentences: what a person at a keyboard, a log or a record should see of an exception."""

from __future__ import annotations

from hf_zsar.processing.urls import redacted


# Whose text is a sentence already; that of others ("'labels'", "list index out of range") needs their name.
_SAYS_ALL = (ValueError, OSError, ImportError, RuntimeError)
LONGEST = 2000
_QUOTED = "See the original errors"  # transformers then appends whole tracebacks


def sentence(error: BaseException) -> str:
    """What is wrong, in one line of bounded length and without secrets of URLs."""
    text = str(error).strip()
    if _QUOTED in text:
        text = text.splitlines()[-1].partition(": ")[2] or text
    text = redacted(" ".join(text.split()))
    ours = type(error).__module__.startswith("hf_zsar")
    if not (ours or isinstance(error, _SAYS_ALL)) or isinstance(error, (RecursionError, UnicodeError)) or not text:
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
