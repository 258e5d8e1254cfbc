"""Reading official checkpoint files and writing Hugging Face folders: what all converters share.

Pickles are opened with `weights_only=True`, TorchScript archives by a reader of our own: a file can hold tensors and
plain containers, and none of its code is run. A folder is written under a temporary name and renamed when it is
complete.
"""

from __future__ import annotations

import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hf_zsar.files import is_empty, replacing_folder
from hf_zsar.modeling.tensor_files import check_types, read_tensors

from .torchscript import check_stored, is_torchscript, read_torchscript


if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel
    from transformers.utils import PushToHubMixin

StateDict = dict[str, torch.Tensor]

# What the readers of torch, safetensors and zip archives raise on a damaged file (found by damaging files).
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)


class ConversionError(ValueError):
    """A checkpoint that cannot be converted. The message says which file, what is wrong and what to do."""


def read_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """The top level of a checkpoint file, tensors on the CPU.

    Reads PyTorch pickles (`weights_only=True`), safetensors, and TorchScript archives (OpenAI's CLIP files), of which
    only the tensors are read.

    Raises:
        ConversionError: no such file, not a checkpoint, or a pickle that holds more than tensors and plain containers.
    """
    content = _read(Path(path))
    if not isinstance(content, Mapping):
        raise ConversionError(f"{path} holds a {type(content).__name__}, not a dictionary of weights.")
    return dict(content)


def _read(path: Path) -> Any:
    if not path.is_file():
        raise ConversionError(f"{path} is not a file: name the checkpoint file itself.")
    try:
        if path.suffix == ".safetensors":
            return read_tensors(path, error=ConversionError)[0]
        if is_torchscript(path):
            return read_torchscript(path)
        if zipfile.is_zipfile(path):
            check_stored(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a damaged file seems to be
            return torch.load(path, map_location="cpu", weights_only=True)
    except ConversionError:
        raise
    except pickle.UnpicklingError as error:
        raise ConversionError(
            f"{path} is not a plain checkpoint: it is damaged, or holds Python objects besides tensors and plain "
            "containers, which could run code when opened. Ask its author for the state dict alone, or load it where "
            "you trust it and save `model.state_dict()`."
        ) from error
    except DAMAGE as error:
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConversionError(f"{path} cannot be read as a checkpoint: {first_line}") from error


def tensors_of(content: Mapping[str, Any], source: str) -> StateDict:
    """Check that `content` is a state dict: string keys, tensors only, each with a value of its own in the file.

    Raises:
        ConversionError: naming the entries that are something else.
    """
    others = [str(key) for key, value in content.items() if not isinstance(value, torch.Tensor)]
    if others or not content:
        found = f"entries that are not tensors: {_some(others)}" if others else "no weights"
        raise ConversionError(f"{source} has {found}.")
    odd = [str(key) for key, value in content.items() if not _is_plain(value)]
    if odd:
        raise ConversionError(
            f"{source} has weights that are sparse, quantized, without values or repeated: {_some(odd)}."
        )
    return dict(content)


def read_two_parts(path: str | os.PathLike, whose: str) -> tuple[StateDict, StateDict]:
    """CLIP and the head on top of it out of a trainer file of the code of ActionCLIP, or of one that is built on it.

    Raises:
        ConversionError: as [`read_checkpoint`] and [`tensors_of`], or a file of another form.
    """
    source, names = os.fspath(path), ("model_state_dict", "fusion_model_state_dict")
    content = read_checkpoint(path)
    clip, head = (content.get(name) for name in names)
    if not isinstance(clip, Mapping) or not isinstance(head, Mapping):
        raise ConversionError(
            f"{source} has no {names[0]!r} and {names[1]!r}: it is not a checkpoint of {whose}. It has "
            f"{sorted(content)[:10]}."
        )
    head = as_float32(without_common_prefix(tensors_of(head, source), "module.")) if head else {}
    return without_common_prefix(tensors_of(clip, source), "module."), head


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor is what it seems; a view with steps of 0 makes any size out of one number."""
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_nested:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def without_prefix(state: Mapping[str, torch.Tensor], prefix: str) -> StateDict:
    """The entries under `prefix`, with it removed."""
    return {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}


def without_common_prefix(state: Mapping[str, torch.Tensor], prefix: str) -> StateDict:
    """Remove `prefix` if every entry has it (`module.` of parallel wrappers), else leave the names as they are."""
    return without_prefix(state, prefix) if all(name.startswith(prefix) for name in state) else dict(state)


def as_float32(state: Mapping[str, torch.Tensor]) -> StateDict:
    """Half-precision tensors in float32, everything contiguous and detached, nothing shared."""
    return {
        name: (tensor.float() if tensor.is_floating_point() else tensor).detach().clone().contiguous()
        for name, tensor in state.items()
    }


def split_packed_attention(state: StateDict, name: str, target: str) -> StateDict:
    """Take `<name>in_proj_{weight,bias}` out of `state` and give `<target>{q,k,v}_proj.{weight,bias}`."""
    split = {}
    for kind in ("weight", "bias"):
        for letter, part in zip("qkv", state.pop(f"{name}in_proj_{kind}").chunk(3), strict=True):
            split[f"{target}{letter}_proj.{kind}"] = part
    return split


def require(state: Mapping[str, torch.Tensor], names: Iterable[str], source: str) -> None:
    """
    Raises:
        ConversionError: some of `names` are missing; lists them.
    """
    missing = [name for name in names if name not in state]
    if missing:
        raise ConversionError(f"{source} lacks {len(missing)} weights: {_some(missing)}.")


def load_exactly(model: nn.Module, state: StateDict, source: str) -> None:
    """Load `state` into `model`, where every weight of either must have its counterpart.

    Raises:
        ConversionError: lists the missing, unexpected and wrongly shaped weights.
    """
    own = model.state_dict()
    problems = []
    for kind, names in (("missing", own.keys() - state.keys()), ("unexpected", state.keys() - own.keys())):
        if names:
            problems.append(f"{len(names)} {kind}: {_some(sorted(names))}")
    for name in sorted(own.keys() & state.keys()):
        if own[name].shape != state[name].shape:
            problems.append(f"{name} is {tuple(state[name].shape)}, expected {tuple(own[name].shape)}")
    if problems:
        raise ConversionError(f"{source} does not fit {type(model).__name__}: " + "; ".join(problems) + ".")
    broken = [name for name, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise ConversionError(f"{source} has weights that are not finite numbers: {_some(broken)}.")
    try:
        check_types(state, own)
    except ValueError as error:
        raise ConversionError(f"{source}: {error}") from error
    model.load_state_dict(state)


def _some(names: list[str], limit: int = 20) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


@dataclass
class Conversion:
    """A converted checkpoint, ready to be written.

    Args:
        model: with the weights loaded.
        source: the file it comes from.
        layout: name of the layout that was found.
        notes: what a user should know (guessed settings, entries left out).
        video_options: how the source samples and resizes videos, as options of [`ZSARVideoProcessor`].
        processor_options: how the source reads labels, as options of the method's processor.
        extras: saved beside the model: its processor.
    """

    model: PreTrainedModel
    source: str
    layout: str
    notes: list[str] = field(default_factory=list)
    video_options: dict[str, Any] = field(default_factory=dict)
    processor_options: dict[str, Any] = field(default_factory=dict)
    extras: list[PushToHubMixin] = field(default_factory=list)

    def summary(self) -> str:
        """A few lines for people: what was read and what came of it."""
        weights = list(self.model.parameters())
        lines = [
            f"source      {self.source}",
            f"layout      {self.layout}",
            f"model       {type(self.model).__name__}, {sum(p.numel() for p in weights):,} parameters "
            f"in {len(weights)} tensors, {str(self.model.dtype).removeprefix('torch.')}",
        ]
        lines += [f"note        {note}" for note in self.notes]
        return "\n".join(lines)

    def save(self, folder: str | os.PathLike) -> None:
        """Write the folder: safetensors, config and processor; all of it or nothing.

        Raises:
            ConversionError: the folder exists and is not empty.
        """
        write_folder(folder, self._write)

    def _write(self, folder: str) -> None:
        self.model.save_pretrained(folder)
        for extra in self.extras:
            extra.save_pretrained(folder)


def image_side(clip: Any) -> int:
    """Height and width of the frames of a CLIP with this configuration."""
    return int(clip.vision_config.image_size)


def check_target(folder: str | os.PathLike) -> Path:
    """
    Raises:
        ConversionError: there is something already.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or not is_empty(folder)):
        raise ConversionError(f"{folder} exists and is not empty: choose another folder or remove it first.")
    return folder


def write_folder(folder: str | os.PathLike, write: Callable[[str], None]) -> None:
    """Call `write(temporary_folder)` and give the folder its name when that is done.

    Raises:
        ConversionError: the folder exists and is not empty, or its parent cannot be written.
    """
    with replacing_folder(check_target(folder)) as temporary:
        write(str(temporary))
