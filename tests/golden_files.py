"""The golden numbers that the repository carries (`tests/golden`): no pickles, hence checkpoints in pieces.

An official checkpoint is a pickle of nested dictionaries. Here its tensors stand in `NAME.pt.safetensors`, whose
header keeps everything else as JSON with a place for each tensor. `unpack` writes the folder as the tests want it.
To add a case: `python -m tests.golden_files GOLDEN_FOLDER CASE`.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file


COMMITTED = Path(__file__).resolve().parent / "golden"
PACKED = ".pt.safetensors"
TENSOR = "tensor:"


def without_tensors(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """`value` as JSON can say it; its tensors go into `tensors` and leave their names behind."""
    if isinstance(value, torch.Tensor):
        tensors[str(len(tensors))] = value.contiguous()
        return f"{TENSOR}{len(tensors) - 1}"
    if isinstance(value, dict):
        return {key: without_tensors(part, tensors) for key, part in value.items()}
    return [without_tensors(part, tensors) for part in value] if isinstance(value, (list, tuple)) else value


def with_tensors(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """The way back."""
    if isinstance(value, str) and value.startswith(TENSOR):
        return tensors[value.removeprefix(TENSOR)]
    if isinstance(value, dict):
        return {key: with_tensors(part, tensors) for key, part in value.items()}
    return [with_tensors(part, tensors) for part in value] if isinstance(value, list) else value


def pack(source: Path, target: Path) -> None:
    """Copy a folder; its `.pt` files become `.pt.safetensors`."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.suffix == ".pt":
            tensors: dict[str, torch.Tensor] = {}
            rest = without_tensors(torch.load(path, weights_only=True, map_location="cpu"), tensors)
            save_file(tensors, target / f"{path.stem}{PACKED}", metadata={"rest": json.dumps(rest)})
        else:
            shutil.copyfile(path, target / path.name)


def unpack(source: Path, target: Path) -> None:
    """Copy a folder of folders; what [`pack`] took apart becomes a `.pt` file again."""
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.name.endswith(PACKED):
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}
                rest = json.loads(file.metadata()["rest"])
            torch.save(with_tensors(rest, tensors), copy.with_suffix(""))
        else:
            shutil.copyfile(path, copy)


if __name__ == "__main__":
    pack(Path(sys.argv[1]) / sys.argv[2], COMMITTED / sys.argv[2])
