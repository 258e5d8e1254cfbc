"""Nothing wrong in silence: what a model asks of its numbers before they leave it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import nn
from transformers import PreTrainedModel


def is_recorded() -> bool:
    """Whether what runs is being compiled, exported or traced: then nothing may depend on values."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.onnx.is_in_onnx_export()


def is_exported() -> bool:
    """Whether what runs is being exported as one graph for any sizes: then no size may decide what is done."""
    exporting = getattr(torch.compiler, "is_exporting", None)  # torch 2.7
    return torch.onnx.is_in_onnx_export() or (exporting is not None and exporting())


def full_precision(device: torch.device) -> contextlib.AbstractContextManager:
    """Autocast off: scores are float32, whatever the towers are computed in."""
    return contextlib.nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """A model in evaluation mode; afterwards every part of it is in the mode that it was in."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@torch.no_grad()
def all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether no tensor holds NaN or infinity. Reads each once and waits for the device once."""
    # A sum is not finite where a term is not, and one pass is all that it takes.
    sums = [each.sum(dtype=torch.float32) for each in tensors if each.is_floating_point() and not each.is_meta]
    return not sums or bool(torch.stack([each.to(sums[0].device) for each in sums]).isfinite().all())


def broken_rows(tensor: torch.Tensor) -> list[int]:
    """Places along the first axis that hold NaN or infinity."""
    return (~tensor.isfinite()).reshape(len(tensor), -1).any(dim=1).nonzero().flatten().tolist()


def say_what_is_not_finite(model: PreTrainedModel, values: Mapping[str, torch.Tensor], what: str) -> None:
    """Look closer at values that seem not to be finite.

    Raises:
        FloatingPointError, ValueError: see `ZSARPreTrainedModel.check_finite`.
    """
    rows = sorted({row for value in values.values() for row in broken_rows(value)})
    if not rows:  # the sum alone was too large
        return
    count = max(map(len, values.values()))
    places = f" (number {', '.join(map(str, rows))} of {count}, counted from 0)" if count > 1 else ""
    name = getattr(model.config, "_name_or_path", "") or type(model).__name__
    weights = [*model.named_parameters(), *model.named_buffers()]
    broken = [place for place, tensor in weights if not all_finite([tensor])]
    if broken:
        raise ValueError(
            f"{len(broken)} of the {len(weights)} weights of {name} hold NaN or infinity, {broken[0]} for one: no "
            "number that it gives means anything. Load it again, from a sound file."
        )
    raise FloatingPointError(
        f"{name} gave {what} that are NaN or infinite{places}, though its weights are finite: either the input holds "
        f"such values, or they do not fit into {str(model.dtype).removeprefix('torch.')}."
    )
