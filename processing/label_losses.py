"""What of labels and their prompts does not reach a model: cut off, unknown to the tokenizer, or the same tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any, NamedTuple

import torch

from .label_checks import SHOWN, listed, shown


class LabelWarning(UserWarning):
    """Something of a label does not reach the model."""


class Prompt(NamedTuple):
    """A text, and which characters of it are the label's own: `text[start:end]`."""

    text: str
    start: int
    end: int

    @classmethod
    def of(cls, text: str, templates: Sequence[str]) -> Prompt:
        """With the place of what was filled into the template that the text was made of."""
        parts = [template.partition("{}") for template in templates]
        fitting = [(len(head), len(tail)) for head, _, tail in parts if text.startswith(head) and text.endswith(tail)]
        head, tail = max(fitting, key=sum, default=(0, 0))
        return cls(text, head, len(text) - tail)


def find_losses(
    processor: Any,
    labels: Sequence[str],
    names: Sequence[str],
    prompts: Sequence[Prompt],
    data: Mapping[str, torch.Tensor],
    left_out: Sequence[str] = (),
) -> str:
    """What is lost of a label set, in words; empty where nothing is.

    Args:
        processor: a [`ZSARProcessor`].
        labels, names: the K labels as they were given and as they stand in prompts.
        prompts: the R distinct ones.
        data: their `input_ids` and `attention_mask` `[R, L]`, and `*_index [K, A]`: rows of each label, -1 for none.
        left_out: labels of whose descriptions only the first few fit, with how many.

    Raises:
        ValueError: a prompt that is full before its label begins.
    """
    limit, ids = processor.text_limit, data["input_ids"]
    indices = torch.cat([value for name, value in data.items() if name.endswith("_index")], dim=1)
    full = (data["attention_mask"].sum(dim=1) >= limit).nonzero().flatten().tolist() if limit is not None else []
    cut_rows = torch.tensor([row for row in full if _is_cut(processor, prompts[row], limit)], dtype=indices.dtype)
    cut = list(compress(labels, torch.isin(indices, cut_rows).any(dim=1).tolist()))
    unknown = list(compress(labels, _are_unknown(processor.tokenizer, list(map(processor.repair, names)), ids)))
    parts = []
    if cut:
        parts.append(f"prompts are cut off at the {limit} tokens that it reads: {listed(cut)}")
    if unknown:
        parts.append(f"in signs that its tokenizer does not know: {listed(unknown)}")
    if same := _same(labels, ids, indices):
        groups = "; ".join(" = ".join(map(shown, group[:SHOWN])) for group in same[:SHOWN])
        parts.append(f"the same tokens, hence the same scores: {groups}")
    if left_out:
        parts.append(f"not all attributes fit into {limit} tokens: {', '.join(left_out[:SHOWN])}")
    return "; ".join(parts)


def _is_cut(processor: Any, prompt: Prompt, limit: int) -> bool:
    """Whether something of the label itself is lost, not of the template behind it."""
    if processor.count_tokens(prompt.text[: prompt.start].strip()) >= limit:
        raise ValueError(
            f"The prompt {shown(prompt.text)} leaves no room for the label: the {limit} tokens that are read end "
            "before it begins. Use a shorter template."
        )
    return processor.count_tokens(prompt.text[: prompt.end]) > limit


def _are_unknown(tokenizer: Any, names: Sequence[str], ids: torch.Tensor) -> list[bool]:
    """Whether at least half of a label's tokens stand for nothing in particular."""
    unk = tokenizer.unk_token_id
    # CLIP's, which spells everything in bytes, names its end token there.
    if unk is None or unk in (tokenizer.eos_token_id, tokenizer.pad_token_id) or not (ids == unk).any():
        return [False] * len(names)
    rows = tokenizer(list(names), add_special_tokens=False, verbose=False)["input_ids"]
    return [2 * row.count(unk) >= len(row) for row in rows]


def _same(labels: Sequence[str], ids: torch.Tensor, indices: torch.Tensor) -> list[list[str]]:
    """Groups of different labels with the same tokens."""
    distinct = ids.unique(dim=0, return_inverse=True)[1]
    keys = torch.where(indices >= 0, distinct[indices.clamp(min=0)], -1)
    groups: dict[tuple[int, ...], dict[str, None]] = {}
    for label, key in zip(labels, keys.tolist(), strict=True):
        groups.setdefault(tuple(key), {})[label] = None
    return [list(group) for group in groups.values() if len(group) > 1]
