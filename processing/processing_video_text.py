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
        text_padding: `"longest"`, or `"max_length"` for text towers that read rows of their full length only.
        text_format: what a language model reads around a prompt, with `{}` for it.
        video_processor, tokenizer, prompt_templates, clean_labels, descriptions, max_text_length: see
            [`ZSARProcessor`].

    Raises:
        ValueError: another padding, or `"max_length"` where neither tokenizer nor `max_text_length` gives a length.
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
        super().__init__(
            video_processor, tokenizer, prompt_templates, clean_labels, descriptions, max_text_length, **kwargs
        )
        if text_padding not in ("longest", "max_length"):
            raise ValueError(f"text_padding must be 'longest' or 'max_length', got {text_padding!r}.")
        if text_padding == "max_length" and self.text_limit is None:
            raise ValueError("text_padding='max_length' needs a length: pass max_text_length.")
        self.text_padding = text_padding
        self.text_format = check_template(text_format)

    def tokenize(self, texts: Sequence[str], **options: Any) -> dict[str, torch.Tensor]:
        """As the base class, with `text_format` around each, padded as the text tower needs it."""
        # Some tokenizers give no mask unless they are asked.
        options = {"padding": self.text_padding, "return_attention_mask": True, **options}
        return super().tokenize([self.text_format.replace("{}", text) for text in texts], **options)

    def word_options(self) -> dict[str, Any]:
        return {"padding": {"length": self.text_limit}} if self.text_padding == "max_length" else {}

    def count_tokens(self, text: str) -> int:
        """As the base class, with `text_format` around the text."""
        return super().count_tokens(self.text_format.replace("{}", text))


__all__ = ["VideoTextProcessor"]
