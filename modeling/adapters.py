"""What of a layer that PEFT has put in another's place takes part. Exports with code do without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn


def children_in_use(layer: Any) -> Iterator[tuple[str, nn.Module]]:
    """The wrapped module, under the name that it had without adapters, and the parts of active adapters only: so a
    model whose adapters are switched off is the model that it was."""
    active = _active(layer)
    for name, child in layer._modules.items():
        if child is None:
            continue
        if name in ("base_layer", "original_module"):
            yield "", child
        elif not active:
            continue
        elif hasattr(child, "keys"):
            yield from ((f"{name}.{key}", child[key]) for key in active if key in child)
        else:
            yield name, child


def settings(layer: Any) -> list[str]:
    """The numbers and words that say how active adapters are applied."""
    tables = {name: getattr(layer, name, None) for name in layer.other_param_names}
    return [
        f"{name}.{key} {table[key]!r}"
        for name, table in tables.items()
        if isinstance(table, Mapping)
        for key in _active(layer)
        if isinstance(table.get(key), (bool, int, float, str))
    ]


def _active(layer: Any) -> list[str]:
    """The adapters that are applied on top of a layer's weights; none where they are merged into them."""
    return [] if layer.disable_adapters or layer.merged_adapters else list(layer.active_adapters)
