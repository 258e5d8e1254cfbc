"""Files that exports with code do without."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any


def part(name: str) -> Any:
    """The file `name` beside this one; None where it is not there."""
    path = f"{__package__}.{name}"
    return importlib.import_module(path) if importlib.util.find_spec(path) else None


def needed(name: str, what: str) -> Any:
    """The file `name` beside this one, for `what` it does.

    Raises:
        RuntimeError: it is not there.
    """
    if (found := part(name)) is None:
        raise RuntimeError(f"The code beside this model does without {what}: pip install hf-zsar.")
    return found
