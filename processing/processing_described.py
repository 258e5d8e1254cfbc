"""Base of the processors of methods that know more about labels than their names."""

from __future__ import annotations

import os
from typing import Any

from transformers.utils import cached_file

from .descriptions import Descriptions
from .processing_zsar import ZSARProcessor


DESCRIPTIONS_NAME = "descriptions.json"


class DescribedProcessor(ZSARProcessor):
    """A [`ZSARProcessor`] with descriptions of the labels.

    Args:
        descriptions: of the kind `descriptions_kind`: a [`Descriptions`] value, the path of a file, or a mapping in
            shorthand, such as `{label: [text, ...]}`; saved beside the tokenizer as `descriptions.json`.
        video_processor, tokenizer, prompt_templates, clean_labels, max_text_length: see [`ZSARProcessor`].
    """

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> DescribedProcessor:
        """As [`ProcessorMixin.from_pretrained`]; also reads `descriptions.json` when the folder or repo has one."""
        processor = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        if processor.descriptions is None:
            names = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
            found = cached_file(
                pretrained_model_name_or_path,
                DESCRIPTIONS_NAME,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
                **{name: kwargs[name] for name in names if name in kwargs},
            )
            processor.descriptions = Descriptions.load(found) if found else None
        return processor

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any) -> Any:
        """As [`ProcessorMixin.save_pretrained`]; descriptions go into `descriptions.json`."""
        os.makedirs(save_directory, exist_ok=True)
        path = os.path.join(save_directory, DESCRIPTIONS_NAME)
        if self.descriptions is not None:
            self.descriptions.save(path)
        elif os.path.exists(path):
            os.remove(path)
        return super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)

    def described_rows(self) -> dict[str, Any]:
        """Label -> its prompts, for every label that is described."""
        names = list(self.descriptions or ())
        return {name: self.build_prompts([name], self.prompt_templates, self.descriptions)[0] for name in names}

    def read_descriptions(self, descriptions: Descriptions | dict | str | os.PathLike | None) -> Descriptions | None:
        if descriptions is None:
            return getattr(self, "descriptions", None)
        return Descriptions.of(descriptions, self.descriptions_kind)


__all__ = ["DescribedProcessor"]
