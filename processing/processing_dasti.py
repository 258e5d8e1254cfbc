"""DA-STI processor: class prompts, attribute prompts, and which of their tokens are words."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from transformers import BatchFeature

from .descriptions import Descriptions
from .label_checks import as_labels, check_choice, check_prompts, check_text, shown
from .label_losses import Prompt
from .processing_zsar import ZSARProcessor
from .prompts import check_template, fill_templates
from .video_processing_zsar import ZSARVideoProcessor


logger = logging.getLogger(__name__)

# Groups of tokens that are not words, and of those that are kept as words though they belong to no attribute.
NO_WORD, CONTEXT = -1, -2

# A text and the character spans of the words in it, one per attribute.
Row = tuple[str, tuple[tuple[int, int], ...]]


class DASTIProcessor(ZSARProcessor):
    """Videos and labels for DA-STI (arXiv 2510.27255; card of DA-STI, S1, S6 and R3).

    Args:
        attribute_encoding: `"sentence"`, all attributes of a class in one row, or `"per_attribute"`, one row each,
            which does not depend on their order.
        attribute_template, attribute_joiner: how attributes become text.
        num_attributes: at most so many per class.
        word_source: whose words look at the video: `"attributes"`, or `"class"` for the class prompt's.
        word_mask_mode: `"words"`, the tokens of the attributes; `"valid"`, start to end token; `"all"`, all 77
            positions, padding included (BIKE's code).
        text_pad_token_id: written over the padding; BIKE pads with 0, which matters for `"all"` alone.
        on_missing: a class without attributes uses its own prompt (`"fallback"`, with one warning) or raises
            (`"error"`).
    """

    default_templates = ("This is a video about {}",)
    descriptions_kind = "attributes"
    model_input_names = [*ZSARProcessor.model_input_names, "attribute_index", "word_index", "word_groups"]

    def __init__(
        self,
        video_processor: ZSARVideoProcessor | None = None,
        tokenizer: Any = None,
        prompt_templates: Sequence[str] | None = None,
        clean_labels: bool = True,
        descriptions: Descriptions | dict | None = None,
        attribute_encoding: str = "sentence",
        attribute_template: str = "This is a video about {}",
        attribute_joiner: str = ", ",
        num_attributes: int = 8,
        word_source: str = "attributes",
        word_mask_mode: str = "words",
        text_pad_token_id: int | None = None,
        on_missing: str = "fallback",
        max_text_length: int | None = None,
        text_padding: str = "longest",
        **kwargs: Any,
    ) -> None:
        given = (video_processor, tokenizer, prompt_templates, clean_labels, descriptions, max_text_length)
        super().__init__(*given, text_padding, **kwargs)
        self.attribute_encoding = check_choice("attribute_encoding", attribute_encoding, ("sentence", "per_attribute"))
        self.attribute_template = check_template(attribute_template)
        self.attribute_joiner = attribute_joiner
        self.num_attributes = num_attributes
        self.word_source = check_choice("word_source", word_source, ("attributes", "class"))
        self.word_mask_mode = check_choice("word_mask_mode", word_mask_mode, ("words", "valid", "all"))
        self.text_pad_token_id = text_pad_token_id
        self.on_missing = check_choice("on_missing", on_missing, ("fallback", "error"))
        self._missing: set[str] = set()

    def prepare_labels(
        self,
        labels: Sequence[str],
        templates: str | Sequence[str] | None = None,
        descriptions: Descriptions | dict | str | None = None,
        warn: bool = True,
    ) -> BatchFeature:
        """Labels and their attributes -> tokens, ready for `model.encode_labels`.

        Returns:
            As [`ZSARProcessor.prepare_labels`], and `attribute_index [K, A]`, `word_index [K, A]` (rows of each label,
            -1 for none) and `word_groups [R, L]`: which attribute of its row each token belongs to; -1 is not a
            word, -2 a word of no attribute.

        Raises:
            ValueError: see the base class; a class without attributes if `on_missing="error"`.
        """
        labels = as_labels(labels)
        names, templates = self.check_labels(labels), self._templates(templates)
        descriptions = self.read_descriptions(descriptions)
        check_prompts(len(names), len(templates))
        prompts = [self._class_rows(name, templates) for name in names]
        attributes, left_out = prompts, []
        if self.word_source != "class" or descriptions is not None:
            given = self._attributes(labels, names, descriptions)
            check_prompts(len(names), max(map(len, given)))
            kept = [self._fitting(of_label) for of_label in given]
            attributes = [self._attribute_rows(of_label) or rows for of_label, rows in zip(kept, prompts, strict=True)]
            left_out = [
                f"{shown(label)} ({len(fitting)} of {len(of_label)})"
                for label, fitting, of_label in zip(labels, kept, given, strict=True)
                if len(fitting) < len(of_label)
            ]
        rows: dict[Row, int] = {}
        index = {"prompt_index": _index(prompts, rows), "attribute_index": _index(attributes, rows)}
        index["word_index"] = index["prompt_index" if self.word_source == "class" else "attribute_index"].clone()
        data = BatchFeature({**self._tokenize_rows(list(rows)), **index})
        if warn:
            places = [Prompt(text, spans[0][0], spans[-1][1]) for text, spans in rows]
            self._tell_losses(labels, names, places, data, left_out)
        return data

    def prepare_label_each(self, labels: Sequence[str], templates: Sequence[str]) -> BatchFeature:
        """All templates at once: the class prompt is their mean, in training as in evaluation."""
        return self.prepare_labels(labels, warn=False)

    def _class_rows(self, name: str, templates: Sequence[str]) -> list[Row]:
        rows: list[Row] = []
        for template, text in zip(templates, fill_templates(name, templates), strict=True):
            start = template.index("{}")
            rows.append((text, ((start, start + len(name)),)))
        return rows

    def _fitting(self, attributes: Sequence[str]) -> list[str]:
        """The first attributes that fit into one row, at least one."""
        kept, limit = list(attributes), self.text_limit
        if self.attribute_encoding == "sentence" and limit is not None:
            while len(kept) > 1 and self.count_tokens(self._attribute_row(kept)[0]) > limit:
                kept.pop()
        return kept

    def _attribute_rows(self, attributes: Sequence[str]) -> list[Row]:
        if self.attribute_encoding == "per_attribute":
            return [self._attribute_row([attribute]) for attribute in attributes]
        return [self._attribute_row(attributes)] if attributes else []

    def _attribute_row(self, attributes: Sequence[str]) -> Row:
        position = self.attribute_template.index("{}")
        spans = []
        for attribute in attributes:
            spans.append((position, position + len(attribute)))
            position += len(attribute) + len(self.attribute_joiner)
        return self.attribute_template.replace("{}", self.attribute_joiner.join(attributes)), tuple(spans)

    def described_rows(self) -> dict[str, list[Row]]:
        """Label -> its attributes as rows, for every label that is described."""
        rows = {}
        for label in self.descriptions or ():
            attributes = self._fitting(self._attributes([label], [label], self.descriptions)[0])
            if attributes:
                rows[label] = self._attribute_rows(attributes)
        return rows

    def _attributes(
        self, labels: Sequence[str], names: Sequence[str], descriptions: Descriptions | None
    ) -> list[tuple[str, ...]]:
        found = []
        for label, name in zip(labels, names, strict=True):
            known: Any = None
            if descriptions is not None:
                known = descriptions.for_label(label) or descriptions.for_label(name)
            found.append(tuple(known or ())[: self.num_attributes])
        missing = [label for label, attributes in zip(labels, found, strict=True) if not attributes]
        if missing:
            message = f"{len(missing)} of {len(labels)} labels have no attributes: {missing[:5]}"
            if self.on_missing == "error":
                raise ValueError(f"{message}. Make them with `hf-zsar describe --kind attributes`.")
            if not self._missing.issuperset(missing):  # once, not with every batch of a training
                logger.warning("%s; they use their class prompt.", message)
            self._missing.update(missing)
        return found

    def _tokenize_rows(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        whole = self.word_mask_mode == "all"
        if whole and self.text_limit is None:
            raise ValueError(
                'word_mask_mode="all" takes every position of the text tower, and the tokenizer does not say how many '
                "there are: set max_text_length."
            )
        for text, _ in rows:
            check_text(text, "the text")
        padding = "max_length" if whole else self.text_padding
        encoded = self.encode([text for text, _ in rows], padding=padding, return_offsets_mapping=True)
        input_ids, mask = encoded["input_ids"], encoded["attention_mask"]
        groups = torch.full_like(input_ids, NO_WORD)
        if self.word_mask_mode != "words":
            groups[torch.ones_like(mask, dtype=torch.bool) if whole else mask.bool()] = CONTEXT
        start, end = encoded["offset_mapping"].unbind(-1)
        for row, (_, spans) in enumerate(rows):
            for group, (first, last) in enumerate(spans):
                inside = (start[row] < last) & (end[row] > first) & (end[row] > start[row]) & mask[row].bool()
                groups[row, inside] = group
        if self.text_pad_token_id is not None:
            input_ids = input_ids.masked_fill(mask == 0, self.text_pad_token_id)
        return {"input_ids": input_ids, "attention_mask": mask, "word_groups": groups}

    def word_names(self, word_ids: Sequence[int], word_groups: Sequence[int]) -> list[tuple[int, str]]:
        """The attributes as text, `(group, attribute)`, out of one label's `word_ids` and `word_groups` of a bank."""
        tokens: dict[int, list[int]] = {}
        for token, group in zip(word_ids, word_groups, strict=True):
            if group >= 0:
                tokens.setdefault(int(group), []).append(int(token))
        return [(group, self.tokenizer.decode(ids).strip()) for group, ids in tokens.items()]


def _index(rows_of_labels: Sequence[Sequence[Row]], rows: dict[Row, int]) -> torch.Tensor:
    width = max(len(of_label) for of_label in rows_of_labels)
    index = [[rows.setdefault(row, len(rows)) for row in of_label] for of_label in rows_of_labels]
    return torch.tensor([of_label + [-1] * (width - len(of_label)) for of_label in index])


__all__ = ["DASTIProcessor"]
