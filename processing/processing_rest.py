"""ResT processor."""

from __future__ import annotations

from .processing_zsar import ZSARProcessor


class ResTProcessor(ZSARProcessor):
    """Videos and labels for ResT. Seen and candidate labels go through the same template, the one of the checkpoint."""


__all__ = ["ResTProcessor"]
