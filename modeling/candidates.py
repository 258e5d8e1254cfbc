"""The text side of a batch as a data collator makes it: what every video of the batch is judged against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from .label_bank import LabelBank


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

    def bank_of(self, model: Any) -> LabelBank:
        """The candidates encoded. In evaluation mode without gradients, and where training leaves the text side as it
        is, the model keeps the bank for the next batch of the same candidates.

        Raises:
            ValueError: candidates for training in evaluation mode, or the other way round.
        """
        if self.for_training != model.training:
            mode, flag = ("training", "training=True") if model.training else ("evaluation", "training=False")
            raise ValueError(
                f"The model is in {mode} mode, and the batch holds candidates for the other: wrap the data set in "
                f"with_candidates(..., {flag})."
            )
        if torch.is_grad_enabled() and not (model.training and model.text_is_static):
            return model.encode_labels(**self.text, labels=self.names or None)
        weights, kept = None if model.training else model.identity(), model.kept_bank
        if kept is None or kept[0] != weights or not kept[1].same_text(self):
            bank = model.encode_labels(**self.text, labels=self.names or None)
            kept = model.kept_bank = weights, self, bank
        return kept[2]

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
