"""Run a recipe: transformers' `Trainer`, and what a recipe wants besides training."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_zsar.files import filling_folder, remove_folder, remove_leftovers
from hf_zsar.hub.card_callback import ModelCardCallback
from hf_zsar.hub.facts import CardFacts

from .build import Run, prepare_run
from .candidates import with_candidates
from .history import records_of, write_history
from .metrics import evaluate_accuracy
from .prototypes import fit_prototypes
from .recipe import Recipe, RecipeError
from .trainer import STAGING, ZSARTrainer, checkpoints, epoch_of
from .weight_averaging import interpolate_state_dicts


def train(recipe: Recipe, resume: bool = False) -> Path:
    """Run a recipe.

    Args:
        resume: go on from the last checkpoint in the output folder, if there is one.

    Returns:
        the folder of the final model and processor, with a card, `history.json` and `curve.png`.

    Raises:
        RecipeError: an output folder with checkpoints and no `resume`, or fewer videos than an update needs.
    """
    output = Path(recipe.output)
    found = checkpoints(output)
    if found and not resume:
        raise RecipeError(f"{output} has checkpoints already: pass resume, or choose another output.")
    run = prepare_run(recipe)
    start = tower_weights(run.model) if recipe.interpolation else {}
    trainer = trainer_of(run)
    if trainer.is_world_process_zero():
        clean_up(output)
    trainer.accelerator.wait_for_everyone()
    trainer.train(resume_from_checkpoint=str(found[-1]) if found else None)
    if start:
        mixed = interpolate_state_dicts(run.model.state_dict(), start, recipe.interpolation)
        run.model.load_state_dict(mixed)
    finish(run, trainer.accelerator)
    if trainer.is_world_process_zero():
        write_history(records_of(trainer.state.log_history), output)
    trainer.accelerator.wait_for_everyone()
    return output


def trainer_of(run: Run) -> ZSARTrainer:
    """The `Trainer` of a recipe.

    Raises:
        RecipeError: fewer videos than an update needs.
    """
    rows: Any = with_candidates(run.train_dataset, training=True)
    recipe, averaging = run.recipe, run.recipe.averaging
    trainer = ZSARTrainer(
        model=run.model,
        args=training_arguments(recipe),
        train_dataset=rows,
        data_collator=run.collator,
        processing_class=run.processor,
        learning_rates=recipe.optimization.learning_rates,
        decay_all=recipe.optimization.decay_all,
        average_from=averaging.first_epoch if averaging else None,
        average_mode=averaging.mode if averaging else "mean",
    )
    updates, warmup = updates_of(recipe, len(rows), trainer.args.world_size)
    trainer.args.warmup_steps = warmup
    trainer.add_callback(RunCallback(run, trainer))
    ModelCardCallback(
        CardFacts(base_model=hub_id_of(recipe)), data=Path(recipe.data.source).name, classes=len(run.label_names)
    ).attach(trainer)
    return trainer


def updates_of(recipe: Recipe, videos: int, processes: int = 1) -> tuple[int, int]:
    """Updates of an epoch over so many videos, and those until the learning rate is reached.

    Raises:
        RecipeError: fewer videos than an update needs.
    """
    options = recipe.optimization
    needed = options.batch_size * processes * options.accumulation
    if videos < needed:
        raise RecipeError(
            f"{videos} videos do not fill one update of {needed}: make optimization.batch_size or "
            "accumulation smaller."
        )
    return videos // needed, round(options.warmup_epochs * (videos // needed))


def hub_id_of(recipe: Recipe) -> str | None:
    """What the model was made from, where it is a repository of the Hub."""
    origin = recipe.model.pretrained or recipe.model.encoder
    return origin if origin and "/" in origin and not os.path.exists(origin) else None


class RunCallback(TrainerCallback):
    """Measures `top1` on the evaluation set before the first and after every epoch, keeps the checkpoints that the
    recipe asks for, and ends a run whose loss is not a number."""

    def __init__(self, run: Run, trainer: ZSARTrainer) -> None:
        self.run, self.trainer, self.recipe = run, trainer, run.recipe

    def _measure(self) -> None:
        accelerator = self.trainer.accelerator
        values = evaluate_accuracy(self.run, accelerator.unwrap_model(self.trainer.model), accelerator)
        if values:
            self.trainer.log(values)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step == 0:
            self._measure()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        every = self.recipe.save_steps
        if every and state.global_step % every == 0 and state.epoch % 1:
            # What is logged before a checkpoint is not lost with the process.
            control.should_save = control.should_log = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        control.should_log = True
        control.should_save = state.epoch % self.recipe.save_epochs == 0 or state.global_step >= state.max_steps
        self._measure()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float],
        **kwargs: Any,
    ) -> None:
        """
        Raises:
            ValueError: the loss has diverged.
        """
        if not math.isfinite(logs.get("loss", 0.0)) and not args.fp16:
            raise ValueError(
                f"The loss is {logs['loss']} at step {state.global_step}: lower optimization.learning_rates, or set "
                "clip_grad."
            )

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            make_room(Path(str(args.output_dir)))


def make_room(output: Path) -> None:
    """Delete the checkpoints within an epoch that a later one has replaced."""
    for older in checkpoints(output)[:-1]:
        if epoch_of(older) % 1:
            remove_folder(older)


def clean_up(output: Path) -> None:
    """Take away what a killed run was about to write or to delete."""
    make_room(output)
    shutil.rmtree(output / STAGING, ignore_errors=True)
    remove_leftovers(output)


def tower_weights(model: Any) -> dict[str, torch.Tensor]:
    """Copies of the weights that a method has not added, on the CPU."""
    return {
        name: tensor.detach().to("cpu", copy=True)
        for name, tensor in model.state_dict().items()
        if model.role_of(name) in ("vision", "text", "scale")
    }


def finish(run: Run, accelerator: Any) -> None:
    """What follows the last update: adapters become part of the weights, videos of the prototypes, and the model is
    saved at the top of the output folder, its configuration last, so that a folder that has one is whole."""
    recipe, output = run.recipe, Path(run.recipe.output)
    if recipe.lora is not None:
        run.model = run.model.merge_and_unload()
    if recipe.prototypes:
        fit_prototypes(
            run.model,
            run.processor,
            run.train_dataset,
            run.label_names,
            batch_size=recipe.optimization.batch_size,
            state_file=output / ".prototypes",
            accelerator=accelerator,
        )
    if accelerator.is_main_process:
        with filling_folder(output, last="config.json") as temporary:
            run.processor.save_pretrained(temporary)
            run.model.eval().save_pretrained(temporary)
    accelerator.wait_for_everyone()


def training_arguments(recipe: Recipe) -> TrainingArguments:
    """What a recipe says, in the words of the `Trainer`."""
    optimization = recipe.optimization
    return TrainingArguments(
        recipe.output,
        num_train_epochs=optimization.epochs,
        per_device_train_batch_size=optimization.batch_size,
        gradient_accumulation_steps=optimization.accumulation,
        learning_rate=max(optimization.learning_rates.values()),
        weight_decay=optimization.weight_decay,
        adam_beta1=optimization.betas[0],
        adam_beta2=optimization.betas[1],
        adam_epsilon=optimization.eps,
        max_grad_norm=optimization.clip_grad,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": optimization.min_lr_ratio},
        bf16=optimization.precision == "bf16",
        fp16=optimization.precision == "fp16",
        save_strategy="epoch",
        logging_steps=recipe.log_steps,
        logging_nan_inf_filter=False,
        report_to=recipe.report_to or "none",
        seed=recipe.seed,
        dataloader_num_workers=recipe.data.workers,
        dataloader_pin_memory=torch.cuda.is_available(),
        use_cpu=not torch.accelerator.is_available(),  # else processes on CPUs do not find each other
    )


__all__ = ["finish", "train", "updates_of"]
