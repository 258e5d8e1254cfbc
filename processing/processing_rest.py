"""ResT processor."""

from __future__ import annotations

from .processing_zsar import ZSARProcessor


class ResTProcessor(ZSARProcessor):
    """Videos and labels for ResT. Seen and candidate labels go through the checkpoint's one template."""


__all__ = ["ResTProcessor"]
