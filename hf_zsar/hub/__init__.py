"""To and from the Hugging Face Hub: export with code, push, model cards, Spaces.

from hf_zsar.hub import export, push
export(model, processor, "my-model")          # a folder that loads anywhere, with or without this package
push("my-model", "org/my-model", private=True)  # checked in a clean process, then uploaded in one commit
"""

from __future__ import annotations

import importlib
from typing import Any


# public name -> module that defines it; nothing is imported before it is used
_NAMES = {
    "CardFacts": "facts",
    "ExportError": "exporting",
    "LicenceError": "licences",
    "ModelCardCallback": "card_callback",
    "PushError": "transfer",
    "export": "exporting",
    "pipeline": "loading",
    "push": "pushing",
    "push_space": "space",
    "render_card": "cards",
    "verify_export": "verification",
    "write_card": "cards",
}

__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})
