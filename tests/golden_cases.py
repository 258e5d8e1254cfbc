"""Cases of the golden folder (numbers made by the official implementations), found by what their files hold."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.conftest import GOLDEN_DIR


@dataclass(frozen=True)
class GoldenCase:
    """A folder with `config.json`, `inputs.safetensors`, `expected.safetensors` and checkpoint files."""

    path: Path

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        return json.loads((self.path / "config.json").read_text(encoding="utf-8"))

    @functools.cached_property
    def inputs(self) -> dict[str, torch.Tensor]:
        """Pixel values are stored in half precision; they stand for the same numbers in float32."""
        tensors = load_file(self.path / "inputs.safetensors")
        return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}

    @functools.cached_property
    def expected(self) -> dict[str, torch.Tensor]:
        return load_file(self.path / "expected.safetensors")

    def check(
        self, name: str, actual: torch.Tensor, atol: float | None = None, expected: torch.Tensor | None = None
    ) -> None:
        """Compare with the tolerance that the folder's README gives for a tensor of this name."""
        wanted = (self.expected[name] if expected is None else expected).float()
        if atol is None:
            at_scale = name.split(".")[-1].startswith(("similarity", "logits", "train_logits"))
            atol = 1e-4 if at_scale else 1e-5 * max(1.0, wanted.abs().max().item())
        assert actual.shape == wanted.shape, f"{name}: {tuple(actual.shape)} instead of {tuple(wanted.shape)}"
        worst = (actual.detach().float() - wanted).abs().max().item() if wanted.numel() else 0.0
        assert worst <= atol, f"{name}: off by {worst:.3g}, allowed {atol:.3g}"


def golden_cases(wanted: Callable[[GoldenCase], bool]) -> list[GoldenCase]:
    """The cases of the golden folder that `wanted` accepts; empty where there is no such folder."""
    cases = [GoldenCase(path.parent) for path in sorted(GOLDEN_DIR.glob("*/config.json"))]
    return [case for case in cases if (case.path / "inputs.safetensors").is_file() and wanted(case)]


def case_id(case: GoldenCase) -> str:
    return f"golden-{case.path.name}"
