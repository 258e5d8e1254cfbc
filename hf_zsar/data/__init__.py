"""Class lists and split lists that ship with the package, and the public names of `hf_zsar.clips`, their reader."""

from __future__ import annotations

from typing import Any

from hf_zsar import clips


__all__ = list(clips.__all__)


def __getattr__(name: str) -> Any:
    return getattr(clips, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
