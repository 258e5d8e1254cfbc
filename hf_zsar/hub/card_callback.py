"""A Trainer callback that keeps a model card beside the weights while training goes on.

trainer = Trainer(...)
ModelCardCallback(CardFacts(license="mit"), data="my clips").attach(trainer)
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hf_zsar.files import workplace

from .cards import write_card
from .facts import CardFacts, TrainingFacts


# Rows of the training log that a card shows at most; first and last are always among them.
LOG_ROWS = 20
_NOISE = ("_runtime", "_samples_per_second", "_steps_per_second", "total_flos", "train_loss")


class ModelCardCallback(TrainerCallback):
    """Writes `README.md` into every checkpoint and, before a push and at the end, into the output folder.

    Its title is the name of the repository on the Hub (`hub_model_id`), else that of the output folder, unless the
    facts give another.

    Args:
        facts: what the author knows: license, base model, data sets, description, results. The model, the
            hyper-parameters and the log are filled in.
        data: name of the training data.
        classes: how many classes it has.
    """

    def __init__(self, facts: CardFacts | None = None, *, data: str | None = None, classes: int | None = None) -> None:
        self.facts = facts or CardFacts()
        self.data, self.classes = data, classes
        self.videos: int | None = None
        self.hub_model_id: str | None = None

    def attach(self, trainer: Trainer) -> ModelCardCallback:
        """Add the callback, and let `trainer.push_to_hub` push this card instead of the stock one."""
        trainer.add_callback(self)
        writer = trainer.callback_handler

        def create_model_card(*args: Any, **kwargs: Any) -> None:
            self.hub_model_id = trainer.hub_model_id
            if trainer.is_world_process_zero():
                finished = trainer.state.global_step >= trainer.state.max_steps
                self.write(_folder(trainer.args), trainer.args, trainer.state, writer.model, finished, trainer)

        attached: Any = trainer
        attached.create_model_card = create_model_card
        return self

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        dataset: Any = getattr(kwargs.get("train_dataloader"), "dataset", None)
        self.videos = len(dataset) if hasattr(dataset, "__len__") else None

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: PreTrainedModel,
        **kwargs: Any,
    ) -> None:
        if state.is_world_process_zero:
            folder = Path(_folder(args), f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")
            self.write(folder, args, state, model, finished=False, source=kwargs)

    def on_push_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: PreTrainedModel,
        **kwargs: Any,
    ) -> None:
        if state.is_world_process_zero:
            finished = state.global_step >= state.max_steps
            self.write(_folder(args), args, state, model, finished, source=kwargs)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: PreTrainedModel,
        **kwargs: Any,
    ) -> None:
        self.on_push_begin(args, state, control, model, **kwargs)

    def write(
        self,
        folder: str | Path,
        args: TrainingArguments,
        state: TrainerState,
        model: Any,
        finished: bool,
        source: Any,
    ) -> None:
        """Write the card as things stand into a folder. `source`, a `Trainer` or what a callback is given, has the
        processor."""
        processor = source.get("processing_class") if isinstance(source, Mapping) else source.processing_class
        model = model.get_base_model() if hasattr(model, "get_base_model") else model  # of peft
        facts = self.facts.completed_from(model, processor if hasattr(processor, "video_processor") else None)
        repo_id = facts.repo_id or self.hub_model_id or args.hub_model_id
        name = facts.model_name or (repo_id or str(Path(_folder(args)).resolve())).rsplit("/", 1)[-1]
        facts = dataclasses.replace(facts, repo_id=repo_id, model_name=name)
        training = self.training_facts(args, state, finished)
        # A push may be reading the folder in the background, and a file that it has listed and then misses ends it. So
        # the card is written where the Hub's client does not look, and moved from there.
        (unseen := Path(_folder(args), ".cache", "huggingface")).mkdir(parents=True, exist_ok=True)
        with workplace(unseen, folder) as work:
            write_card(card := work / "card", dataclasses.replace(facts, training=training))
            for file in [path for path in card.rglob("*") if path.is_file()]:
                target = Path(folder, file.relative_to(card))
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, target)
        for empty in (unseen, unseen.parent):
            if not any(empty.iterdir()):
                empty.rmdir()

    def training_facts(self, args: TrainingArguments, state: TrainerState, finished: bool = True) -> TrainingFacts:
        """What the arguments and the state of a Trainer say about a run."""
        from hf_zsar.evaluation.records import library_versions

        return TrainingFacts(
            data=self.data,
            videos=self.videos,
            classes=self.classes,
            hyperparameters=hyperparameters_of(args),
            log=thinned(log_rows(state.log_history)),
            versions=library_versions(),
            finished=finished,
        )


def _folder(args: TrainingArguments) -> str:
    return str(args.output_dir)


def hyperparameters_of(args: TrainingArguments) -> dict[str, Any]:
    """The settings of a run that its result depends on."""
    processes = max(args.world_size, 1)
    rows: dict[str, Any] = {
        "learning rate": args.learning_rate,
        "schedule": getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type),
        "warmup steps": args.warmup_steps or None,
        "optimizer": getattr(args.optim, "value", args.optim),
        "weight decay": args.weight_decay,
        "batch size": args.per_device_train_batch_size * args.gradient_accumulation_steps * processes,
        "devices x accumulation": f"{processes} x {args.gradient_accumulation_steps}",
        "steps": args.max_steps if args.max_steps > 0 else None,
        "epochs": None if args.max_steps > 0 else args.num_train_epochs,
        "precision": "bfloat16" if args.bf16 else "float16" if args.fp16 else "float32",
        "gradient clipping": args.max_grad_norm or None,
        "seed": args.seed,
    }
    return {name: value for name, value in rows.items() if value is not None}


def log_rows(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The Trainer's log as a table: one row per step, with whatever was logged at that step."""
    rows: dict[int, dict[str, Any]] = {}
    for entry in history:
        row = rows.setdefault(int(entry["step"]), {"step": int(entry["step"])})
        for name, value in sorted(entry.items()):  # in one order, also when read again from a checkpoint
            if name != "step" and not name.endswith(_NOISE) and isinstance(value, (int, float)):
                row[name] = round(value, 6) if name != "epoch" else round(value, 2)
    return [row for row in rows.values() if len(row) > 2]


def thinned(rows: Sequence[dict[str, Any]], most: int = LOG_ROWS) -> list[dict[str, Any]]:
    """At most `most` rows, evenly spread, the first and the last among them."""
    if len(rows) <= most:
        return list(rows)
    return [rows[round(i * (len(rows) - 1) / (most - 1))] for i in range(most)]
