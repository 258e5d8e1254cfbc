"""Recipes on transformers' Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from .candidates import with_candidates
from .checkpoints import save_final
from .history import read_history, write_history
from .loop import evaluate_accuracy
from .prototypes import fit_prototypes
from .recipe import Recipe, RecipeError
from .setup import Run, prepare_run
from .trainer import ZSARTrainer


def train_with_trainer(recipe: Recipe, resume: bool = False) -> Path:
    """Run a recipe with [`ZSARTrainer`]; checkpoints are the Trainer's own.

    Args:
        resume: go on from the last checkpoint in the output folder, if there is one.

    Returns:
        the folder of the final model and processor.

    Raises:
        RecipeError: an output folder with checkpoints and no `resume`.
    """
    output = Path(recipe.output)
    last = get_last_checkpoint(recipe.output) if output.is_dir() else None
    if last is not None and not resume:
        raise RecipeError(f"{output} has checkpoints already: pass resume, or choose another output.")
    run = prepare_run(recipe)
    averaging = recipe.averaging
    trainer = ZSARTrainer(
        model=run.model,
        args=training_arguments(recipe),
        train_dataset=with_candidates(run.train_dataset, training=True),
        data_collator=run.collator,
        learning_rates=recipe.optimization.learning_rates,
        decay_all=recipe.optimization.decay_all,
        average_from=averaging.first_epoch if averaging else None,
        average_mode=averaging.mode if averaging else "mean",
    )
    if run.eval_dataset is not None:
        trainer.add_callback(AccuracyCallback(run, trainer.accelerator))
    trainer.train(resume_from_checkpoint=last)
    if recipe.prototypes and recipe.method == "rest":
        fit_prototypes(
            run.model,
            run.processor,
            run.train_dataset,
            run.label_names,
            batch_size=recipe.optimization.batch_size,
            accelerator=trainer.accelerator,
        )
    if trainer.is_world_process_zero():
        save_final(run.model, run.processor, output)
    trainer.accelerator.wait_for_everyone()
    return output


class AccuracyCallback(TrainerCallback):
    """Measures `top1` on the evaluation set before the first and after every epoch, for `history.json`."""

    def __init__(self, run: Run, accelerator: Accelerator) -> None:
        self.run, self.accelerator, self.output = run, accelerator, Path(run.recipe.output)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step == 0:
            self._measure(state, [])

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._measure(state, read_history(self.output))

    def _measure(self, state: TrainerState, known: list[dict[str, Any]]) -> None:
        epoch = round(state.epoch or 0)
        record = {"epoch": epoch, **evaluate_accuracy(self.run, self.run.model, self.accelerator)}
        losses = [log["loss"] for log in state.log_history if "loss" in log and epoch - 1 < log["epoch"] <= epoch]
        if losses:
            record["loss"] = sum(losses) / len(losses)
        if state.is_world_process_zero:
            self.output.mkdir(parents=True, exist_ok=True)
            # What a run that was killed had measured of this epoch and later ones is measured again.
            write_history([*(each for each in known if each["epoch"] < epoch), record], self.output)


def training_arguments(recipe: Recipe, **others: Any) -> TrainingArguments:
    """What a recipe says, in the words of the Trainer.

    Args:
        others: arguments that win.
    """
    optimization = recipe.optimization
    saving = {"save_strategy": "steps", "save_steps": recipe.save_steps} if recipe.save_steps else {}
    arguments = {
        "output_dir": recipe.output,
        "num_train_epochs": optimization.epochs,
        "per_device_train_batch_size": optimization.batch_size,
        "gradient_accumulation_steps": optimization.accumulation,
        "learning_rate": max(optimization.learning_rates.values()),
        "weight_decay": optimization.weight_decay,
        "adam_beta1": optimization.betas[0],
        "adam_beta2": optimization.betas[1],
        "adam_epsilon": optimization.eps,
        "max_grad_norm": optimization.clip_grad,
        "warmup_steps": optimization.warmup_epochs / optimization.epochs,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": optimization.min_lr_ratio},
        "bf16": optimization.precision == "bf16",
        "fp16": optimization.precision == "fp16",
        "save_strategy": "epoch",
        "logging_steps": recipe.log_steps,
        "report_to": recipe.report_to or "none",
        "seed": recipe.seed,
        "dataloader_num_workers": recipe.data.workers,
        "dataloader_drop_last": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "use_cpu": not torch.accelerator.is_available(),  # else processes on CPUs do not find each other
    }
    return TrainingArguments(**{**arguments, **saving, **others})


__all__ = ["train_with_trainer", "training_arguments"]
