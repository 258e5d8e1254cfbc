"""Metrics as `evaluate` modules that load offline, from this package.

`load_metric("zsar_accuracy")` is the short way; `evaluate.load(metric_path("zsar_accuracy"))` the library's own. The
arithmetic is in `functions.py`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    import evaluate

_CLASSES = {
    "zsar_accuracy": "ZSARAccuracy",
    "zsar_generalized": "ZSARGeneralized",
    "zsar_localization": "ZSARLocalization",
    "zsar_multilabel": "ZSARMultilabel",
}


def _check(name: str) -> str:
    if name not in _CLASSES:
        raise ValueError(f"There is no metric named {name!r}. Available: {', '.join(_CLASSES)}.")
    return name


def metric_path(name: str) -> str:
    """File of a metric, for `evaluate.load`.

    Raises:
        ValueError: no such metric.
    """
    return str(Path(__file__).parent / f"{_check(name)}.py")


def load_metric(name: str, **options: Any) -> evaluate.Metric:
    """A metric, imported from this package: no network, no module cache. `options` go to `evaluate.Metric`.

    Raises:
        ValueError: no such metric.
    """
    module = import_module(f"{__name__}.{_check(name)}")
    return getattr(module, _CLASSES[name])(**options)


__all__ = ["load_metric", "metric_path"]
