"""Options of the stock `Trainer`, each tried with each method on tiny models: the table in `train_scripts/README.md`.

An option is a function that takes a `Bench`, raises where something is wrong, and ends where all is well; `Refused` is
raised by `expect_refusal` when the option was refused in the words that it asked for.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import datasets
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Video
from transformers import AutoModel, EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.integrations import integration_utils

from hf_zsar.data import load_video_dataset
from hf_zsar.training import (
    ClipAugmentation,
    VideoTextCollator,
    class_accuracy,
    freeze,
    parameter_counts,
    with_candidates,
)
from hf_zsar.training.dry_run import dry_run
from tests.tiny_models import tiny_model, tiny_processor
from tests.training.runs import start_of, tiny_recipe


class Refused(Exception):
    """The option was refused, in words that say why."""


class Inapplicable(Exception):
    """The method has nothing of the kind."""


@contextmanager
def expect_refusal(words: str, kind: type[Exception] = ValueError) -> Iterator[None]:
    """Raises `Refused` if the block does as it should."""
    with pytest.raises(kind, match=words):
        yield
    raise Refused


@dataclass
class Bench:
    """A method, its data, and what `Trainer` makes of them.

    Args:
        method: as in `hf_zsar.METHODS`.
        videos: folder of `write_rendered`.
        folder: for whatever the options write.
    """

    method: str
    videos: Path
    folder: Path
    config: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def dataset(self) -> datasets.Dataset:
        return load_video_dataset(self.videos)

    @property
    def names(self) -> list[str]:
        return self.dataset.features["label"].names

    def new_model(self, seed: int = 0, prototypes: bool = False, **config: Any) -> Any:
        classes = {"seen_class_names": self.names} if self.method == "rest" else {}
        model = tiny_model(self.method, seed, **{**classes, **self.config, **config})
        if self.method == "rest" and not prototypes:
            model.seen_counts.zero_()  # those of training that has not been
        return model

    @cached_property
    def processor(self) -> Any:
        return tiny_processor(self.method)

    def trainer(self, model: Any = None, **options: Any) -> Trainer:
        """Two updates of four videos, unless `options` (of the Trainer or of its arguments) say otherwise."""
        model = self.new_model() if model is None else model
        named = {"train_dataset", "eval_dataset", "data_collator", "compute_metrics", "callbacks"}
        named |= {"preprocess_logits_for_metrics", "processing_class"}
        parts = {name: options.pop(name) for name in named & set(options)}
        defaults = {"max_steps": 2, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "save_strategy": "no"}
        quiet = {"report_to": "none", "disable_tqdm": True, "logging_steps": 1, "use_cpu": True}
        arguments = TrainingArguments(str(self.folder), **{**defaults, **quiet, **options})
        return Trainer(
            model=model,
            args=arguments,
            **{
                "data_collator": VideoTextCollator.for_model(model, self.processor),
                "train_dataset": with_candidates(self.dataset, training=True),
                "eval_dataset": with_candidates(self.dataset),
                "compute_metrics": class_accuracy,
                **parts,
            },
        )

    def trained(self, trainer: Trainer) -> Trainer:
        """Train, and see that the loss is a number and that weights move."""
        before = [parameter.detach().clone() for parameter in trainer.model.parameters() if parameter.requires_grad]
        trainer.train()
        losses = [record["loss"] for record in trainer.state.log_history if "loss" in record]
        assert losses and np.isfinite(losses).all(), losses
        after = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
        assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)), "no weight moved"
        return trainer


CLASSES = ["cooking", "surfing", "riding a bike", "running", "swimming", "zebra crossing", "reading", "a dog"]


def noisy_rows(classes: list[str], count: int) -> list[dict[str, Any]]:
    """Rows of videos that look nothing like each other, in memory."""
    random = np.random.default_rng(len(classes))
    slopes = np.linspace(0, random.integers(-150, 150, (count, 1, 1, 1)), 32, axis=3)[..., 0, :, None]
    noise = random.integers(-60, 60, (count, 6, 32, 32, 3)) * random.integers(0, 3, (count, 1, 1, 1, 1))
    videos = (random.integers(0, 256, (count, 1, 1, 1, 3)) + noise + slopes).clip(0, 255).astype(np.uint8)
    return [{"video": video, "label": classes[i % len(classes)]} for i, video in enumerate(videos)]


def lively(method: str) -> Any:
    """A model that does not name the same class for every video; ResT with prototypes."""
    model = tiny_model(method, seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6.0)
    return model


def measured_sets() -> dict[str, tuple[list[dict[str, Any]], list[str]]]:
    """Evaluation sets by name: seen classes, unseen ones, and all, and the candidates of each."""
    lists = {"seen": CLASSES[:4], "unseen": CLASSES[4:], "generalized": CLASSES}
    classes = {"seen": CLASSES[:4], "unseen": CLASSES[4:7], "generalized": CLASSES[1:6]}
    return {name: (noisy_rows(classes[name], 7 + len(name) % 3), names) for name, names in lists.items()}


def recorded_draws(trainer: Trainer, **train: Any) -> dict[int, list[float]]:
    """Train; epoch -> a number for every clip that the model was given, sorted. Equal clips have equal numbers."""
    draws: dict[int, list[float]] = {}

    def record(module: Any, args: Any, inputs: dict[str, Any]) -> None:
        if module.training:
            sums = inputs["pixel_values_videos"].double().flatten(1).sum(1)
            draws.setdefault(int(trainer.state.epoch or 0), []).extend(round(value, 4) for value in sums.tolist())

    handle = trainer.model.register_forward_pre_hook(record, with_kwargs=True)
    trainer.train(**train)
    handle.remove()
    return {epoch: sorted(values) for epoch, values in draws.items()}


def check_draws(draws: dict[int, list[float]], epochs: int = 3, videos: int = 12) -> None:
    """No clip is like another, within an epoch or in two."""
    assert [len(values) for values in draws.values()] == [videos] * epochs
    assert len({value for values in draws.values() for value in values}) == videos * epochs


OPTIONS: dict[str, Callable[[Bench], None]] = {}


def option(title: str) -> Callable[[Callable[[Bench], None]], Callable[[Bench], None]]:
    """Add a row to the table."""

    def add(function: Callable[[Bench], None]) -> Callable[[Bench], None]:
        OPTIONS[title] = function
        return function

    return add


def outcome(title: str, bench: Bench) -> str:
    """What the cell of the table says: `"yes"`, `"refused"`, or a dash; anything else is an error."""
    try:
        OPTIONS[title](bench)
    except Refused:
        return "refused"
    except Inapplicable:
        return "–"
    return "yes"


# -- data -------------------------------------------------------------------------------------------------------------


@option("`label` as `ClassLabel`, number or name; a column `labels`")
def label_columns(bench: Bench) -> None:
    plain = [{"video": row["video"]["path"], "label": row["label"]} for row in bench.dataset]
    named = [{"video": row["video"], "labels": bench.names[row["label"]]} for row in plain]
    expected = bench.trainer().predict(with_candidates(bench.dataset))
    for rows in (
        with_candidates(plain, bench.names),
        with_candidates(named),
        with_candidates(datasets.Dataset.from_list(named)),
        with_candidates(datasets.Dataset.from_list(named).cast_column("labels", ClassLabel(names=bench.names))),
    ):
        given = bench.trainer().predict(rows)
        assert np.array_equal(given.predictions, expected.predictions)
        assert np.array_equal(given.label_ids, expected.label_ids)


@option("`video` as path, bytes, `Video(decode=False)` or `Video()`")
def video_columns(bench: Bench) -> None:
    rows = bench.dataset.select(range(3))
    expected = bench.trainer().predict(with_candidates(rows)).predictions
    paths = [row["video"]["path"] for row in rows]
    labels = {"label": rows["label"][:]}
    kinds = {
        "paths": datasets.Dataset.from_dict({"video": paths, **labels}),
        "bytes": datasets.Dataset.from_dict({"video": [Path(path).read_bytes() for path in paths], **labels}),
        "decoded": datasets.Dataset.from_dict({"video": paths, **labels}).cast_column("video", Video()),
    }
    for kind, dataset in kinds.items():
        given = bench.trainer().predict(with_candidates(dataset, bench.names)).predictions
        assert np.array_equal(given, expected), kind


@option("a missing column")
def missing_column(bench: Bench) -> None:
    with expect_refusal("'clip', 'index', 'label'.*for the video"):
        bench.trainer(train_dataset=with_candidates(bench.dataset.rename_column("video", "clip"), training=True))


@option("`remove_unused_columns`, at its default and `False`")
def unused_columns(bench: Bench) -> None:
    assert bench.trainer().args.remove_unused_columns
    expected = bench.trainer().predict(with_candidates(bench.dataset)).predictions
    kept = bench.trained(bench.trainer(remove_unused_columns=False))
    assert kept.predict(with_candidates(bench.dataset)).predictions.shape == expected.shape


@option("a data set without `with_candidates`")
def bare_rows(bench: Bench) -> None:
    with pytest.raises(ValueError, match="judged against.*with_candidates"):
        bench.trainer(train_dataset=bench.dataset, remove_unused_columns=False).train()
    with expect_refusal("with_candidates", KeyError):
        bench.trainer(train_dataset=bench.dataset).train()


@option("streaming, `IterableDataset`")
def streaming(bench: Bench) -> None:
    stream = load_video_dataset(bench.videos, streaming=True)
    bench.trained(bench.trainer(train_dataset=with_candidates(stream, training=True)))
    whole, streamed = bench.trainer(), bench.trainer(eval_dataset=with_candidates(stream), dataloader_num_workers=1)
    assert accuracies(streamed.evaluate()) == accuracies(whole.evaluate())


def accuracies(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if "top" in name or "mean_class" in name}


# -- loading ----------------------------------------------------------------------------------------------------------


@option("`dataloader_num_workers`, `dataloader_prefetch_factor`")
def workers(bench: Bench) -> None:
    bench.trained(bench.trainer(dataloader_num_workers=2, dataloader_prefetch_factor=1))


@option("`dataloader_persistent_workers`")
def persistent_workers(bench: Bench) -> None:
    trainer = bench.trainer(dataloader_num_workers=1, dataloader_persistent_workers=True)
    bench.trained(trainer)
    other = with_candidates(bench.dataset, [*bench.names, "blue rising"])
    whole = bench.trainer(trainer.model)
    for rows in (None, other, None, {"first": with_candidates(bench.dataset), "second": other}):
        expected = {name: value for name, value in whole.evaluate(rows).items() if "loss" in name}
        metrics = trainer.evaluate(rows)
        assert {name: metrics[name] for name in expected} == expected


@option('`dataloader_multiprocessing_context="fork"`, `"forkserver"`')
def fork(bench: Bench) -> None:
    for context in ("fork", "forkserver"):
        bench.trained(bench.trainer(dataloader_num_workers=1, dataloader_multiprocessing_context=context))


@option('`dataloader_multiprocessing_context="spawn"`')
def spawn(bench: Bench) -> None:
    bench.trained(bench.trainer(dataloader_num_workers=1, dataloader_multiprocessing_context="spawn"))


@option("a collator that is pickled")
def pickled(bench: Bench) -> None:
    collator = pickle.loads(pickle.dumps(bench.trainer().data_collator))
    bench.trained(bench.trainer(data_collator=collator))


@option("`dataloader_drop_last` in training")
def drop_last(bench: Bench) -> None:
    bench.trained(bench.trainer(dataloader_drop_last=True))


@option("`dataloader_drop_last` where an evaluation would lose videos")
def drop_last_in_evaluation(bench: Bench) -> None:
    assert bench.trainer(dataloader_drop_last=True, per_device_eval_batch_size=4).evaluate()["eval_top1"] >= 0
    with expect_refusal("2 of 12 videos"):
        bench.trainer(dataloader_drop_last=True, per_device_eval_batch_size=5).evaluate()


@option('`train_sampling_strategy="sequential"`')
def sequential(bench: Bench) -> None:
    bench.trained(bench.trainer(train_sampling_strategy="sequential"))


@option('`train_sampling_strategy="group_by_length"`, `"batch_rebalance"`')
def by_length(bench: Bench) -> None:
    with pytest.raises(ValueError, match="batch_rebalance"):
        bench.trainer(train_sampling_strategy="batch_rebalance")
    with expect_refusal("same number of frames"):
        bench.trainer(train_sampling_strategy="group_by_length")


# -- epochs -----------------------------------------------------------------------------------------------------------


def three_epochs(bench: Bench, **options: Any) -> Trainer:
    """A `Trainer` whose clips are cropped at random, so that no two draws are alike."""
    model, augmentation = bench.new_model(), ClipAugmentation(size=32, cropping="random_resized", flip=0.0)
    collator = VideoTextCollator.for_model(model, bench.processor, augmentation=augmentation)
    return bench.trainer(model, data_collator=collator, max_steps=-1, num_train_epochs=3, **options)


@option("frames, crops and templates differ from epoch to epoch")
def epochs(bench: Bench) -> None:
    draws = recorded_draws(three_epochs(bench))
    check_draws(draws)
    assert recorded_draws(three_epochs(bench)) == draws
    assert recorded_draws(three_epochs(bench, seed=43)) != draws


@option("the same with workers that live through epochs")
def persistent_epochs(bench: Bench) -> None:
    options = {"dataloader_num_workers": 2, "dataloader_persistent_workers": True}
    assert recorded_draws(three_epochs(bench, **options)) == recorded_draws(three_epochs(bench))


@option("the same resumed in the middle of an epoch")
def resumed_epochs(bench: Bench) -> None:
    saving = {"save_strategy": "steps", "save_steps": 2, "dataloader_num_workers": 1}
    whole = recorded_draws(three_epochs(bench, **saving))
    checkpoint = str(bench.folder / "checkpoint-4")
    again = recorded_draws(three_epochs(bench, **saving), resume_from_checkpoint=checkpoint)
    assert sorted(again) == [1, 2] and again[2] == whole[2]
    assert len(again[1]) == 8 and set(again[1]) < set(whole[1])


# -- evaluation -------------------------------------------------------------------------------------------------------


@option("`compute_metrics`, `label_names` and `keys_to_ignore_at_inference` at their defaults")
def defaults(bench: Bench) -> None:
    trainer = bench.trainer()
    assert trainer.label_names == ["labels"]
    given = trainer.predict(with_candidates(bench.dataset))
    assert given.predictions.shape == (12, 4), "the logits alone"
    assert given.label_ids.shape == (12,) and "test_top1" in given.metrics
    assert {"eval_loss"} == {name for name in bench.trainer(compute_metrics=None).evaluate() if "loss" in name}


@option("`evaluate`, `predict`, several evaluation sets")
def several_sets(bench: Bench) -> None:
    more = [*bench.names, "blue rising"]
    trainer = bench.trainer(
        eval_dataset={"seen": with_candidates(bench.dataset), "all": with_candidates(bench.dataset, more)}
    )
    metrics = trainer.evaluate()
    assert {
        f"eval_{name}_{key}" for name in ("seen", "all") for key in ("top1", "top5", "mean_class_accuracy", "loss")
    } <= set(metrics)
    assert trainer.predict(with_candidates(bench.dataset, more)).predictions.shape == (12, 5)


@option("`preprocess_logits_for_metrics`, `include_for_metrics`")
def preprocess(bench: Bench) -> None:
    def share(prediction: Any) -> dict[str, float]:
        assert prediction.inputs.shape[0] == prediction.losses.shape[0] == 12
        return {"share": float((prediction.predictions == prediction.label_ids).mean())}

    options = {"preprocess_logits_for_metrics": lambda logits, labels: logits.argmax(-1)}
    trainer = bench.trainer(compute_metrics=share, include_for_metrics=["inputs", "loss"], **options)
    assert trainer.evaluate()["eval_share"] == bench.trainer().evaluate()["eval_top1"]


@option("`eval_accumulation_steps`, `eval_do_concat_batches=False`")
def accumulated_evaluation(bench: Bench) -> None:
    expected = bench.trainer().evaluate()
    for changes in ({"eval_accumulation_steps": 1}, {"eval_do_concat_batches": False}):
        assert accuracies(bench.trainer(per_device_eval_batch_size=5, **changes).evaluate()) == accuracies(expected)


@option("`load_best_model_at_end`, `metric_for_best_model`, early stopping")
def best_model(bench: Bench) -> None:
    trainer = bench.trainer(
        max_steps=4,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        save_total_limit=2,
        learning_rate=3e-3,
        callbacks=[EarlyStoppingCallback(1)],
    )
    bench.trained(trainer)
    history = {log["step"]: log for log in trainer.state.log_history if "eval_loss" in log}
    assert trainer.state.best_metric == min(log["eval_loss"] for log in history.values())
    best = AutoModel.from_pretrained(trainer.state.best_model_checkpoint)
    logged = history[int(Path(trainer.state.best_model_checkpoint).name.rpartition("-")[2])]
    for model in (trainer.model, best):
        metrics = bench.trainer(model).evaluate()
        assert metrics["eval_top1"] == logged["eval_top1"]
        assert metrics["eval_loss"] == pytest.approx(logged["eval_loss"], abs=1e-5)


# -- optimization -----------------------------------------------------------------------------------------------------


@option("`gradient_accumulation_steps`")
def accumulation(bench: Bench) -> None:
    trainer = bench.trained(bench.trainer(per_device_train_batch_size=2, gradient_accumulation_steps=2))
    assert trainer.state.log_history[0]["loss"] < 20, "a mean, not a sum"


@option("`gradient_checkpointing`")
def checkpointing(bench: Bench) -> None:
    for option in ("gradient_checkpointing", "activation_checkpointing"):
        trainer = bench.trained(bench.trainer(**{option: True}))
        assert any(getattr(module, "gradient_checkpointing", False) for module in trainer.model.modules()), option


@option("`bf16`, `bf16_full_eval`")
def bf16(bench: Bench) -> None:
    trainer = bench.trained(bench.trainer(bf16=True))
    assert np.isfinite(trainer.evaluate()["eval_loss"])
    for options in ({"bf16": True}, {"bf16_full_eval": True}):
        trainer = bench.trainer(bench.new_model(prototypes=True), **options)
        assert np.isfinite(trainer.evaluate()["eval_loss"])


@option("`fp16` without a GPU")
def fp16(bench: Bench) -> None:
    with expect_refusal("fp16 needs a GPU"):
        bench.trainer(fp16=True)


@option("`torch_compile`, with the backend `eager`")
def compiled(bench: Bench) -> None:
    trainer = bench.trained(bench.trainer(torch_compile=True, torch_compile_backend="eager"))
    assert np.isfinite(trainer.evaluate()["eval_loss"])


@option("`report_to`, a string")
def report(bench: Bench) -> None:
    logged: list[dict[str, float]] = []

    class Reporter(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            logged.append(dict(logs))

    with mock.patch.dict(integration_utils.INTEGRATION_TO_CALLBACK, {"notebook": Reporter}):
        bench.trained(bench.trainer(report_to="notebook")).evaluate()
    assert any("loss" in each for each in logged) and any("eval_top1" in each for each in logged)


@option("`label_smoothing_factor`")
def smoothing(bench: Bench) -> None:
    with expect_refusal("label_smoothing_factor"):
        bench.trainer(label_smoothing_factor=0.1)


@option("`neftune_noise_alpha`, `optim`, `lr_scheduler_type`")
def others(bench: Bench) -> None:
    bench.trained(
        bench.trainer(neftune_noise_alpha=5.0, optim="adafactor", lr_scheduler_type="cosine", warmup_steps=1)
    )


@option("frozen batch norms keep their statistics")
def batch_norms(bench: Bench) -> None:
    model = bench.new_model()
    if not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules()):
        raise Inapplicable
    freeze(model, ["vision"])
    before = {name: buffer.clone() for name, buffer in model.named_buffers() if "running" in name}
    bench.trained(bench.trainer(model))
    assert before and all(torch.equal(before[name], dict(model.named_buffers())[name]) for name in before)


@option("training a class head on other classes")
def other_classes(bench: Bench) -> None:
    if bench.new_model().training_classes is None:
        raise Inapplicable
    with expect_refusal(r"class head|collator was made for \['a', 'b'\]"):
        bench.trainer(bench.new_model(seen_class_names=["a", "b"], num_seen_classes=2)).train()


# -- adapters ---------------------------------------------------------------------------------------------------------


@option("parts that are frozen")
def frozen(bench: Bench) -> None:
    model = bench.new_model()
    freeze(model, ["text", "vision"])
    still = [p for n, p in model.named_parameters() if model.role_of(n) in ("text", "vision")]
    before = [p.clone() for p in still]
    counts = parameter_counts(model)
    assert counts["text"][0] == counts["vision"][0] == 0 < counts["scale"][0]
    bench.trained(bench.trainer(model))
    assert all(torch.equal(a, b) for a, b in zip(before, still, strict=True))


@option("LoRA by `peft.get_peft_model`")
def peft_model(bench: Bench) -> None:
    import peft

    import hf_zsar

    base = bench.folder / "base"
    bench.new_model().save_pretrained(base)
    bench.processor.save_pretrained(base)
    config = peft.LoraConfig(r=2, target_modules=list(bench.new_model().lora_targets), lora_dropout=0.0)
    model = peft.get_peft_model(AutoModel.from_pretrained(base), config)
    trainer = bench.trained(bench.trainer(model, max_steps=3, learning_rate=3e-2))
    with_adapter = trainer.predict(with_candidates(bench.dataset)).predictions
    with model.disable_adapter():
        without = trainer.predict(with_candidates(bench.dataset)).predictions
    assert np.abs(with_adapter - without).max() > 1e-4, "the adapter does nothing"
    assert np.allclose(without, bench.trainer().predict(with_candidates(bench.dataset)).predictions, atol=1e-5)
    model.save_pretrained(bench.folder / "adapter")
    bench.processor.save_pretrained(bench.folder / "adapter")
    merged = model.merge_and_unload()
    assert np.allclose(
        bench.trainer(merged).predict(with_candidates(bench.dataset)).predictions, with_adapter, atol=1e-4
    )
    merged.save_pretrained(bench.folder / "merged")
    bench.processor.save_pretrained(bench.folder / "merged")
    video = bench.dataset[0]["video"]["path"]
    answers = [
        {
            each["label"]: each["score"]
            for each in hf_zsar.pipeline(str(bench.folder / name))(video, candidate_labels=bench.names)
        }
        for name in ("adapter", "merged")
    ]
    assert answers[0] == pytest.approx(answers[1], abs=1e-4)


@option("LoRA by `model.add_adapter`")
def add_adapter(bench: Bench) -> None:
    import peft

    model = bench.new_model()
    plain = bench.trainer(model).predict(with_candidates(bench.dataset)).predictions
    model.add_adapter(peft.LoraConfig(r=2, target_modules=list(model.lora_targets)))
    counts = parameter_counts(model)
    assert counts["vision"][0] + counts["text"][0] > 0 == counts["scale"][0]
    trainer = bench.trained(bench.trainer(model, max_steps=3, learning_rate=3e-2))
    tuned = trainer.predict(with_candidates(bench.dataset)).predictions
    assert np.abs(tuned - plain).max() > 1e-4, "the adapter does nothing"
    model.save_pretrained(bench.folder / "added")
    again = bench.new_model()
    again.load_adapter(str(bench.folder / "added"))
    assert np.allclose(bench.trainer(again).predict(with_candidates(bench.dataset)).predictions, tuned, atol=1e-5)


@option("`hf-zsar train --dry-run`")
def dry(bench: Bench) -> None:
    """What it prints and draws is looked at by `test_the_dry_run_says_what_would_be_trained_and_draws_a_batch`."""
    recipe = tiny_recipe(bench.method, bench.videos, start_of(bench.method, bench.folder / "start"), bench.folder)
    lines = list(dry_run(recipe))
    assert {"vision", "text", "scale"} <= {line.split()[0] for line in lines}
    assert any(f"{recipe.optimization.epochs} epochs" in line for line in lines)
    assert lines[-1].endswith("batch.png") and (bench.folder / "batch.png").is_file()
