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


def needed(name: str, what: str, error: type[Exception]) -> Any:
    """The file `name` beside this one, for `what` it does.

    Raises:
        error: it is not there.
    """
    if (found := part(name)) is None:
        raise error(f"The code beside this model does without {what}: pip install hf-zsar.")
    return found
