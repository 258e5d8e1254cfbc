"""Checkpoints of the Accelerate loop: whole or not there, whatever moment the run is killed at."""

from __future__ import annotations

import math
import shutil
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from hf_zsar.files import filling_folder, put_folder, remove_folder, remove_leftovers, write_json
from hf_zsar.processing.text_files import TextFileError, read_json

from .setup import Run


PREFIX = "checkpoint-"
_PROGRESS = "progress.json"
_STATE = "state"  # what Accelerate keeps: optimizer, scheduler, random states, its own copy of the weights


@dataclass
class Progress:
    """How far a run has come.

    Args:
        epoch: complete epochs.
        batches: batches of the next one that are done already, per process.
        step: updates in all.
        loss_sum: of those batches.
        history: a record for each complete epoch.
    """

    epoch: int = 0
    batches: int = 0
    step: int = 0
    loss_sum: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


def save_checkpoint(accelerator: Accelerator, model: torch.nn.Module, run: Run, progress: Progress) -> None:
    """Everything that a resume needs, in a folder that `from_pretrained` reads; hidden until it is whole.

    Checkpoints within an epoch make room for the next one; those at its end stay.
    """
    output = Path(run.recipe.output)
    final = output / f"{PREFIX}{progress.step}"
    temporary = output / f".{final.name}"
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(temporary / _STATE))
    weights = accelerator.get_state_dict(model)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        accelerator.unwrap_model(model).save_pretrained(temporary, state_dict=weights)
        run.processor.save_pretrained(temporary)
        write_json(temporary / _PROGRESS, asdict(progress))
        put_folder(temporary, final)
        _make_room(output)
    accelerator.wait_for_everyone()


def load_checkpoint(accelerator: Accelerator, folder: Path) -> Progress:
    """Bring model, optimizer, schedule and random states back to where they were, and say where that is."""
    accelerator.load_state(str(folder / _STATE))
    return read_progress(folder)


def checkpoints(output: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    found = [path for path in output.glob(f"{PREFIX}*") if (path / _PROGRESS).is_file()]
    return sorted(found, key=lambda path: int(path.name.removeprefix(PREFIX)))


def read_progress(folder: Path) -> Progress:
    """What a checkpoint says of itself.

    Raises:
        TextFileError: its file is damaged.
    """
    path = folder / _PROGRESS
    content = read_json(path)
    if not isinstance(content, dict) or content.keys() != {each.name for each in fields(Progress)}:
        raise TextFileError(f"{path} does not say how far the run has come: remove the checkpoint.")
    if content["loss_sum"] is None:  # JSON has no NaN
        content["loss_sum"] = math.nan
    return Progress(**content)


def clean_up(output: Path) -> None:
    """Take away what a killed run was about to write or to delete."""
    _make_room(output)
    for folder in (*output.glob(f".{PREFIX}*"), output / "average"):
        shutil.rmtree(folder, ignore_errors=True)
    remove_leftovers(output)


def _make_room(output: Path) -> None:
    """Delete the checkpoints within an epoch that a later one has replaced."""
    for older in checkpoints(output)[:-1]:
        if read_progress(older).batches:
            remove_folder(older)


def save_final(model: Any, processor: Any, output: Path) -> None:
    """Model and processor at the top of the output folder, file by file; the configuration last, so that a folder
    that has one is whole."""
    with filling_folder(output, last="config.json") as temporary:
        processor.save_pretrained(temporary)
        model.eval().save_pretrained(temporary)


__all__ = ["Progress", "checkpoints", "load_checkpoint", "read_progress", "save_checkpoint", "save_final"]
