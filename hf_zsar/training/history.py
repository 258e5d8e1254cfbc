"""The course of a run: a record for each epoch, and a picture of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hf_zsar.files import write_json
from hf_zsar.plots.training import draw_history


def records_of(log: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The log of a `Trainer` epoch by epoch: `epoch`, `step`, mean `loss` of its updates, and `top1` at its end where
    that was measured (of epoch 0, before training). A run must log at the end of its epochs."""
    records: dict[int, dict[str, Any]] = {}
    sums: dict[int, float] = {}
    step = 0
    for entry in log:
        epoch = math.ceil(entry["epoch"])
        record = records.setdefault(epoch, {"epoch": epoch, "step": 0})
        record["step"] = entry["step"]
        if "loss" in entry:
            sums[epoch] = sums.get(epoch, 0.0) + entry["loss"] * (entry["step"] - step)
            step = entry["step"]
        if "top1" in entry:
            record["top1"] = entry["top1"]
    for epoch, total in sums.items():
        before = records.get(epoch - 1, {"step": 0})["step"]
        records[epoch]["loss"] = total / (records[epoch]["step"] - before)
    return list(records.values())


def write_history(records: list[dict[str, Any]], output: Path) -> None:
    """`history.json` and, with matplotlib, `curve.png`."""
    write_json(output / "history.json", records)
    with suppress(ImportError):
        draw_history(records, output / "curve.png")


__all__ = ["records_of", "write_history"]
