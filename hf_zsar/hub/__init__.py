"""To and from the Hugging Face Hub: export with code, push, model cards, Spaces.

from hf_zsar.hub import export, push
export(model, processor, "my-model")          # a folder that loads anywhere, with or without this package
push("my-model", "org/my-model", private=True)  # checked in a clean process, then uploaded in one commit
"""

from __future__ import annotations

from hf_zsar.lazy import lazy_names


# public name -> module that defines it; nothing is imported before it is used
_NAMES = {
    "CardFacts": "facts",
    "ExportError": "code",
    "LicenseError": "licenses",
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

__getattr__, __dir__ = lazy_names(__name__, _NAMES)
