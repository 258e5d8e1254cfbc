"""The training loop on plain Accelerate. `train_scripts/train.py` and `hf-zsar train` are thin faces of it."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader, Sampler
from tqdm import tqdm

from .optimization import parameter_groups
from .prototypes import batches_of, fit_prototypes
from .recipe import Recipe
from .setup import Run, prepare_run
from .weight_averaging import average_checkpoints, averaging_weights


CHECKPOINT = "checkpoint-epoch-"


class SeededShuffle(Sampler[int]):
    """A permutation of the data set drawn from (seed, epoch): this process's part of each global batch.

    With P processes and batches of B, process r takes places r * B .. r * B + B of every P * B: P processes see, step
    by step, the videos that one process with batches of P * B sees. The last incomplete batch is left out.
    """

    def __init__(self, length: int, batch_size: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.length, self.batch_size, self.seed, self.rank, self.world = length, batch_size, seed, rank, world
        self.epoch = 0

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return self.length // (self.batch_size * self.world)

    def __len__(self) -> int:
        return self.steps * self.batch_size

    def __iter__(self) -> Any:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.length, generator=generator).tolist()
        for step in range(self.steps):
            first = (step * self.world + self.rank) * self.batch_size
            yield from order[first : first + self.batch_size]


def schedule_factor(step: int, warmup: int, total: int, min_ratio: float) -> float:
    """Linear from 0 over `warmup` steps, then a cosine down to `min_ratio` at `total`."""
    if step < warmup:
        return step / max(warmup, 1)
    progress = min(1.0, (step - warmup) / max(total - warmup, 1))
    return min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * progress))


def train(recipe: Recipe, resume: bool = False, max_steps: int | None = None) -> Path:
    """Run a recipe.

    Args:
        resume: go on from the last complete checkpoint in the output folder, if there is one.
        max_steps: leave after so many updates in all, as a kill would; for tests of resuming.

    Returns:
        the folder of the final model and processor.

    Raises:
        ValueError: an output folder with checkpoints and no `resume`.
    """
    optimization = recipe.optimization
    accelerator = Accelerator(
        mixed_precision=optimization.precision,
        gradient_accumulation_steps=optimization.accumulation,
        log_with=recipe.report_to or None,
        project_dir=recipe.output,
    )
    set_seed(recipe.seed)
    output = Path(recipe.output)
    last = last_checkpoint(output)
    if last is not None and not resume:
        raise ValueError(f"{output} has checkpoints already: pass resume, or choose another output.")
    run = prepare_run(recipe)
    model = run.model.train()
    model.gather_loss = accelerator.num_processes > 1
    sampler = SeededShuffle(
        len(run.train_dataset),
        optimization.batch_size,
        recipe.seed,
        accelerator.process_index,
        accelerator.num_processes,
    )
    updates_per_epoch = sampler.steps // optimization.accumulation
    if not updates_per_epoch:
        raise ValueError(f"{len(run.train_dataset)} videos do not fill one batch: make batch_size smaller.")
    total, warmup = optimization.epochs * updates_per_epoch, round(optimization.warmup_epochs * updates_per_epoch)
    groups = parameter_groups(model, optimization.learning_rates, optimization.weight_decay, optimization.decay_all)
    optimizer = torch.optim.AdamW(groups, betas=tuple(optimization.betas), eps=optimization.eps)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: schedule_factor(step, warmup, total, optimization.min_lr_ratio)
    )
    # The sampler shares the data out itself, so the loader is not prepared.
    model, optimizer = accelerator.prepare(model, optimizer)
    accelerator.init_trackers("hf_zsar")
    accelerator.register_for_checkpointing(scheduler)
    first_epoch, step = 0, 0
    if last is not None:
        accelerator.load_state(str(last))
        state = json.loads((last / "progress.json").read_text(encoding="utf-8"))
        first_epoch, step = state["epoch"], state["step"]
    history = _history(output, first_epoch)
    bar = tqdm(total=total, initial=step, unit="step", disable=None if accelerator.is_main_process else True)
    for epoch in range(first_epoch, optimization.epochs):
        sampler.epoch = epoch
        run.collator.set_epoch(epoch)
        loader = DataLoader(
            run.train_dataset,
            batch_size=optimization.batch_size,
            sampler=sampler,
            collate_fn=run.collator,
            num_workers=recipe.data.workers,
            drop_last=True,
            multiprocessing_context="spawn" if recipe.data.workers else None,
        )
        losses = []
        for number, batch in enumerate(loader):
            if number >= updates_per_epoch * optimization.accumulation:
                break
            with accelerator.accumulate(model):
                loss = model(**_to_device(batch, accelerator.device)).loss
                accelerator.backward(loss)
                if accelerator.sync_gradients and optimization.clip_grad:
                    accelerator.clip_grad_norm_(model.parameters(), optimization.clip_grad)
                optimizer.step()
                if accelerator.sync_gradients:
                    scheduler.step()
                    step += 1
                    bar.update()
                optimizer.zero_grad()
            losses.append(loss.detach())
            if accelerator.sync_gradients and step % recipe.log_steps == 0:
                rates = {f"lr/{group['role']}": group["lr"] for group in optimizer.param_groups}
                accelerator.log({"loss": losses[-1].item(), **rates}, step=step)
            if max_steps is not None and step >= max_steps:
                bar.close()
                return output
        record = {"epoch": epoch + 1, "step": step, "loss": torch.stack(losses).mean().item()}
        record |= evaluate_accuracy(run, accelerator.unwrap_model(model), accelerator)
        history.append(record)
        accelerator.log({k: v for k, v in record.items() if k != "step"}, step=step)
        bar.set_postfix({k: f"{v:.3f}" for k, v in record.items() if isinstance(v, float)})
        if (epoch + 1) % recipe.save_epochs == 0 or epoch + 1 == optimization.epochs:
            save_checkpoint(accelerator, run, output, epoch + 1, step, history)
    bar.close()
    _finish(accelerator, run, output)
    accelerator.end_training()
    return output


def _to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {name: value.to(device) if hasattr(value, "to") else value for name, value in batch.items()}


@torch.no_grad()
def evaluate_accuracy(run: Run, model: torch.nn.Module, accelerator: Accelerator) -> dict[str, float]:
    """Top-1 on the evaluation set with its own classes as candidates; every process does its share."""
    if run.eval_dataset is None:
        return {}
    model.eval()
    shard = run.eval_dataset.shard(accelerator.num_processes, accelerator.process_index)
    counts = torch.zeros(2, device=accelerator.device)
    bank = None
    for batch in batches_of(shard, run.eval_collator, run.recipe.optimization.batch_size):
        batch = _to_device(batch, accelerator.device)
        features = model.encode_videos(batch["pixel_values_videos"])
        if bank is None:
            text = {name: batch[name] for name in model.text_input_names if name in batch}
            bank = model.encode_labels(**text, labels=run.eval_collator.label_names)
        right = model.score(features, bank).argmax(1) == batch["labels"]
        counts += torch.tensor([right.sum(), len(right)], device=accelerator.device)
    model.train()
    correct, seen = accelerator.reduce(counts).tolist()
    return {"top1": correct / max(seen, 1)}


def save_checkpoint(
    accelerator: Accelerator, run: Run, output: Path, epoch: int, step: int, history: list[dict[str, Any]]
) -> None:
    """Everything that a resume needs, under a temporary name until it is whole."""
    temporary, final = output / f".{CHECKPOINT}{epoch}", output / f"{CHECKPOINT}{epoch}"
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(temporary))
    if accelerator.is_main_process:
        accelerator.unwrap_model(run.model).save_pretrained(temporary)
        run.processor.save_pretrained(temporary)
        (temporary / "history.json").write_text(json.dumps(history, indent=1), encoding="utf-8")
        (temporary / "progress.json").write_text(json.dumps({"epoch": epoch, "step": step}), encoding="utf-8")
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)
    accelerator.wait_for_everyone()


def last_checkpoint(output: Path) -> Path | None:
    """The newest whole checkpoint of a run."""
    found = [path for path in output.glob(f"{CHECKPOINT}*") if (path / "progress.json").is_file()]
    return max(found, key=lambda path: int(path.name.removeprefix(CHECKPOINT)), default=None)


def _history(output: Path, epoch: int) -> list[dict[str, Any]]:
    file = output / f"{CHECKPOINT}{epoch}" / "history.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []


def _finish(accelerator: Accelerator, run: Run, output: Path) -> None:
    """Average, fit prototypes, and save model, processor, history and curve at the top of the output folder."""
    recipe, model = run.recipe, accelerator.unwrap_model(run.model)
    if recipe.averaging is not None:
        folders = sorted(
            (path for path in output.glob(f"{CHECKPOINT}*") if _epoch(path) >= recipe.averaging.first_epoch),
            key=_epoch,
        )
        if accelerator.is_main_process:
            shutil.rmtree(output / "average", ignore_errors=True)
            weights = averaging_weights(recipe.averaging.mode, [_epoch(path) for path in folders])
            average_checkpoints(folders, output / "average", weights)
        accelerator.wait_for_everyone()
        model.load_state_dict(type(model).from_pretrained(output / "average").state_dict())
    if recipe.prototypes and hasattr(model, "fit_prototypes") and run.recipe.method == "rest":
        fit_prototypes(
            model,
            run.processor,
            run.train_dataset,
            run.label_names,
            batch_size=recipe.optimization.batch_size,
            state_file=output / "prototypes-state",
            accelerator=accelerator,
        )
    if accelerator.is_main_process:
        model.eval().save_pretrained(output)
        run.processor.save_pretrained(output)
        last = last_checkpoint(output)
        if last is not None:
            shutil.copyfile(last / "history.json", output / "history.json")
            draw_history(output / "history.json", output / "curve.png")
    accelerator.wait_for_everyone()


def _epoch(path: Path) -> int:
    return int(path.name.removeprefix(CHECKPOINT))


def draw_history(history: Path, picture: Path) -> None:
    """Loss, and accuracy where it was measured, over the epochs."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    records = json.loads(history.read_text(encoding="utf-8"))
    epochs = [record["epoch"] for record in records]
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axis = figure.subplots()
    axis.plot(epochs, [record["loss"] for record in records], color="#4477aa", marker=".")
    axis.set(xlabel="epoch", ylabel="loss")
    axis.yaxis.label.set_color("#4477aa")
    axis.spines[["top"]].set_visible(False)
    if all("top1" in record for record in records):
        right = axis.twinx()
        right.plot(epochs, [100 * record["top1"] for record in records], color="#ee6677", marker=".")
        right.set(ylabel="top-1 (%)", ylim=(0, 100))
        right.yaxis.label.set_color("#ee6677")
        right.spines[["top"]].set_visible(False)
    figure.savefig(picture, dpi=150)


__all__ = ["train"]
