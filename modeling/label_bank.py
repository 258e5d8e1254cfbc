"""The text side of a label set as a value: made once, reused for every video, sliced, saved."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from .file_writing import replacing
from .model_identity import ModelIdentity, fingerprint_of
from .tensor_files import header_value, read_tensors


LABEL_BANK_FORMAT = "hf_zsar/label-bank/2"


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

    Raises:
        ValueError: labels that are not strings, or a tensor without one row for each label.
    """

    labels: tuple[str, ...]
    tensors: dict[str, torch.Tensor]
    fingerprint: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    identity: ModelIdentity | None = None

    def __post_init__(self) -> None:
        self.labels = tuple(self.labels)
        odd = [label for label in self.labels if not isinstance(label, str)]
        if odd:
            raise ValueError(f"labels must be strings, got {odd[0]!r}.")
        for name, tensor in self.tensors.items():
            rows = tensor.shape[0] if tensor.ndim else "no"
            if rows != len(self.labels):
                raise ValueError(f"{name} has {rows} rows for {len(self.labels)} labels: it needs one row each.")

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
        return replace(self, tensors=moved)

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
        return replace(self, labels=picked, tensors=tensors, fingerprint=fingerprint)

    def admitted_by(self, model: nn.Module) -> LabelBank:
        """The same bank as one that `model`, as it is now, scores with: for banks that come from elsewhere.

        Nothing is known about such a bank. That it fits the model is for the caller to say.
        """
        return replace(self, identity=model.identity())

    def save(self, path: str | os.PathLike) -> None:
        """Write one safetensors file; all but the tensors is in its header. Replaces atomically.

        Raises:
            ValueError: values that are not finite, or no `text_embeds`.
            OSError: it cannot be written there.
        """
        self._check_values()
        metadata = {
            "format": LABEL_BANK_FORMAT,
            "labels": json.dumps(self.labels, ensure_ascii=False),
            "fingerprint": self.fingerprint,
            "metadata": json.dumps(self.metadata, ensure_ascii=False),
            "model": str(self.identity or ""),
        }
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)

    @classmethod
    def load(cls, path: str | os.PathLike, device: str | torch.device = "cpu") -> LabelBank:
        """Read a file written by [`~LabelBank.save`].

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file is not a label bank, or was tampered with.
        """
        tensors, header = read_tensors(path, device)
        if header.get("format") != LABEL_BANK_FORMAT:
            raise ValueError(f"{path} is not a label bank: its format is {header.get('format')!r}.")
        labels, metadata = header_value(header, "labels", list, path), header_value(header, "metadata", dict, path)
        missing = {"model", "fingerprint"} - header.keys()
        if missing:
            raise ValueError(f"{path}: the header of this label bank lacks {' and '.join(sorted(missing))}.")
        try:
            identity = ModelIdentity.parse(header["model"]) if header["model"] else None
            bank = cls(tuple(labels), tensors, header["fingerprint"], metadata, identity)
            bank._check_values()
        except ValueError as error:
            raise ValueError(f"{path} is not a label bank that can be used: {error}") from error
        return bank

    def _check_values(self) -> None:
        if "text_embeds" not in self or self["text_embeds"].ndim != 2:
            raise ValueError("text_embeds [labels, dim] is missing or has another shape.")
        for name, tensor in self.tensors.items():
            if not tensor.isfinite().all():
                raise ValueError(f"{name} holds values that are not finite numbers.")


__all__ = ["LABEL_BANK_FORMAT", "LabelBank"]
