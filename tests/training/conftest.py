"""Rendered clips and tiny starting models, made once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.runs import start_of, write_rendered


@pytest.fixture(scope="session")
def rendered(tmp_path_factory) -> Path:
    """Four classes of three clips."""
    return write_rendered(tmp_path_factory.mktemp("rendered"))


@pytest.fixture(scope="session")
def start(tmp_path_factory) -> Callable[[str], dict[str, Any]]:
    """method -> the `model` part of a recipe."""
    return functools.cache(lambda method: start_of(method, tmp_path_factory.mktemp(f"start-{method}")))
