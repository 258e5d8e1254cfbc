"""Files that exports with code do without."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any


def part(name: str) -> Any:
    """The file `name` beside this one; None where it is not there."""
    path = f"{__package__}.{name}"
    return importlib.import_module(path) if importlib.util.find_spec(path) else None


__all__ = ["part"]
