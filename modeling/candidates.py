"""The text side of a batch as a data collator makes it: what every video of the batch is judged against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch


@dataclass(frozen=True, eq=False)
class Candidates:
    """Tokens of the candidate labels of a batch. One value, so that loaders do not cut it as they cut tensors.

    Args:
        text: the token tensors of `encode_labels`: `input_ids [R, L]`, `attention_mask [R, L]`, `prompt_index [K, A]`
            and whatever else the method's processor gives.
        names: the K labels in order; `labels` of the batch are their positions. For evaluation.
        label_ids: `[K]`, class id of every candidate, where a loss contrasts some of the classes, or repeats them.
            For training.
    """

    text: Mapping[str, torch.Tensor]
    names: tuple[str, ...] = ()
    label_ids: torch.Tensor | None = None

    @property
    def for_training(self) -> bool:
        """Whether these are the candidates of a training loss, which no accuracy can be read from."""
        return self.label_ids is not None

    def to(self, *args: Any, **kwargs: Any) -> Candidates:
        """As `torch.Tensor.to`, for every tensor."""
        text = {name: tensor.to(*args, **kwargs) for name, tensor in self.text.items()}
        ids = None if self.label_ids is None else self.label_ids.to(*args, **kwargs)
        return replace(self, text=text, label_ids=ids)

    def same_text(self, other: Candidates) -> bool:
        """Whether both have the same names and tokens, on one device."""
        return (
            self.names == other.names
            and self.text.keys() == other.text.keys()
            and all(same_tensor(self.text[name], other.text[name]) for name in self.text)
        )


def same_tensor(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are equal in device and content."""
    return one is other or (one.device == other.device and torch.equal(one, other))


__all__ = ["Candidates"]
