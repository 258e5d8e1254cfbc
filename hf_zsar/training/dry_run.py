"""What a recipe would train, without training: parameters by role, steps, and one batch as a picture."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from hf_zsar.plots.style import INK, TEXT, new_figure, pick_evenly, save
from hf_zsar.processing.video_processing_zsar import ZSARVideoProcessor

from .build import Run, prepare_run
from .candidates import Example, with_candidates
from .optimization import parameter_counts, parameter_groups
from .recipe import Recipe
from .run import updates_of
from .sampler import SeededShuffle


MAX_CLIPS, MAX_FRAMES = 8, 8


def dry_run(recipe: Recipe) -> Iterator[str]:
    """Load everything that a recipe names and say line by line what its training would do; the last line names the
    picture of the first batch, `batch.png` in the output folder.

    Raises:
        RecipeError: as [`train`]; ImportError: matplotlib is not installed, when it comes to the picture.
    """
    run = prepare_run(recipe)
    rows: Any = with_candidates(run.train_dataset, training=True)
    updates, warmup = updates_of(recipe, len(rows))
    yield f"{recipe.method}: {_amount(run.train_dataset)}; evaluated on {_amount(run.eval_dataset)}"
    yield from _parameters(run)
    options = recipe.optimization
    together = f"{options.batch_size} videos" + f" x {options.accumulation} batches" * (options.accumulation > 1)
    yield (
        f"{options.epochs} epochs x {updates} updates = {options.epochs * updates} updates, each of {together} per "
        f"process; warm-up over {warmup}, then a cosine to {options.min_lr_ratio:g} of the learning rate"
    )
    order = SeededShuffle(len(rows), options.batch_size * options.accumulation, recipe.seed)
    first = [rows[number] for number in list(order)[: options.batch_size]]
    yield f"first batch: {draw_batch(first, run, Path(recipe.output) / 'batch.png')}"


def _amount(dataset: Any) -> str:
    if dataset is None:
        return "nothing"
    return f"{len(dataset)} videos of {len(dataset.features['label'].names)} classes"


def _parameters(run: Run) -> Iterator[str]:
    options = run.recipe.optimization
    groups = parameter_groups(run.model, options.learning_rates, options.weight_decay, options.decay_all)
    rates = {group["role"]: f"{group['lr']:g}" for group in groups}
    yield f"{'role':<8}{'trained':>14}{'frozen':>14}  learning rate"
    for role, (trained, frozen) in parameter_counts(run.model).items():
        yield f"{role:<8}{trained:>14,}{frozen:>14,}  {rates.get(role, 'none')}"


def draw_batch(examples: list[Example], run: Run, path: str | os.PathLike) -> Path:
    """Draw the clips that the model would be given for these rows, one line each, under the names of their classes.

    Raises:
        ImportError: matplotlib is not installed.
    """
    batch = run.collator(examples)
    names = [examples[0].candidates[label] for label in batch["labels"]]
    clips = as_pictures(batch["pixel_values_videos"][:MAX_CLIPS], run.processor.video_processor)
    shown = pick_evenly(clips.shape[1], MAX_FRAMES)
    figure = new_figure(1.3 * len(shown), 1.6 * len(clips))
    lines = figure.subfigures(len(clips), 1, squeeze=False).ravel()
    for line, clip, name in zip(lines, clips, names, strict=False):
        line.suptitle(name, fontsize=TEXT, color=INK)
        for axis, frame in zip(line.subplots(1, len(shown), squeeze=False).ravel(), clip[shown], strict=True):
            axis.imshow(frame.permute(1, 2, 0).numpy())
            axis.set_axis_off()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(figure, path)
    return path


def as_pictures(pixel_values: torch.Tensor, processor: ZSARVideoProcessor) -> torch.Tensor:
    """Normalized `[..., 3, H, W]` -> uint8, as before normalization."""
    if processor.do_normalize:
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (processor.image_mean, processor.image_std))
        pixel_values = pixel_values * std + mean
    scale = processor.rescale_factor if processor.do_rescale else 1.0
    return (pixel_values / scale).round().clamp(0, 255).to(torch.uint8)


__all__ = ["draw_batch", "dry_run"]
