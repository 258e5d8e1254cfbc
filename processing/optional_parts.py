"""Files that exports with code do not carry: what is behind them works where the package is installed."""

from __future__ import annotations

import importlib
from typing import Any


def part(name: str) -> Any:
    """The file `name` beside this one, imported when it is needed; None where it is not there."""
    try:
        return importlib.import_module(f".{name}", __package__)
    except ModuleNotFoundError as error:
        if error.name != f"{__package__}.{name}":
            raise
        return None


__all__ = ["part"]
