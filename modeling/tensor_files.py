"""Safetensors files that somebody else wrote: the one reader, with one error for all that can be wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError, safe_open


@contextmanager
def open_tensors(
    path: str | os.PathLike, device: str | torch.device = "cpu", *, error: type[Exception] = ValueError
) -> Iterator[Any]:
    """A safetensors file, open: `keys()`, `metadata()`, `get_tensor(name)`, `get_slice(name)`.

    Raises:
        FileNotFoundError: no such file.
        error: damaged, also where that shows only while it is read.
    """
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise FileNotFoundError(f"There is no file {name}.")
    try:
        with safe_open(name, framework="pt", device=str(device)) as file:
            yield file
    except (SafetensorError, OSError) as problem:
        raise error(f"{name} cannot be read as safetensors: {problem}.") from problem


def read_tensors(
    path: str | os.PathLike, device: str | torch.device = "cpu", *, error: type[Exception] = ValueError
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """All tensors of a file, and the metadata in its header. Raises as [`open_tensors`]."""
    with open_tensors(path, device, error=error) as file:
        try:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
        except (TypeError, RuntimeError) as problem:  # a shape that torch cannot hold
            raise error(f"{os.fspath(path)} cannot be read as safetensors: {problem}.") from problem


def check_types(
    stored: str | Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], weights_only: bool = True
) -> None:
    """That numbers are of the kind that they will be: of fractions that were made integers, only zeros may be left.

    Args:
        stored: tensors, or a file of them, of which only the types are read.
        own: those that they go into.
        weights_only: of `torch.load`, where the file is a pickle.

    Raises:
        ValueError: integers, truth values or complex numbers in the place of fractions, or the other way round.
        OSError: a damaged file.
    """
    if isinstance(stored, str) and stored.endswith(".safetensors"):
        with open_tensors(stored, error=OSError) as file:
            types = {name: file.get_slice(name).get_dtype() for name in file.keys()}
    else:
        if isinstance(stored, str):
            stored = torch.load(stored, map_location="meta", weights_only=weights_only)
        types = {name: tensor.dtype for name, tensor in stored.items() if isinstance(tensor, torch.Tensor)}
    for name in sorted(types.keys() & own.keys()):
        found, wanted = (str(each).removeprefix("torch.") for each in (types[name], own[name].dtype))
        if _kind(found) != _kind(wanted):
            raise ValueError(f"{name} is stored as {found} where {wanted} belongs: save the weights again.")


def _kind(name: str) -> str:
    kind = name.lower().lstrip("u")  # of signed and unsigned integers the same
    return kind[:2] if kind.startswith("bo") else kind.removeprefix("b")[0]


def header_value(metadata: Mapping[str, str], key: str, kind: type, path: str | os.PathLike) -> Any:
    """A value that was written as JSON into the header of a file, of the type `kind`; a list must be of strings. All
    of it must be text: half of a surrogate pair cannot be written again.

    Raises:
        ValueError: it is not there, or something else.
    """
    try:
        value: Any = json.loads(metadata[key])
        json.dumps(value, ensure_ascii=False).encode()
    except (KeyError, ValueError, RecursionError):
        value = None
    if not isinstance(value, kind) or (isinstance(value, list) and not all(isinstance(item, str) for item in value)):
        raise ValueError(f"{os.fspath(path)}: its header has no {key!r} as a {kind.__name__}: write the file again.")
    return value
