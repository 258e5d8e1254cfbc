"""Processor of STDD: a label becomes many prompts, one for each clause that its action graph gives."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any

from transformers.utils import logging

from .clauses import PROMPT_GROUPS
from .descriptions import Descriptions
from .label_checks import check_choice, check_prompts
from .processing_zsar import ZSARProcessor
from .video_processing_zsar import ZSARVideoProcessor


logger = logging.get_logger(__name__)

# The first eight templates of the Kinetics-400 and UCF101 label files, which prompts with clauses are made from.
AUGMENTED_TEMPLATES = (
    "a human action of {}.",
    "a video of action {}.",
    "Playing action of {}.",
    "Doing a kind of action {}.",
    "Look, the person is {}.",
    "The man is {}.",
    "The woman is {}.",
    "a video of a person {}.",
)

# The templates of the classifier without clauses (`matching="mean"`), as published ("a example").
BASE_TEMPLATES = tuple(
    f"{medium} {phrase} {{}}."
    for medium in ("a photo", "a video", "a example", "a demonstration")
    for phrase in (
        "of",
        "of a person",
        "of a person using",
        "of a person doing",
        "of a person during",
        "of a person performing",
        "of a person practicing",
    )
)

PROMPT_PADDINGS = ("mask", "cycle")


class STDDProcessor(ZSARProcessor):
    """Videos and labels in, model inputs out.

    Prompts of a label, template by template: the label alone, then `"<label>, <clause>"` for every clause of its
    action graph, none twice (card of STDD, S7). A label without a graph has the template prompts only.

    Args:
        descriptions: action graphs (kind `"graph"`): a [`Descriptions`] value, the path of a file, or the shorthand
            `{label: [clause, ...]}`.
        prompt_group: which clauses are used: `"xmix"` all, `"xoo"` between objects, `"xao"` of action and objects,
            `"xaa"` of sub-actions, `"a"` none.
        prompt_padding: `"mask"` keeps ragged lists, so that every distinct prompt weighs the same; `"cycle"` repeats a
            label's list up to the longest, as in the released feature files.
        video_processor, tokenizer, prompt_templates, clean_labels, max_text_length, text_padding: see
            [`ZSARProcessor`].
    """

    default_templates = AUGMENTED_TEMPLATES
    descriptions_kind = "graph"

    def __init__(
        self,
        video_processor: ZSARVideoProcessor | None = None,
        tokenizer: Any = None,
        prompt_templates: Sequence[str] | None = None,
        clean_labels: bool = True,
        descriptions: Descriptions | dict | None = None,
        prompt_group: str = "xmix",
        prompt_padding: str = "mask",
        max_text_length: int | None = None,
        text_padding: str = "longest",
        **kwargs: Any,
    ) -> None:
        given = (video_processor, tokenizer, prompt_templates, clean_labels, descriptions, max_text_length)
        super().__init__(*given, text_padding, **kwargs)
        self.prompt_group = check_choice("prompt_group", prompt_group, PROMPT_GROUPS)
        self.prompt_padding = check_choice("prompt_padding", prompt_padding, PROMPT_PADDINGS)

    def build_prompts(
        self, names: Sequence[str], templates: Sequence[str], descriptions: Descriptions | None
    ) -> list[list[str]]:
        """The prompts of every label, template-major: all prompts of the first template, then of the second, ...

        With `prompt_padding="cycle"` every template's list of every label is as long as the longest of all.
        """
        templates = self.as_templates(templates)
        clauses = [self._clauses(name, descriptions) for name in names]
        check_prompts(len(names), len(templates) * (1 + max(map(len, clauses), default=0)))
        prompts = [graph_prompts(name, own, templates) for name, own in zip(names, clauses, strict=True)]
        if descriptions is not None and (missing := descriptions.missing(names)):
            logger.warning(
                "%d of %d labels have no action graph and are known by their names only: %s",
                len(missing),
                len(names),
                ", ".join(missing[:10]) + ", ..." * (len(missing) > 10),
            )
        if self.prompt_padding == "cycle":
            longest = max(len(of_template) for of_label in prompts for of_template in of_label)
            prompts = [[list(islice(cycle(part), longest)) for part in of_label] for of_label in prompts]
        return [[prompt for part in of_label for prompt in part] for of_label in prompts]

    def _clauses(self, name: str, descriptions: Descriptions | None) -> list[str]:
        graph = descriptions.for_label(name) if descriptions is not None else None
        return graph.clause_list(self.prompt_group) if graph is not None else []

    def check_exportable(self) -> None:
        if self.prompt_padding == "cycle" and self.descriptions is not None:
            raise ValueError(
                'prompt_padding="cycle" cannot be exported: there the prompts of a label depend on the others. '
                'Use a processor with prompt_padding="mask".'
            )


def graph_prompts(label: str, clauses: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """The prompts of one label, one list per template (card of STDD, S7).

    Args:
        label: the label as it goes into the prompt.
        clauses: usually `graph.clause_list(group)`; empty gives the label prompt alone.
        templates: each with one `{}`.

    Returns:
        Per template the label prompt, then the label with each clause; no prompt twice.
    """
    texts = [label, *(f"{label}, {clause}" for clause in clauses)]
    return [list(dict.fromkeys(template.replace("{}", text) for text in texts)) for template in templates]


__all__ = ["AUGMENTED_TEMPLATES", "BASE_TEMPLATES", "STDDProcessor"]
