"""ActionCLIP processor."""

from __future__ import annotations

from .processing_zsar import ZSARProcessor


# The sentences that the official checkpoints were trained with, in the official order (arXiv 2109.08472 and its code).
ACTIONCLIP_TEMPLATES = (
    "a photo of action {}",
    "a picture of action {}",
    "Human action of {}",
    "{}, an action",
    "{} this is an action",
    "{}, a video of action",
    "Playing action of {}",
    "{}",
    "Playing a kind of action, {}",
    "Doing a kind of action, {}",
    "Look, the human is {}",
    "Can you recognize the action of {}?",
    "Video classification of {}",
    "A video of {}",
    "The man is {}",
    "The woman is {}",
)


class ActionCLIPProcessor(ZSARProcessor):
    """Videos and labels for ActionCLIP. Every label goes through all templates, the 16 official ones by default."""

    default_templates = ACTIONCLIP_TEMPLATES


__all__ = ["ActionCLIPProcessor"]
