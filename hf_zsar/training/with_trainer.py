"""Recipes on transformers' Trainer."""

from __future__ import annotations

from pathlib import Path

from transformers import TrainingArguments

from .prototypes import fit_prototypes
from .recipe import Recipe
from .setup import prepare_run
from .trainer import ZSARTrainer


def train_with_trainer(recipe: Recipe, resume: bool = False) -> Path:
    """Run a recipe with [`ZSARTrainer`]; checkpoints are the Trainer's own.

    Returns:
        the folder of the final model and processor.
    """
    optimization = recipe.optimization
    run = prepare_run(recipe)
    arguments = TrainingArguments(
        output_dir=recipe.output,
        num_train_epochs=optimization.epochs,
        per_device_train_batch_size=optimization.batch_size,
        gradient_accumulation_steps=optimization.accumulation,
        learning_rate=max(optimization.learning_rates.values()),
        weight_decay=optimization.weight_decay,
        adam_beta1=optimization.betas[0],
        adam_beta2=optimization.betas[1],
        adam_epsilon=optimization.eps,
        max_grad_norm=optimization.clip_grad,
        warmup_steps=optimization.warmup_epochs / optimization.epochs,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": optimization.min_lr_ratio},
        bf16=optimization.precision == "bf16",
        fp16=optimization.precision == "fp16",
        save_strategy="epoch",
        logging_steps=recipe.log_steps,
        report_to=recipe.report_to or "none",
        seed=recipe.seed,
        dataloader_num_workers=recipe.data.workers,
        dataloader_drop_last=True,
        remove_unused_columns=False,
        label_names=["labels"],
    )
    trainer = ZSARTrainer(
        model=run.model,
        args=arguments,
        train_dataset=run.train_dataset,
        data_collator=run.collator,
        learning_rates=optimization.learning_rates,
        decay_all=optimization.decay_all,
        frozen=optimization.freeze,
        average_from=recipe.averaging.first_epoch if recipe.averaging else None,
        average_mode=recipe.averaging.mode if recipe.averaging else "mean",
    )
    trainer.train(resume_from_checkpoint=resume or None)
    if recipe.prototypes and recipe.method == "rest":
        fit_prototypes(run.model, run.processor, run.train_dataset, run.label_names, accelerator=trainer.accelerator)
    if trainer.is_world_process_zero():
        run.model.eval().save_pretrained(recipe.output)
        run.processor.save_pretrained(recipe.output)
    return Path(recipe.output)


__all__ = ["train_with_trainer"]
