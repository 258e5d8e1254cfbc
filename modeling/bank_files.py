"""Label banks as files. Only where the package is installed: exports with code do without."""

from __future__ import annotations

import json
import os

import torch
from safetensors.torch import save_file

from .examples import Examples
from .file_writing import replacing
from .label_bank import LabelBank
from .model_identity import ModelIdentity
from .tensor_files import header_value, read_tensors


LABEL_BANK_FORMAT = "hf_zsar/label-bank/2"
_EXAMPLES = "examples."


def save_bank(bank: LabelBank, path: str | os.PathLike) -> None:
    """See [`LabelBank.save`]."""
    check_values(bank)
    metadata = {
        "format": LABEL_BANK_FORMAT,
        "labels": json.dumps(bank.labels, ensure_ascii=False),
        "fingerprint": bank.fingerprint,
        "metadata": json.dumps(bank.metadata, ensure_ascii=False),
        "model": str(bank.identity or ""),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in bank.tensors.items()}
    if bank.examples is not None:
        metadata["examples"] = json.dumps(bank.examples.settings)
        tensors |= {_EXAMPLES + name: each.cpu().contiguous() for name, each in bank.examples.tensors().items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load_bank(path: str | os.PathLike, device: str | torch.device = "cpu") -> LabelBank:
    """See [`LabelBank.load`]."""
    tensors, header = read_tensors(path, device)
    if header.get("format") != LABEL_BANK_FORMAT:
        raise ValueError(f"{path} is not a label bank: its format is {header.get('format')!r}.")
    labels, metadata = header_value(header, "labels", list, path), header_value(header, "metadata", dict, path)
    missing = {"model", "fingerprint"} - header.keys()
    if missing:
        raise ValueError(f"{path}: the header of this label bank lacks {' and '.join(sorted(missing))}.")
    try:
        identity = ModelIdentity.parse(header["model"]) if header["model"] else None
        of_examples = {name: tensors.pop(name) for name in list(tensors) if name.startswith(_EXAMPLES)}
        examples = None
        if "examples" in header:
            parts = {name.removeprefix(_EXAMPLES): tensor for name, tensor in of_examples.items()}
            examples = Examples.from_parts(parts, header_value(header, "examples", dict, path))
        bank = LabelBank(tuple(labels), tensors, header["fingerprint"], metadata, identity, examples)
        check_values(bank)
    except ValueError as error:
        raise ValueError(f"{path} is not a label bank that can be used: {error}") from error
    return bank


def check_values(bank: LabelBank) -> None:
    """
    Raises:
        ValueError: a bank without `text_embeds [labels, dim]`, or with values that are not finite.
    """
    if "text_embeds" not in bank or bank["text_embeds"].ndim != 2:
        raise ValueError("text_embeds [labels, dim] is missing or has another shape.")
    for name, tensor in {**bank.tensors, **(bank.examples.tensors() if bank.examples else {})}.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{name} holds values that are not finite numbers.")
    _ = bank.calibration  # which raises
