"""The text side of a label set as a value: made once, reused for every video, sliced, saved."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from .model_identity import ModelIdentity, fingerprint_of
from .parts import needed


@dataclass(eq=False)
class LabelBank:
    """The text side of a label set. A value, never changed.

    Args:
        labels: the K labels in order.
        tensors: what the method scores with; every tensor has the labels as its first axis. `text_embeds [K, dim]`
            (pooled, L2-normalized) is always there.
        fingerprint: digest of the model, prompts and descriptions it was made of. Empty in training, since such a bank
            is never reused.
        identity: the model that made it, which is the only one that scores with it. `None` in training and for banks
            made by hand or imported; see [`~LabelBank.admitted_by`].
        metadata: anything worth keeping beside it.
        examples: labeled videos (`Examples`) that its scores take into account; see [`~LabelBank.with_examples`].

    Raises:
        ValueError: labels that are not strings, or a tensor without one row for each label.
    """

    labels: tuple[str, ...]
    tensors: dict[str, torch.Tensor]
    fingerprint: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    identity: ModelIdentity | None = None
    examples: Any = None

    def __post_init__(self) -> None:
        self.labels = tuple(self.labels)
        odd = [label for label in self.labels if not isinstance(label, str)]
        if odd:
            raise ValueError(f"labels must be strings, got {odd[0]!r}.")
        for name, tensor in self.tensors.items():
            rows = tensor.shape[0] if tensor.ndim else "no"
            if rows != len(self.labels):
                raise ValueError(f"{name} has {rows} rows for {len(self.labels)} labels: it needs one row each.")
        if self.examples is not None and len(self.examples.named) != len(self.labels):
            raise ValueError(f"its examples are for {len(self.examples.named)} labels, not for {len(self.labels)}.")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def to(self, *args: Any, **kwargs: Any) -> LabelBank:
        """Move to a device and/or cast; a dtype changes floating tensors only."""
        moved = {}
        for name, tensor in self.tensors.items():
            target = tensor.to(*args, **kwargs)
            moved[name] = target if tensor.is_floating_point() else target.to(tensor.dtype)
        examples = self.examples and self.examples.to(next(iter(moved.values())).device)
        return replace(self, tensors=moved, examples=examples)

    def select(self, labels: Sequence[str] | Sequence[int] | torch.Tensor) -> LabelBank:
        """The bank of some of the labels, by name or by position, in the order given.

        Raises:
            KeyError: a name that the bank does not hold.
        """
        if isinstance(labels, torch.Tensor):
            labels = labels.tolist()
        if labels and isinstance(labels[0], str):
            positions = {label: i for i, label in enumerate(self.labels)}
            unknown = [label for label in labels if label not in positions]
            if unknown:
                raise KeyError(f"labels not in this bank: {unknown}. It holds {len(self)} labels.")
            labels = [positions[label] for label in labels]
        index = torch.as_tensor(list(labels), dtype=torch.long)
        tensors = {name: tensor[index.to(tensor.device)] for name, tensor in self.tensors.items()}
        picked = tuple(self.labels[i] for i in labels)
        fingerprint = fingerprint_of(self.fingerprint, picked) if self.fingerprint else ""
        examples = self.examples and self.examples.select(index)
        metadata = self.metadata if set(picked) == set(self.labels) else self._uncalibrated
        return replace(
            self, labels=picked, tensors=tensors, fingerprint=fingerprint, metadata=metadata, examples=examples
        )

    @property
    def calibration(self) -> Any:
        """What labeled clips said about its scores, a `Calibration`; without any, they are those of the model."""
        made = needed("calibration", "calibration of banks").Calibration
        return made.parse(self.metadata["calibration"]) if "calibration" in self.metadata else made()

    @property
    def _uncalibrated(self) -> dict[str, str]:
        return {name: value for name, value in self.metadata.items() if name != "calibration"}

    def calibrated(self, calibration: Any, platt: torch.Tensor | None = None) -> LabelBank:
        """The bank with what labeled clips said about its scores, a `Calibration`. With other labels or examples it is
        gone.

        Args:
            platt: `[K, 2]`, scale and bias of each label, for scores of several labels at once.
        """
        tensors = {name: tensor for name, tensor in self.tensors.items() if name != "platt"}
        if platt is not None:
            tensors["platt"] = platt.to(self["text_embeds"].device)
        return replace(self, tensors=tensors, metadata={**self.metadata, "calibration": str(calibration)})

    def with_background(self, num_labels: int) -> LabelBank:
        """The first labels of the bank, and those of the others that say something else; see `far_from`."""
        texts, calibration = self["text_embeds"], needed("calibration", "calibration of banks")
        kept = calibration.far_from(texts[:num_labels], texts[num_labels:]).nonzero().flatten()
        return self.select([*range(num_labels), *(kept + num_labels).tolist()])

    @property
    def without_examples(self) -> LabelBank:
        """What the model itself scores: the labels that have a name."""
        if self.examples is None:
            return self
        plain, named = replace(self, examples=None), self.examples.named
        return plain if named.all() else plain.select(named.nonzero().flatten())

    def with_examples(
        self,
        features: Any,
        labels: Sequence[str],
        *,
        logits: torch.Tensor | None = None,
        method: str = "ridge",
        strength: float | None = None,
        sharpness: float | None = None,
        ridge: float | None = None,
    ) -> LabelBank:
        """The bank with labeled videos that its scores take into account, without training; see `examples`.

        Args:
            features: `VideoFeatures` of N videos, of the model that made the bank, or their `video_embeds [N, dim]`.
            labels: what each shows. A label that is not in the bank is added: it has no text, only its examples.
            logits: `[N, labels with a name]`, `model.score(features, bank.without_examples)`; default: 100 x cosine of
                `video_embeds` and `text_embeds`, as CLIP scores.
            method: `"ridge"`, `"cache"`, `"prototypes"` or `"linear"`. Examples that the bank has already are kept,
                and used by this method.
            strength, sharpness, ridge: of the term; what is not given is chosen on the examples alone.

        Raises:
            ValueError: lengths that differ, numbers that are not finite, or an option that cannot be.
            RuntimeError: the code that an export carries does without.
        """
        asked = (strength, sharpness, ridge)
        return needed("bank_examples", "examples").with_examples(self, features, labels, logits, method, asked)

    def admitted_by(self, model: nn.Module) -> LabelBank:
        """The same bank as one that `model`, as it is now, scores with: for banks that come from elsewhere.

        Nothing is known about such a bank. That it fits the model is for the caller to say.
        """
        return replace(self, identity=model.identity())

    def save(self, path: str | os.PathLike) -> None:
        """Write one safetensors file, whole or not at all; all but the tensors is in its header.

        Raises:
            ValueError: values that are not finite, or no `text_embeds`.
            OSError: it cannot be written there.
            RuntimeError: the code that an export carries does without.
        """
        needed("bank_files", "files of banks").save_bank(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike, device: str | torch.device = "cpu") -> LabelBank:
        """Read a file written by [`~LabelBank.save`].

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file is not a label bank, or was tampered with.
            RuntimeError: the code that an export carries does without.
        """
        return needed("bank_files", "files of banks").load_bank(path, device)
