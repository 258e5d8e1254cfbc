"""Averages of weights: over the checkpoints of a run, and between a fine-tuned model and the CLIP it started from.

The recipe that STDD is evaluated with (card of STDD, S10; after Open-VCLIP and FROSTER): the mean of the epochs'
weights, then, if wanted, some way back towards CLIP ("patching"). Folders are read tensor by tensor, so that memory
does not grow with the number of checkpoints.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from hf_zsar.modeling.tensor_files import open_tensors
from hf_zsar.processing.text_files import read_json


AVERAGES = ("mean", "gaussian", "beta", "exponential")

State = Mapping[str, torch.Tensor]


class WeightAveragingError(ValueError):
    """Weights that cannot be averaged. The message says which and why."""


# -- how much each checkpoint counts ---------------------------------------------------------------------------------


def averaging_weights(
    mode: str,
    epochs: int | Sequence[float],
    *,
    mean: float = 15.0,
    std: float = 10.0,
    alpha: float = 0.5,
    beta: float = 0.5,
    decay: float = 0.9,
) -> list[float]:
    """The weight of every checkpoint, oldest first; they sum to 1.

    Args:
        mode: `"mean"` (SWA); `"gaussian"` density at the epoch, `mean` and `std` in epochs; `"beta"` density over the
            run scaled to (0, 1), each checkpoint in the middle of its share (our reading); `"exponential"`, a running
            average that starts as the first checkpoint and keeps `decay` of itself at every further one.
        epochs: the epochs of the checkpoints, or how many there are (then 1, 2, ...).

    Raises:
        WeightAveragingError: an unknown mode, no checkpoint, or weights that are all zero.
    """
    epochs = list(range(1, epochs + 1)) if isinstance(epochs, int) else list(epochs)
    count = len(epochs)
    if not count:
        raise WeightAveragingError("Nothing to average: no checkpoints.")
    if mode == "mean":
        raw = [1.0] * count
    elif mode == "gaussian":
        raw = [math.exp(-((epoch - mean) ** 2) / (2 * std**2)) for epoch in epochs]
    elif mode == "beta":
        places = [(i + 0.5) / count for i in range(count)]
        raw = [x ** (alpha - 1) * (1 - x) ** (beta - 1) for x in places]
    elif mode == "exponential":
        raw = [decay ** (count - 1)] + [(1 - decay) * decay ** (count - 1 - i) for i in range(1, count)]
    else:
        raise WeightAveragingError(f"mode must be one of {', '.join(AVERAGES)}, got {mode!r}.")
    total = sum(raw)
    if total <= 0:
        raise WeightAveragingError(f"All weights of the {mode} average are zero: choose other parameters.")
    return [value / total for value in raw]


def _normalized(weights: Sequence[float], count: int) -> list[float]:
    if len(weights) != count or not count:
        raise WeightAveragingError(f"{len(weights)} weights for {count} checkpoints: give one each.")
    if min(weights) < 0 or not 0 < sum(weights) < math.inf:
        raise WeightAveragingError(f"Weights must be at least 0 and not all 0, got {weights}.")
    return [weight / sum(weights) for weight in weights]


def weighted_sum(tensors: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """The sum, computed in float64, in the type and on the device of the first; integers are the last one's."""
    if not tensors[0].is_floating_point():
        return tensors[-1].clone()
    total = torch.zeros_like(tensors[0], dtype=torch.float64)
    for tensor, weight in zip(tensors, weights, strict=True):
        total.add_(tensor.to(total.device, total.dtype), alpha=weight)
    return total.to(tensors[0].dtype)


# -- weights ----------------------------------------------------------------------------------------------------------


def _check_same(shapes: Sequence[Mapping[str, torch.Size]], names: Sequence[str]) -> None:
    """
    Raises:
        WeightAveragingError: the weights differ in names or shapes.
    """
    for other, name in zip(shapes[1:], names[1:], strict=True):
        differing = sorted(key for key in shapes[0].keys() | other.keys() if shapes[0].get(key) != other.get(key))
        if differing:
            listed = ", ".join(differing[:5]) + ", ..." * (len(differing) > 5)
            raise WeightAveragingError(f"{name} and {names[0]} are not the same model; they differ in {listed}.")


def _shapes(state: State) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def interpolate_state_dicts(fine_tuned: State, base: State, alpha: float) -> dict[str, torch.Tensor]:
    """`alpha * base + (1 - alpha) * fine_tuned` for every weight of the base; other weights stay as fine-tuned.

    Args:
        alpha: 1 is the base model, 0 the fine-tuned one.

    Raises:
        WeightAveragingError: `alpha` outside [0, 1], or a weight of the base that the fine-tuned model does not have.
    """
    if not 0 <= alpha <= 1:
        raise WeightAveragingError(f"alpha must lie between 0 (fine-tuned) and 1 (base), got {alpha}.")
    base = {name: tensor for name, tensor in base.items() if name in fine_tuned or tensor.is_floating_point()}
    _check_same([_shapes(base), {n: fine_tuned[n].shape for n in base if n in fine_tuned}], ["base", "fine-tuned"])
    mixed = {name: weighted_sum([fine_tuned[name], base[name]], (1 - alpha, alpha)) for name in base}
    return {**fine_tuned, **mixed}


# -- folders ---------------------------------------------------------------------------------------------------------


class CheckpointFolder:
    """The weights of a folder that `save_pretrained` wrote, in one safetensors file or in shards, read one by one.

    Raises:
        WeightAveragingError: the folder has no safetensors weights, or they are damaged.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        index = self.path / SAFE_WEIGHTS_INDEX_NAME
        names = [SAFE_WEIGHTS_NAME]
        if index.is_file():
            names = _shards(index)
        missing = [name for name in names if not (self.path / name).is_file()]
        if missing:
            raise WeightAveragingError(f"{self.path} has no {missing[0]}: name a folder with safetensors weights.")
        with ExitStack() as stack:
            opened = (open_tensors(self.path / name, error=WeightAveragingError) for name in names)
            self.files = {name: stack.enter_context(file) for name, file in zip(names, opened, strict=True)}
            self._open = stack.pop_all()  # as long as this object lives
        self.where = {tensor: file for file, handle in self.files.items() for tensor in handle.keys()}

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.files[self.where[name]].get_tensor(name)

    def shapes(self) -> dict[str, torch.Size]:
        """Shape of every weight, without reading it."""
        return {name: torch.Size(self.files[file].get_slice(name).get_shape()) for name, file in self.where.items()}


def _shards(index: Path) -> list[str]:
    """The files that an index names, all in its own folder."""
    content = read_json(index)
    places = content.get("weight_map") if isinstance(content, dict) else None
    names = list(places.values()) if isinstance(places, dict) else []
    if not names or not all(isinstance(name, str) and name == os.path.basename(name) for name in names):
        raise WeightAveragingError(f"{index} is not an index of weights: its 'weight_map' must name files beside it.")
    return sorted(set(names))


def average_of(folders: Sequence[str | os.PathLike], weights: Sequence[float]) -> dict[str, torch.Tensor]:
    """The weighted mean of saved models of one make, read tensor by tensor.

    Args:
        folders: oldest first; safetensors, sharded or not.
        weights: one per folder, relative (see [`averaging_weights`]).

    Raises:
        WeightAveragingError: the folders do not hold the same model, or there is not one weight each.
    """
    weights = _normalized(weights, len(folders))
    parts = [CheckpointFolder(folder) for folder in folders]
    _check_same([part.shapes() for part in parts], [str(part.path) for part in parts])
    return {name: weighted_sum([part[name] for part in parts], weights) for name in parts[0].where}


__all__ = [
    "AVERAGES",
    "CheckpointFolder",
    "WeightAveragingError",
    "average_of",
    "averaging_weights",
    "interpolate_state_dicts",
    "weighted_sum",
]
