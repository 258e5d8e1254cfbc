"""The `Trainer` that recipes run on. The stock class trains every method too, with our collator."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Sampler
from transformers import Trainer
from transformers.trainer_utils import has_length, rotate_checkpoints

from hf_zsar.files import put_folder
from hf_zsar.hub.card_callback import ModelCardCallback
from hf_zsar.processing.text_files import TextFileError, read_json

from .optimization import parameter_groups
from .sampler import SeededShuffle
from .weight_averaging import average_of, averaging_weights


STAGING = ".saving"


class ZSARTrainer(Trainer):
    """`Trainer` with learning rates per part of the model, an order of videos that does not depend on how many
    processes there are, checkpoints that are whole, and epoch averaging.

    Args:
        learning_rates: by role, see [`parameter_groups`]; without it the one of the arguments for all.
        decay_all: weight decay on norms and biases too.
        average_from: end with the mean of the checkpoints from this epoch on (counted from 1); needs
            `save_strategy="epoch"` and no limit on how many are kept.
        average_mode: of [`averaging_weights`].
        kwargs: as [`Trainer`]'s; `data_collator` should be a [`VideoTextCollator`].
    """

    def __init__(
        self,
        *args: Any,
        learning_rates: Mapping[str, float] | None = None,
        decay_all: bool = False,
        average_from: int | None = None,
        average_mode: str = "mean",
        **kwargs: Any,
    ) -> None:
        self.learning_rates, self.decay_all, self._staging = learning_rates, decay_all, False
        super().__init__(*args, **kwargs)
        self.average_from, self.average_mode = average_from, average_mode
        if average_from is not None and (self.args.save_strategy != "epoch" or self.args.save_total_limit is not None):
            raise ValueError('average_from needs save_strategy="epoch" and no save_total_limit.')

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None and self.learning_rates is not None:
            model_to_train: Any = self.model
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, model_to_train)
            groups = parameter_groups(model_to_train, self.learning_rates, self.args.weight_decay, self.decay_all)
            self.optimizer = optimizer_class(groups, **options)
        return super().create_optimizer() if self.optimizer is None else self.optimizer

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        dataset, args = self.train_dataset if train_dataset is None else train_dataset, self.args
        together = args.train_batch_size * args.world_size * args.gradient_accumulation_steps
        if args.train_sampling_strategy != "random" or not has_length(dataset) or len(dataset) < together:
            return super()._get_train_sampler(train_dataset)
        return SeededShuffle(len(dataset), together, args.seed if args.data_seed is None else args.data_seed)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        result = super().train(*args, **kwargs)
        if self.average_from is not None:
            self._load_average()
        return result

    def _get_output_dir(self, trial: Any) -> str:
        folder = super()._get_output_dir(trial)
        return os.path.join(folder, STAGING) if self._staging else folder

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """As the base class, under another name until the checkpoint is whole: a kill leaves no half of one."""
        self._staging = True
        try:
            super()._save_checkpoint(model, trial)
            staged = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
        finally:
            self._staging = False
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            output = Path(self._get_output_dir(trial))
            best = self.state.best_model_checkpoint
            if best is not None:
                self.state.best_model_checkpoint = str(output / Path(best).name)
                self.state.save_to_json(str(staged / "trainer_state.json"))
            for callback in self.callback_handler.callbacks:
                if isinstance(callback, ModelCardCallback):  # a part of the checkpoint: `on_save` may come too late
                    callback.write(staged, self.args, self.state, self.model, finished=False, source=self)
            put_folder(staged, output / staged.name)
            shutil.rmtree(staged.parent, ignore_errors=True)
            rotate_checkpoints(
                str(output), self.args.save_total_limit, self.state.best_model_checkpoint, use_mtime=True
            )
        self.accelerator.wait_for_everyone()

    def _load_average(self) -> None:
        """Of the checkpoints at the ends of epochs."""
        model: Any = self.model
        epochs = {epoch_of(folder): folder for folder in checkpoints(str(self.args.output_dir))}
        chosen = sorted(epoch for epoch in epochs if epoch >= (self.average_from or 0) and epoch % 1 == 0)
        average = average_of([epochs[each] for each in chosen], averaging_weights(self.average_mode, chosen))
        model.load_state_dict(average, strict=False)  # weights that are tied to others are in no file


def checkpoints(output: str | os.PathLike) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(Path(output).glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))


def epoch_of(checkpoint: Path) -> float:
    """How many epochs a checkpoint of a `Trainer` has seen.

    Raises:
        TextFileError: its state is damaged.
    """
    path = checkpoint / "trainer_state.json"
    state = read_json(path)
    epoch = state.get("epoch") if isinstance(state, dict) else None
    if not isinstance(epoch, (int, float)):
        raise TextFileError(f"{path} does not say its epoch: remove the checkpoint, or train again.")
    return float(epoch)


__all__ = ["ZSARTrainer", "checkpoints", "epoch_of"]
