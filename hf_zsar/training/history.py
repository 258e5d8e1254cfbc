"""The course of a run: a record for each epoch, and a picture of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_zsar.files import replacing, write_json


BLUE, RED = "#4477aa", "#ee6677"


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
    draw_history(records, output / "curve.png")


def draw_history(records: list[dict[str, Any]], picture: Path) -> None:
    """Mean loss of every epoch and, where it was measured, top-1 accuracy (from epoch 0, before training)."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axis = figure.subplots()
    _line(axis, records, "loss", 1, BLUE)
    axis.set(xlabel="epoch", ylabel="training loss")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.yaxis.label.set_color(BLUE)
    axis.spines[["top", "right"]].set_visible(False)
    if any("top1" in record for record in records):
        right = axis.twinx()
        _line(right, records, "top1", 100, RED)
        right.set(ylabel="top-1 on the evaluation set (%)", ylim=(0, 100))
        right.yaxis.label.set_color(RED)
        right.spines[["top"]].set_visible(False)
    with replacing(picture) as temporary:
        figure.savefig(temporary, dpi=150)


def _line(axis: Any, records: list[dict[str, Any]], name: str, scale: float, colour: str) -> None:
    known = [record for record in records if record.get(name) is not None]
    axis.plot([r["epoch"] for r in known], [scale * r[name] for r in known], color=colour, marker="o", markersize=3)


__all__ = ["draw_history", "records_of", "write_history"]
