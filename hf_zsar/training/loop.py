"""The training loop on plain Accelerate. `train_scripts/train.py` and `hf-zsar train` are thin faces of it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from torch.utils.data import DataLoader
from tqdm import tqdm

from hf_zsar.processing.video_reading import VideoReadError

from .candidates import CandidateRows, with_candidates
from .checkpoints import (
    Progress,
    checkpoints,
    clean_up,
    load_checkpoint,
    read_progress,
    save_checkpoint,
    save_final,
)
from .history import write_history
from .launching import check_processes
from .optimization import parameter_groups, schedule_factor
from .prototypes import fit_prototypes
from .recipe import Recipe, RecipeError
from .setup import Run, prepare_run
from .steps import Steps
from .weight_averaging import average_checkpoints, averaging_weights


logger = logging.getLogger(__name__)


def train(recipe: Recipe, resume: bool = False, max_steps: int | None = None) -> Path:
    """Run a recipe.

    Args:
        resume: go on from the last checkpoint in the output folder, if there is one.
        max_steps: leave after so many updates in all, without another checkpoint, as a kill would.

    Returns:
        the folder of the final model and processor.

    Raises:
        RecipeError: an output folder with checkpoints and no `resume`, or fewer videos than a batch.
    """
    return Loop(recipe, resume).run(max_steps)


class Loop:
    """A run of a recipe: what it is made of, and how far it has come.

    Args:
        recipe, resume: see [`train`].
    """

    def __init__(self, recipe: Recipe, resume: bool = False) -> None:
        self.recipe, self.output = recipe, Path(recipe.output)
        options = recipe.optimization
        # As transformers' Trainer: backbones bring parts that no method uses, such as the last norm of a ViT.
        unused = DistributedDataParallelKwargs(find_unused_parameters=not options.gradient_checkpointing)
        self.accelerator = Accelerator(
            kwargs_handlers=[unused],
            cpu=not torch.accelerator.is_available(),  # else processes on CPUs do not find each other
            mixed_precision=options.precision,
            gradient_accumulation_steps=options.accumulation,
            log_with=recipe.report_to or None,
            project_dir=recipe.output,
        )
        check_processes(self.accelerator.num_processes)
        found = checkpoints(self.output)
        if found and not resume:
            raise RecipeError(f"{self.output} has checkpoints already: pass resume, or choose another output.")
        set_seed(recipe.seed)
        self.parts = prepare_run(recipe)
        self._prepare()
        self.progress = Progress()
        if self.accelerator.is_main_process:
            clean_up(self.output)
        if found:
            self.progress = load_checkpoint(self.accelerator, found[-1])

    def _prepare(self) -> None:
        options, accelerator = self.recipe.optimization, self.accelerator
        model = self.parts.model.train()
        self.rows = with_candidates(self.parts.train_dataset, training=True)
        steps = Steps.of(self.recipe, len(self.rows), accelerator.process_index, accelerator.num_processes)
        self.sampler, self.updates, self.total = steps.sampler(self.recipe), steps.updates, steps.total
        warmup, ratio = steps.warmup, options.min_lr_ratio
        groups = parameter_groups(model, options.learning_rates, options.weight_decay, options.decay_all)
        optimizer = torch.optim.AdamW(groups, betas=tuple(options.betas), eps=options.eps)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: schedule_factor(step, warmup, self.total, ratio)
        )
        # The sampler shares the data out itself, so the loader is not prepared.
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        accelerator.register_for_checkpointing(self.scheduler)
        accelerator.init_trackers("hf_zsar")

    def run(self, max_steps: int | None = None) -> Path:
        """Train to the end, or to `max_steps`."""
        progress = self.progress
        hidden = None if self.accelerator.is_main_process else True
        with tqdm(total=self.total, initial=progress.step, unit="step", disable=hidden) as self.bar:
            if not progress.history:
                self._record(0)
            while progress.epoch < self.recipe.optimization.epochs:
                if not self._epoch(max_steps):
                    return self.output
        self._finish()
        for tracker in self.accelerator.trackers:
            tracker.finish()
        return self.output

    def _epoch(self, max_steps: int | None) -> bool:
        """The rest of an epoch; whether it came to its end."""
        progress, recipe = self.progress, self.recipe
        wanted = self.updates * recipe.optimization.accumulation
        self.sampler.set_place(progress.epoch, progress.batches)
        self.parts.collator.set_epoch(progress.epoch)
        for batch in self._loader():
            if progress.batches == wanted:
                break
            updated = self._step(batch)
            if updated and max_steps is not None and progress.step >= max_steps:
                return False
            if updated and recipe.save_steps and progress.step % recipe.save_steps == 0 and progress.batches < wanted:
                save_checkpoint(self.accelerator, self.model, self.parts, progress)
        record_loss = progress.loss_sum / wanted
        progress.epoch, progress.batches, progress.loss_sum = progress.epoch + 1, 0, 0.0
        self._record(progress.epoch, loss=record_loss)
        if progress.epoch % recipe.save_epochs == 0 or progress.epoch == recipe.optimization.epochs:
            save_checkpoint(self.accelerator, self.model, self.parts, progress)
        return True

    def _loader(self) -> DataLoader:
        return DataLoader(
            self.rows,
            batch_size=self.recipe.optimization.batch_size,
            sampler=self.sampler,
            collate_fn=self.parts.collator,
            num_workers=self.recipe.data.workers,
            drop_last=True,
            # Its own, so that starting a loader draws nothing from the model's random numbers.
            generator=torch.Generator().manual_seed(self.recipe.seed),
        )

    def _step(self, batch: dict[str, Any]) -> bool:
        """One batch; whether the weights changed."""
        accelerator, progress, limit = self.accelerator, self.progress, self.recipe.optimization.clip_grad
        with accelerator.accumulate(self.model):
            loss = self.model(**to_device(batch, accelerator.device)).loss
            accelerator.backward(loss)
            if accelerator.sync_gradients and limit:
                accelerator.clip_grad_norm_(self.model.parameters(), limit)
            self.optimizer.step()
            self.optimizer.zero_grad()
        value = accelerator.reduce(loss.detach(), "mean").item()
        if not torch.isfinite(torch.tensor(value)) and self.recipe.optimization.precision != "fp16":
            raise ValueError(
                f"The loss is {value} at step {progress.step}: lower optimization.learning_rates, or set clip_grad."
            )
        progress.batches += 1
        progress.loss_sum += value
        if not accelerator.sync_gradients:
            return False
        self.scheduler.step()
        progress.step += 1
        self.bar.update()
        if progress.step % self.recipe.log_steps == 0:
            rates = {f"lr/{group['role']}": group["lr"] for group in self.optimizer.param_groups}
            accelerator.log({"loss": value, **rates}, step=progress.step)
        return True

    def _record(self, epoch: int, **values: float) -> None:
        values |= evaluate_accuracy(self.parts, self.accelerator.unwrap_model(self.model), self.accelerator)
        if values:
            self.progress.history.append({"epoch": epoch, "step": self.progress.step, **values})
            self.accelerator.log(values, step=self.progress.step)
            self.bar.set_postfix({name: f"{value:.3f}" for name, value in values.items()})

    def _finish(self) -> None:
        """Average, fit prototypes, and save model, processor, history and curve at the top of the output folder."""
        recipe, accelerator = self.recipe, self.accelerator
        model = accelerator.unwrap_model(self.model)
        if recipe.averaging is not None:
            self._average(model)
        if recipe.method == "rest" and recipe.prototypes:
            fit_prototypes(
                model,
                self.parts.processor,
                self.parts.train_dataset,
                self.parts.label_names,
                batch_size=recipe.optimization.batch_size,
                state_file=self.output / ".prototypes",
                accelerator=accelerator,
            )
        if accelerator.is_main_process:
            save_final(model, self.parts.processor, self.output)
            write_history(self.progress.history, self.output)
        accelerator.wait_for_everyone()

    def _average(self, model: torch.nn.Module) -> None:
        recipe, folder = self.recipe.averaging, self.output / "average"
        if self.accelerator.is_main_process:
            states = [(read_progress(path), path) for path in checkpoints(self.output)]
            used = [(s.epoch, path) for s, path in states if s.batches == 0 and s.epoch >= recipe.first_epoch]
            epochs, paths = zip(*used, strict=True)
            shutil.rmtree(folder, ignore_errors=True)
            average_checkpoints(paths, folder, averaging_weights(recipe.mode, epochs))
        self.accelerator.wait_for_everyone()
        model.load_state_dict(type(model).from_pretrained(folder).state_dict())
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            shutil.rmtree(folder)


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Tensors and label banks of a batch moved."""
    return {name: value.to(device) if hasattr(value, "to") else value for name, value in batch.items()}


@torch.no_grad()
def evaluate_accuracy(run: Run, model: torch.nn.Module, accelerator: Accelerator) -> dict[str, float]:
    """`top1` on the evaluation set with its own classes as candidates; every process does its share. A method without
    prototypes yet is not measured."""
    if run.eval_dataset is None:
        return {}
    model.eval()
    rows = with_candidates(run.eval_dataset)
    counts = torch.zeros(2, device=accelerator.device)
    for batch in _readable(rows, range(accelerator.process_index, len(rows), accelerator.num_processes), run):
        logits = model(**to_device(batch, accelerator.device), return_loss=False).logits_per_video
        right = logits.argmax(1).cpu() == batch["labels"]
        counts += torch.tensor([right.sum(), len(right)], device=accelerator.device)
    model.train()
    correct, seen = accelerator.reduce(counts).tolist()
    return {"top1": correct / max(seen, 1)}


def _readable(rows: CandidateRows, numbers: Sequence[int], run: Run) -> Iterator[dict[str, Any]]:
    """Rows in batches; those that cannot be read are named and left out where the recipe says so."""
    size = run.recipe.optimization.batch_size
    for start in range(0, len(numbers), size):
        batch = [rows[i] for i in numbers[start : start + size]]
        if run.recipe.data.on_error == "raise":
            yield run.collator(batch)
            continue
        for row in batch:
            try:
                yield run.collator([row])
            except VideoReadError as error:
                logger.warning("skipped: %s", error)


__all__ = ["train"]
