"""URLs: what counts as one, and how one is shown.

A URL may carry a user's name and password, and signatures that open what they stand for to everybody. So no message,
warning or record holds one as it was given.
"""

from __future__ import annotations

import re
from typing import Any, cast


URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_PARTS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+://)(?P<authority>[^/?#\\]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?P<rest>#.*)?",
    re.DOTALL,
)
_HOST = re.compile(r"(?:\[[^\]]*\]|[^:\[\]]*)(?::\d*)?")
# A scheme of bounded length: else every letter of a long word is tried as the first of one, to the word's end.
_INNER = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,40}://\S*")
HIDDEN = "***"


def is_url(source: Any) -> bool:
    """Whether `source` is a string that starts like `scheme://`."""
    return isinstance(source, str) and URL.match(source) is not None


def redacted(text: str) -> str:
    """A text with every URL in it shown without what may be secret: user and password, the values of the query, the
    fragment. Scheme, host, path and the names in the query stay. A text that is a URL is one to its end.

    ```python
    >>> redacted("https://me:pass@host/a.mp4?token=abc&page=2")
    'https://***@host/a.mp4?token=***&page=***'
    ```
    """
    return _redacted(text) if is_url(text) else _INNER.sub(lambda match: _redacted(match[0]), text)


def _redacted(url: str) -> str:
    parts = cast(re.Match[str], _PARTS.fullmatch(url))  # any text has these parts
    scheme, authority, path, query, rest = parts.groups()
    _, at, host = authority.rpartition("@")
    if not _HOST.fullmatch(host) and "@" in url[len(scheme) + len(authority) :]:
        # A password with a "/", "?" or "#" in it that nobody quoted: where it ends is a guess, so hide up to the last.
        return scheme + _redacted(f"http://{HIDDEN}@{url.rpartition('@')[2]}").removeprefix("http://")
    shown = f"{scheme}{HIDDEN}@{host}{path}" if at else f"{scheme}{host}{path}"
    if query:
        pairs = (pair.partition("=") for pair in query[1:].split("&"))
        shown += "?" + "&".join(f"{name}={HIDDEN}" if equals else HIDDEN for name, equals, _ in pairs)
    return f"{shown}#{HIDDEN}" if rest else shown
