"""What every `Trainer` does for the models of this package once a collator of it is imported, without being asked.

Loaders hand the number of the epoch on to few: accelerate's tells a data set only in one process, a collator never,
and workers that live through epochs hear of nothing. So collators keep it in memory that their workers share, and a
callback that every `Trainer` gets by default writes it there. The same callback refuses the options under which a
number would come out wrong.
"""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from accelerate.data_loader import DataLoaderDispatcher
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import DEFAULT_CALLBACKS
from transformers.trainer_utils import has_length

from hf_zsar.modeling.modeling_zsar import ZSARPreTrainedModel

from .candidates import CandidateRows, CandidateStream


# One of these says how many processes there are: torchrun's, or those of MPI.
_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


class Listener(Protocol):
    """Whoever draws at random and must know how far the training is."""

    def set_run(self, seed: int, epoch: int) -> None:
        """Draw from these."""


# Those of this process, whichever wrappers a `Trainer` reaches them through.
LISTENERS: weakref.WeakSet[Listener] = weakref.WeakSet()


class TrainerRules(TrainerCallback):
    """Tells collators seed and epoch, and refuses what would measure or train wrong."""

    def on_init_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """
        Raises:
            ValueError: an option that does not go with videos and candidates, or a launcher that did not start the
                processes that it was asked for.
        """
        if not is_ours(kwargs.get("model")):
            return
        check_processes(args.world_size)
        if args.train_sampling_strategy in ("group_by_length", "batch_rebalance"):
            raise ValueError(
                f"train_sampling_strategy={args.train_sampling_strategy!r} sorts texts by length; all clips of a run "
                'have the same number of frames. Use "random" or "sequential".'
            )
        if args.label_smoothing_factor:
            raise ValueError(
                "label_smoothing_factor replaces the model's loss by one over its first output. Smoothing is part of "
                "a method's own loss: see its configuration."
            )
        if args.fp16 and args.device.type == "cpu":
            raise ValueError("fp16 needs a GPU and would change nothing here; bf16=True works on CPUs, too.")
        if args.n_gpu > 1:
            raise ValueError(
                f"One process on {args.n_gpu} GPUs (DataParallel) would split the candidates as it splits the videos: "
                "start one process per GPU with torchrun or accelerate launch, or choose one GPU with "
                "CUDA_VISIBLE_DEVICES."
            )

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """
        Raises:
            ValueError: batches that one process makes for all.
        """
        _tell(kwargs.get("train_dataloader"))
        if args.world_size > 1 and isinstance(kwargs.get("train_dataloader"), DataLoaderDispatcher):
            raise ValueError(
                "With a data set without a length, accelerate joins and cuts the batches of one process for all, the "
                'candidates too: pass accelerator_config={"dispatch_batches": False} in TrainingArguments.'
            )

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        seed = args.seed if args.data_seed is None else args.data_seed
        for listener in list(LISTENERS):
            listener.set_run(seed, int(state.epoch or 0))

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """
        Raises:
            ValueError: an evaluation that leaves videos out.
        """
        loader: Any = kwargs.get("eval_dataloader")
        _tell(loader)
        if not (args.dataloader_drop_last and is_ours(kwargs.get("model")) and has_length(loader.dataset)):
            return
        total, batch = len(loader.dataset), args.eval_batch_size * max(args.world_size, 1)
        if total % batch:
            raise ValueError(
                f"dataloader_drop_last=True would leave {total % batch} of {total} videos out of the evaluation: set "
                "it to False, or per_device_eval_batch_size to a divisor."
            )


def check_processes(world_size: int) -> None:
    """Look at what a launcher left in the environment.

    Args:
        world_size: processes that train together, as this one sees it.

    Raises:
        ValueError: more were asked for.
    """
    started = max(int(os.environ.get(name) or 1) for name in _SIZES)
    if world_size > 1:
        return
    if started > 1:
        raise ValueError(
            f"{started} processes were started, and each would train for itself: without GPUs they find each other "
            "with use_cpu=True in TrainingArguments."
        )
    # accelerate sets an address for processes to meet at when it is asked for several.
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ
    if launched and not any(name in os.environ for name in _SIZES):
        raise ValueError(
            "accelerate launch was asked for several processes and started this one: on CPUs it leaves others to MPI. "
            "Start them with torchrun --nproc_per_node N, or say --num_processes 1."
        )


def is_ours(model: Any) -> bool:
    """Whether a model is one of this package, perhaps with adapters of peft around it."""
    return isinstance(model.get_base_model() if hasattr(model, "get_base_model") else model, ZSARPreTrainedModel)


def _tell(loader: Any) -> None:
    """Have a collator say, once and not in every worker, what is wrong with the candidates of a loader."""
    collate = getattr(loader, "collate_fn", None)
    collator: Any = getattr(collate, "data_collator", collate)  # `Trainer` wraps it
    names = getattr(getattr(loader, "dataset", None), "candidates", None)
    if names is not None and hasattr(collator, "tell"):
        collator.tell(names)


def listen(listener: Listener) -> None:
    """Have a `Trainer` tell `listener` its seed and every epoch, as long as the object lives."""
    LISTENERS.add(listener)


def _of_its_own_data(get_loader: Callable[..., Any]) -> Callable[..., Any]:
    """`Trainer.get_eval_dataloader` for our data sets. With workers that live on, the stock one keeps the loader of
    the first data set that `evaluate` was given, and measures that one again when it is given another."""

    @functools.wraps(get_loader)
    def get_eval_dataloader(self: Trainer, eval_dataset: Any = None) -> Any:
        wanted = self.eval_dataset if eval_dataset is None else eval_dataset
        kept: dict[str, Any] = getattr(self, "_eval_dataloaders", {})
        ours = isinstance(wanted, (CandidateRows, CandidateStream))
        if ours and "eval" in kept and kept["eval"].dataset is not wanted:
            del kept["eval"]
        return get_loader(self, eval_dataset)

    return get_eval_dataloader


_callbacks: list[Any] = DEFAULT_CALLBACKS
_trainer: Any = Trainer
if TrainerRules not in _callbacks:
    _callbacks.append(TrainerRules)
    _trainer.get_eval_dataloader = _of_its_own_data(Trainer.get_eval_dataloader)


__all__ = ["TrainerRules", "check_processes", "listen"]
