"""How large a model a configuration may ask for: a file of a few bytes can name any number.

The limits of configurations, beside those of files and videos (`processing/limits.py`; the two folders share no
module). They hold for the whole process; [`set_size_limits`] raises or lowers them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class SizeLimits:
    """The largest allowed values.

    Attributes:
        layers: of one tower, or of one stage of it. The deepest towers of the field have 64.
        widths: channels and features of one layer. EVA-CLIP with 18 billion parameters has 25,600 between two layers.
        heads: of one attention layer.
        positions: of a table of positions, in tokens or frames.
        entries: of a vocabulary, of a list of classes. The largest vocabularies have 262,144 words.
        pixels: side of a picture or of a patch.
        parameters: of the whole model, 4 bytes each: 80 GB.
        factors: by which a family of models is made wider or deeper.
        numbers: any other number.
    """

    layers: int = 512
    widths: int = 2**17
    heads: int = 1024
    positions: int = 2**18
    entries: int = 2**21
    pixels: int = 2**13
    parameters: int = 20 * 10**9
    factors: int = 100
    numbers: float = 1e15


# Of the fields of a method itself; other configurations may mean something by 0 or -1.
_LEAST = {"layers": 0, "heads": 1, "positions": 1, "pixels": 1, "widths": 1}
# The first pattern that a field's name matches says which limit it is held to.
_KINDS = {
    "entries": r"vocab|num_labels|classes|num_codes",
    "factors": r"coefficient|ratio|expan",
    "layers": r"layers|depths?$|blocks|repeats?$",
    "heads": r"heads",
    "positions": r"position|length|num_frames|num_tokens|context",
    "pixels": r"image_size|patch_size|crop_size|grid",
    "widths": r"hidden_size|hidden_dim|intermediate|embed|projection_dim|dim$|width|channels|hidden_sizes|mlp",
}
_limits = SizeLimits()


def size_limits() -> SizeLimits:
    """The limits in force."""
    return _limits


def set_size_limits(**changes: int) -> SizeLimits:
    """Change limits of this process, by name; gives those before.

    Raises:
        ValueError: no such limit, or a value that is not a positive number.
    """
    global _limits
    known = [field.name for field in fields(SizeLimits)]
    for name, value in changes.items():
        if name not in known:
            raise ValueError(f"There is no limit {name!r}; there are {', '.join(known)}.")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise ValueError(f"The limit {name} must be a positive number, got {value!r}.")
    before, _limits = _limits, replace(_limits, **changes)
    return before


def hold_to_size(name: str, value: float, what: str) -> None:
    """
    Raises:
        ValueError: `what` is beyond the limit `name`.
    """
    most = getattr(_limits, name)
    if not value <= most:  # so written that NaN is refused
        raise ValueError(
            f"{what}: {value:,.15g}, more than {name} allows ({most:,}); {__name__}.set_size_limits raises it."
        )


def check_sizes(values: Mapping[str, Any]) -> None:
    """Hold all numbers of a configuration, and of those in it, to their limits. Nothing is built for that.

    Raises:
        ValueError: naming the field and the limit.
    """
    for path, value in _numbers(values):
        name, what = path.rpartition(".")[2], f"the configuration's {path}"
        kind = next((kind for kind, pattern in _KINDS.items() if re.search(pattern, name)), "numbers")
        hold_to_size(kind, abs(value) if kind == "numbers" else value, what)
        if path == name and kind in _LEAST and value < _LEAST[kind]:
            raise ValueError(f"{what} must be at least {_LEAST[kind]}, got {value}.")


def _numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Dotted name and value of every number, also in lists and in configurations within this one."""
    left: list[tuple[str, Any]] = [("", values)]
    while left:
        path, value = left.pop()
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield path, value
        elif isinstance(value, (list, tuple)):
            left += [(path, each) for each in value]
        elif isinstance(value, Mapping):
            left += [(f"{path}.{key}" if path else str(key), each) for key, each in value.items()]
