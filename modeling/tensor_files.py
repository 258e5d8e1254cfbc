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


def header_value(metadata: Mapping[str, str], key: str, kind: type, path: str | os.PathLike) -> Any:
    """A value that was written as JSON into the header of a file, of the type `kind`; a list must be of strings. All
    of it must be text: half of a surrogate pair cannot be written again.

    Raises:
        ValueError: it is not there, or something else.
    """
    try:
        value = json.loads(metadata[key])
        json.dumps(value, ensure_ascii=False).encode()
    except (KeyError, ValueError, RecursionError):
        value = None
    if not isinstance(value, kind) or (kind is list and not all(isinstance(item, str) for item in value)):
        raise ValueError(f"{os.fspath(path)}: its header has no {key!r} as a {kind.__name__}: write the file again.")
    return value


__all__ = ["header_value", "open_tensors", "read_tensors"]
