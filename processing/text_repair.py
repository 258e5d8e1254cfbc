"""Text as the official CLIP tokenizer sees it, whatever it went through on its way here.

The official tokenizer first repairs text with the package ftfy and undoes HTML entities. These are the same repairs in
plain Python, as far as they matter for labels and descriptions: entities, curly quotes, ligatures, full-width letters,
control characters, and UTF-8 that was read as Latin-1 or Windows-1252. The tests compare them with ftfy.
"""

from __future__ import annotations

import html
import re
import unicodedata


_LIGATURES = "ĲĳǱǲǳǄǅǆǇǈǉǊǋǌﬀﬁﬂﬃﬄﬆ"
_CONTROLS = [*range(0x09), 0x0B, *range(0x0E, 0x20), 0x7F, *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD)]
_WIDTHS = [0x3000, *range(0xFF01, 0xFFF0)]
_TABLE: dict[int, str | None] = {
    **dict.fromkeys(_CONTROLS),
    **{code: unicodedata.normalize("NFKC", chr(code)) for code in _WIDTHS},
    **{ord(letter): unicodedata.normalize("NFKC", letter) for letter in _LIGATURES},
    **dict.fromkeys(map(ord, "\u02bc\u2018\u2019\u201a\u201b"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f"), '"'),
    ord("ŉ"): "'n",
    ord("ﬅ"): "ſt",
}

# Windows-1252 where it differs from Latin-1: the bytes 0x80 to 0x9f.
_WINDOWS = {bytes([byte]).decode("cp1252", "replace"): chr(byte) for byte in range(0x80, 0xA0)}
_WINDOWS.pop("\ufffd", None)
_TO_BYTES = str.maketrans(_WINDOWS)
_FROM_BYTES = str.maketrans({byte: letter for letter, byte in _WINDOWS.items()})
_NEXT = f"[\x80-\xbf{''.join(_WINDOWS)}]"
# Lead bytes that do not come up before such characters otherwise, then any lead byte before a C1 control character.
_MISREAD = re.compile(
    f"[ÂÃ]{_NEXT}|â{_NEXT}{{2}}|ðŸ{_NEXT}{{2}}|[Â-ß][\x80-\x9f]|[à-ï](?:[\x80-\x9f]{_NEXT}|{_NEXT}[\x80-\x9f])"
)


def normalize_text(text: str) -> str:
    """Undo HTML entities, misread UTF-8, curly quotes, ligatures and full-width letters; collapse white space.

    Applied twice it does nothing more.
    """
    while (repaired := _repair(text)) != text:
        text = repaired
    return text


def _repair(text: str) -> str:
    text = _MISREAD.sub(_decode, html.unescape(text))
    text = unicodedata.normalize("NFC", text.translate(_FROM_BYTES).translate(_TABLE))
    return " ".join(text.split())


def _decode(match: re.Match[str]) -> str:
    try:
        return match[0].translate(_TO_BYTES).encode("latin-1").decode("utf-8")
    except UnicodeError:
        return match[0]
