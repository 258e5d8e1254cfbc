"""The text side of a label set as a value: made once, reused for every video, sliced, saved."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from .model_identity import ModelIdentity, fingerprint_of


LABEL_BANK_FORMAT = "hf_zsar/label-bank/2"


@dataclass(eq=False)
class LabelBank:
    """The text side of a label set. A value, never changed.

    Args:
        labels: the K labels in order.
        tensors: what the method scores with; every tensor has the labels as its first axis. `text_embeds [K, dim]`
            (pooled, L2-normalised) is always there.
        fingerprint: digest of the model, prompts and descriptions it was made of. Empty in training, since such a bank
            is never reused.
        identity: the model that made it, which is the only one that scores with it. `None` in training and for banks
            made by hand or imported; see [`~LabelBank.admitted_by`].
        metadata: anything worth keeping beside it.

    Raises:
        ValueError: labels that are no strings, or a tensor without one row for each label.
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
            ValueError: values that are not finite.
        """
        self._check_values()
        metadata = {
            "format": LABEL_BANK_FORMAT,
            "labels": json.dumps(self.labels, ensure_ascii=False),
            "fingerprint": self.fingerprint,
            "metadata": json.dumps(self.metadata, ensure_ascii=False),
            "model": str(self.identity or ""),
        }
        temporary = f"{os.fspath(path)}.{os.getpid()}.tmp"
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        save_file(tensors, temporary, metadata=metadata)
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: str | os.PathLike, device: str | torch.device = "cpu") -> LabelBank:
        """Read a file written by [`~LabelBank.save`].

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file is no label bank, or was tampered with.
        """
        name = os.fspath(path)
        try:
            with safe_open(name, framework="pt", device=str(device)) as file:
                bank = cls._read(file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()})
            bank._check_values()
        except SafetensorError as error:
            raise ValueError(f"{name} is not a label bank: it cannot be read as safetensors ({error}).") from error
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{name} is not a label bank that can be used: {error}") from error
        return bank

    @classmethod
    def _read(cls, header: dict[str, str], tensors: dict[str, torch.Tensor]) -> LabelBank:
        if header.get("format") != LABEL_BANK_FORMAT:
            raise ValueError(f"its format is {header.get('format')!r}, not {LABEL_BANK_FORMAT!r}.")
        missing = [key for key in ("labels", "fingerprint", "metadata", "model") if key not in header]
        if missing:
            raise ValueError(f"its header lacks {', '.join(missing)}.")
        labels, metadata = json.loads(header["labels"]), json.loads(header["metadata"])
        if not isinstance(labels, list) or not isinstance(metadata, dict):
            raise ValueError("its header has no list of labels or no table of metadata.")
        if tensors.get("text_embeds", torch.zeros(0)).ndim != 2:
            raise ValueError("text_embeds [labels, dim] is missing or has another shape.")
        identity = ModelIdentity.parse(header["model"]) if header["model"] else None
        return cls(tuple(labels), tensors, header["fingerprint"], metadata, identity)

    def _check_values(self) -> None:
        for name, tensor in self.tensors.items():
            if not tensor.isfinite().all():
                raise ValueError(f"{name} holds values that are not finite numbers.")


__all__ = ["LABEL_BANK_FORMAT", "LabelBank"]
