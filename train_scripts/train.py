"""A training loop on plain Accelerate, from top to bottom: copy it and change what you like.

python train_scripts/train.py train_scripts/recipes/quickstart.yaml --set data.source=my_videos
torchrun --nproc_per_node 4 train_scripts/train.py RECIPE

It reads the same recipes as `hf-zsar train` and makes the same updates. It does not average weights, go back towards
the start, or resume; `hf-zsar train` does.
"""

from __future__ import annotations

import argparse

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from torch.utils.data import DataLoader
from transformers import get_scheduler

from hf_zsar.cli.convert import assignment_of
from hf_zsar.training import load_recipe, parameter_groups, with_candidates
from hf_zsar.training.build import prepare_run
from hf_zsar.training.metrics import evaluate_accuracy
from hf_zsar.training.recipe import Recipe
from hf_zsar.training.run import finish, updates_of
from hf_zsar.training.sampler import SeededShuffle
from hf_zsar.training.trainer_rules import check_processes


def train(recipe: Recipe) -> list[float]:
    """Train, save, and return the loss of every batch, as the mean over processes."""
    options = recipe.optimization
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),
        mixed_precision=options.precision,
        gradient_accumulation_steps=options.accumulation,
        # Backbones bring parts that no method uses, such as the last norm of a ViT.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=not options.gradient_checkpointing)],
    )
    check_processes(accelerator.num_processes)

    # The model and its processor, the videos, and what makes batches of them: frames drawn and augmented, and the
    # texts that the method's loss contrasts them with.
    run = prepare_run(recipe)
    rows = with_candidates(run.train_dataset, training=True)
    set_seed(recipe.seed)

    # One order of videos for any number of processes, another in every epoch.
    updates, warmup = updates_of(recipe, len(rows), accelerator.num_processes)
    together = options.batch_size * options.accumulation * accelerator.num_processes
    order = SeededShuffle(len(rows), together, recipe.seed)
    loader = DataLoader(
        rows,
        batch_size=options.batch_size,
        sampler=order,
        collate_fn=run.collator,
        num_workers=recipe.data.workers,
    )

    # A learning rate for each role of parameters; the schedule counts updates, so it is not prepared.
    groups = parameter_groups(run.model, options.learning_rates, options.weight_decay, options.decay_all)
    optimizer = torch.optim.AdamW(groups, betas=tuple(options.betas), eps=options.eps)
    schedule = get_scheduler(
        "cosine_with_min_lr",
        optimizer,
        num_warmup_steps=warmup,
        num_training_steps=options.epochs * updates,
        scheduler_specific_kwargs={"min_lr_rate": options.min_lr_ratio},
    )
    model, optimizer, loader = accelerator.prepare(run.model, optimizer, loader)

    losses = []
    for epoch in range(options.epochs):
        model.train()
        order.set_epoch(epoch)
        run.collator.set_epoch(epoch)
        for batch in loader:
            with accelerator.accumulate(model):
                loss = model(**batch).loss
                accelerator.backward(loss)
                if accelerator.sync_gradients and options.clip_grad:
                    accelerator.clip_grad_norm_(model.parameters(), options.clip_grad)
                optimizer.step()
                if accelerator.sync_gradients:
                    schedule.step()
                optimizer.zero_grad()
            losses.append(accelerator.reduce(loss.detach(), "mean").item())
        measured = evaluate_accuracy(run, accelerator.unwrap_model(model), accelerator)
        mean = sum(losses[-updates * options.accumulation :]) / (updates * options.accumulation)
        accelerator.print({"epoch": epoch + 1, "loss": round(mean, 4), **measured})

    # Adapters are merged, prototypes fitted where the method has them, and model and processor saved.
    finish(run, accelerator)
    return losses


def main() -> None:
    """Train the recipe of the command line."""
    parser = argparse.ArgumentParser(description="Train a model as a YAML recipe says.")
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[], type=lambda text: assignment_of(text, dotted=True))
    arguments = parser.parse_args()
    train(load_recipe(arguments.recipe, dict(arguments.set)))


if __name__ == "__main__":
    main()
