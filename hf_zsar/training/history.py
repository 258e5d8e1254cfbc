"""The course of a run: a record for each epoch, and a picture of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hf_zsar.files import replacing, write_json
from hf_zsar.processing.text_files import TextFileError, read_json


BLUE, RED = "#4477aa", "#ee6677"


def write_history(records: list[dict[str, Any]], output: Path) -> None:
    """`history.json` and, with matplotlib, `curve.png`."""
    write_json(output / "history.json", records)
    draw_history(records, output / "curve.png")


def read_history(output: Path) -> list[dict[str, Any]]:
    """What `write_history` wrote into a folder; nothing where it did not.

    Raises:
        TextFileError: the file is damaged.
    """
    path = output / "history.json"
    records = read_json(path) if path.is_file() else []
    if not isinstance(records, list) or not all(isinstance(each, dict) and "epoch" in each for each in records):
        raise TextFileError(f"{path} is no list of epochs: remove it.")
    return records


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


__all__ = ["draw_history", "read_history", "write_history"]
