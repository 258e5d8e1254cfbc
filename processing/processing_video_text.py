"""Processor of published models: videos and labels as the checkpoint wants them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .descriptions import Descriptions
from .processing_zsar import ZSARProcessor
from .prompts import check_template
from .video_processing_zsar import ZSARVideoProcessor


class VideoTextProcessor(ZSARProcessor):
    """Videos and labels for [`VideoTextModel`].

    Args:
        text_format: what a language model reads around a prompt, with `{}` for it.
        video_processor, tokenizer, prompt_templates, clean_labels, descriptions, max_text_length,
            text_padding: see [`ZSARProcessor`].
    """

    default_templates = ("a video of {}",)

    def __init__(
        self,
        video_processor: ZSARVideoProcessor | None = None,
        tokenizer: Any = None,
        prompt_templates: Sequence[str] | None = None,
        clean_labels: bool = True,
        descriptions: Descriptions | dict | None = None,
        max_text_length: int | None = None,
        text_padding: str = "longest",
        text_format: str = "{}",
        **kwargs: Any,
    ) -> None:
        given = (video_processor, tokenizer, prompt_templates, clean_labels, descriptions, max_text_length)
        super().__init__(*given, text_padding, **kwargs)
        self.text_format = check_template(text_format)

    def tokenize(self, texts: Sequence[str], **options: Any) -> dict[str, torch.Tensor]:
        """As the base class, with `text_format` around each."""
        return super().tokenize([self.text_format.replace("{}", text) for text in texts], **options)

    def count_tokens(self, text: str) -> int:
        """As the base class, with `text_format` around the text."""
        return super().count_tokens(self.text_format.replace("{}", text))


__all__ = ["VideoTextProcessor"]
