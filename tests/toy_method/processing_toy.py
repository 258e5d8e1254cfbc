"""Processor of the toy method."""

from __future__ import annotations

from hf_zsar.processing.processing_zsar import ZSARProcessor


class ToyProcessor(ZSARProcessor):
    """Videos and labels for [`ToyModel`]."""

    default_templates = ("a video of {}",)


__all__ = ["ToyProcessor"]
