"""Label banks with labeled videos. Only where the package is installed: exports with code do without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from .examples import Examples, as_embeds, asked_term, with_unnamed
from .label_bank import LabelBank
from .model_identity import fingerprint_of


def with_examples(
    bank: LabelBank,
    features: Any,
    labels: Sequence[str],
    logits: torch.Tensor | None,
    method: str,
    asked: tuple[float | None, ...],
) -> LabelBank:
    """See [`LabelBank.with_examples`]; `asked` are strength, sharpness and ridge."""
    embeds, labels = as_embeds(features).cpu(), list(labels)
    if len(labels) != len(embeds):
        raise ValueError(f"{len(embeds)} examples need as many labels, got {len(labels)}.")
    plain, asked = bank.without_examples, asked_term(*asked)
    if logits is None and embeds.shape[1] != plain["text_embeds"].shape[1]:
        raise ValueError(
            "This model compares videos and texts in another way: pass logits=model.score(features, bank)."
        )
    if logits is None:
        logits = 100 * embeds @ plain["text_embeds"].float().cpu().T
    logits = logits.detach().float().cpu()
    if logits.shape != (len(embeds), len(plain)) or not logits.isfinite().all():
        raise ValueError(f"logits of the examples must be finite numbers [{len(embeds)}, {len(plain)}].")
    known = {label: place for place, label in enumerate(bank.labels)}
    for label in labels:
        known.setdefault(label, len(known))
    before = bank.examples.to("cpu") if bank.examples else None
    named = torch.zeros(len(known), dtype=torch.bool)
    named[: len(bank)] = before.named if before else True
    targets = torch.tensor([known[label] for label in labels])
    if before is not None:
        embeds, targets = torch.cat([before.embeds, embeds]), torch.cat([before.targets, targets])
        logits = torch.cat([before.logits[:, before.named], logits])
    examples = Examples(embeds, targets, with_unnamed(logits, named), named, method, asked).solved()
    # A label without a text takes the place of one in every tensor; nothing reads it.
    rows = torch.tensor([*range(len(bank)), *[0] * (len(known) - len(bank))])
    tensors = {name: tensor[rows.to(tensor.device)] for name, tensor in bank.tensors.items()}
    fingerprint = fingerprint_of(bank.fingerprint, *examples.tensors().values()) if bank.fingerprint else ""
    tensors.pop("platt", None)
    return replace(
        bank,
        labels=tuple(known),
        tensors=tensors,
        fingerprint=fingerprint,
        metadata=bank._uncalibrated,
        examples=examples.to(bank["text_embeds"].device),
    )
