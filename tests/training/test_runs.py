"""Whole runs of every method, both ways: they end, load, resume bit for bit, and survive being interrupted."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import re
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from transformers import AutoModel, AutoProcessor, Trainer, TrainingArguments

from hf_zsar import METHODS
from hf_zsar.cli import main
from hf_zsar.clips.datasets import load_video_dataset
from hf_zsar.processing.text_files import TextFileError
from hf_zsar.training import checkpoints as checkpoints_module
from hf_zsar.training.collator import VideoTextCollator
from hf_zsar.training.dry_run import as_pictures
from hf_zsar.training.history import read_history, write_history
from hf_zsar.training.loop import train
from hf_zsar.training.optimization import parameter_counts
from hf_zsar.training.recipe import RecipeError
from hf_zsar.training.setup import prepare_run
from hf_zsar.training.trainer import ZSARTrainer, epoch_of
from hf_zsar.training.with_trainer import train_with_trainer
from tests.tiny_models import tiny_folder, tiny_model, tiny_processor
from tests.training.runs import WAYS, largest_difference, tiny_recipe, weights_of


RUN = {"accelerate": train, "trainer": train_with_trainer}


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def whole(rendered, start, tmp_path_factory):
    """(method, way) -> the recipe of an uninterrupted run and its output."""
    done = {}

    def run(method, way):
        if (method, way) not in done:
            recipe = tiny_recipe(
                method, rendered, start(method), tmp_path_factory.mktemp("whole") / "out", save_steps=2
            )
            done[method, way] = recipe, RUN[way](recipe)
        return done[method, way]

    return run


def stop_at(step, monkeypatch):
    """Make the Trainer raise when it has made so many updates."""
    original = Trainer.training_step

    def training_step(self, *args, **kwargs):
        if self.state.global_step >= step:
            raise Killed
        return original(self, *args, **kwargs)

    monkeypatch.setattr(ZSARTrainer, "training_step", training_step)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_trains_both_ways_and_its_output_loads(method, way, whole, rendered):
    recipe, output = whole(method, way)
    model, processor = AutoModel.from_pretrained(output), AutoProcessor.from_pretrained(output)
    labels = ["red rising", "green falling"]
    inputs = processor(videos=str(rendered / "red rising" / "0.mp4"), labels=labels)
    with torch.no_grad():
        assert model.eval()(**inputs).logits_per_video.isfinite().all()
    start = recipe.model.pretrained
    if start is not None:
        before = weights_of(Path(start))
        assert any((tensor != before[name]).any() for name, tensor in weights_of(output).items())
    if method == "rest":
        assert model.seen_counts.tolist() == [3, 3, 3, 3]
        assert model.config.seen_class_names == sorted(path.name for path in rendered.iterdir())


@pytest.mark.parametrize(("method", "way"), [("rest", "accelerate"), ("stdd", "accelerate"), ("rest", "trainer")])
def test_resuming_equals_the_uninterrupted_run_bit_for_bit(method, way, whole, tmp_path, monkeypatch):
    """ResT draws dropout and negatives, STDD masks: the random states must be back, within an epoch too."""
    recipe, output = whole(method, way)
    recipe = dataclasses.replace(recipe, output=str(tmp_path / "out"))
    if way == "accelerate":
        train(recipe, max_steps=5)
    else:
        with monkeypatch.context() as patch, pytest.raises(Killed):
            stop_at(5, patch)
            train_with_trainer(recipe)
    assert not (tmp_path / "out" / "config.json").exists()
    assert (tmp_path / "out" / "checkpoint-4").is_dir()
    RUN[way](recipe, resume=True)
    assert largest_difference(output, tmp_path / "out") == 0
    if way == "accelerate":
        assert json.loads((output / "history.json").read_text()) == json.loads(
            (tmp_path / "out" / "history.json").read_text()
        )


def test_workers_change_nothing(whole, tmp_path):
    recipe, output = whole("actionclip", "accelerate")
    data = dataclasses.replace(recipe.data, workers=2)
    train(dataclasses.replace(recipe, output=str(tmp_path / "out"), data=data))
    assert largest_difference(output, tmp_path / "out") == 0


def test_checkpoints_within_an_epoch_make_room_for_each_other(whole):
    _, output = whole("rest", "accelerate")
    assert [path.name for path in checkpoints_module.checkpoints(output)] == ["checkpoint-3", "checkpoint-6"]
    assert not [path for path in output.iterdir() if path.name.startswith(".")]


def test_a_run_is_not_continued_or_overwritten_unasked(whole):
    for way in WAYS:
        recipe, _ = whole("rest", way)
        with pytest.raises(RecipeError, match="resume"):
            RUN[way](recipe)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("moment", ["weights", "state", "rename"])
def test_a_checkpoint_is_whole_or_not_there(way, moment, rendered, start, tmp_path, monkeypatch):
    """Fail at three moments of the second saving: the first checkpoint stands, and the run goes on from it."""
    recipe = tiny_recipe("actionclip", rendered, start("actionclip"), tmp_path / "out")
    names = {
        "accelerate": {
            "weights": "transformers.PreTrainedModel.save_pretrained",
            "state": "accelerate.Accelerator.save_state",
            "rename": "hf_zsar.files.os.rename",
        },
        "trainer": {
            "weights": "transformers.Trainer.save_model",
            "state": "transformers.Trainer._save_optimizer_and_scheduler",
            "rename": "hf_zsar.files.os.rename",
        },
    }
    with monkeypatch.context() as patch, pytest.raises(Killed):
        fail_after(1, names[way][moment], patch)
        RUN[way](recipe)
    out = tmp_path / "out"
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-3"]
    assert AutoModel.from_pretrained(out / "checkpoint-3")
    RUN[way](recipe, resume=True)
    assert {path.name for path in out.glob("checkpoint-*")} == {"checkpoint-3", "checkpoint-6"}


def fail_after(good, target, monkeypatch):
    """The function named `target` works `good` times, then raises."""
    owner, name = target.rsplit(".", 1)
    parts, owner_object = owner.split("."), None
    for cut in range(len(parts), 0, -1):
        try:
            owner_object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            owner_object = getattr(owner_object, part)
        break
    original, calls = getattr(owner_object, name), []

    def function(*args, **kwargs):
        calls.append(args)
        if len(calls) > good:
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(owner_object, name, function)


@pytest.mark.parametrize("method", list(METHODS))
def test_the_stock_trainer_trains_every_method(method, rendered, tmp_path):
    """No class of ours but the collator and the model."""
    dataset = load_video_dataset(rendered)
    names = dataset.features["label"].names
    model, processor = tiny_model(method), tiny_processor(method)
    if method == "rest":
        model = tiny_model(method, seen_class_names=names, num_seen_classes=len(names))
        model.seen_counts.zero_()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=4,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        learning_rate=1e-3,
        remove_unused_columns=False,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
    )
    collator = VideoTextCollator.for_model(model, processor, names)
    trainer = Trainer(model=model, args=arguments, train_dataset=dataset, data_collator=collator)
    result = trainer.train()
    assert result.global_step == 4
    losses = [record["loss"] for record in trainer.state.log_history if "loss" in record]
    assert all(0 < loss < 20 for loss in losses), losses  # a mean over accumulated batches, not their sum
    moved = [name for name, p in model.named_parameters() if (p != before[name]).any()]
    assert len(moved) > len(before) / 2


def test_the_collator_says_why_columns_are_missing():
    collator = VideoTextCollator(tiny_processor("rest"), ["a", "b"])
    with pytest.raises(KeyError, match="remove_unused_columns=False"):
        collator([{"label": 1}])
    with pytest.raises(KeyError, match="no 'label'"):
        collator([{"video": "a.mp4"}])


def test_accumulation_equals_the_large_batch(rendered, start, tmp_path):
    """STDD's loss is a mean over videos: two batches of 2 give the gradient of one of 4."""
    config = {**start("stdd")}
    options = {"learning_rates": {"default": 1.0}, "eps": 1.0, "clip_grad": 0.0, "epochs": 1}
    fields = {"use_stca": False, "train_text_tower": False}
    config["fields"] = fields
    small = tiny_recipe(
        "stdd", rendered, config, tmp_path / "small", optimization={**options, "batch_size": 2, "accumulation": 2}
    )
    large = tiny_recipe("stdd", rendered, config, tmp_path / "large", optimization=options)
    assert largest_difference(train(small), train(large)) < 1e-5


@pytest.mark.parametrize("options", [{"save_strategy": "no"}, {"save_strategy": "epoch", "save_total_limit": 1}])
def test_an_average_of_checkpoints_that_are_not_kept_is_refused(options, tmp_path):
    arguments = TrainingArguments(str(tmp_path), report_to="none", use_cpu=True, **options)
    with pytest.raises(ValueError, match="average_from needs"):
        ZSARTrainer(model=tiny_model("actionclip"), args=arguments, average_from=1)


@pytest.mark.parametrize("way", WAYS)
def test_averaging_and_evaluation(rendered, start, tmp_path, way):
    recipe = tiny_recipe(
        "actionclip",
        rendered,
        start("actionclip"),
        tmp_path / "out",
        averaging={"first_epoch": 1},
        data={"eval_classes": ["red coming", "red leaving"]},
        optimization={"batch_size": 3},
        log_steps=1,
    )
    assert prepare_run(recipe).label_names == ["red falling", "red rising"], "the others are left out of training"
    output = RUN[way](recipe)
    first, second = (weights_of(output / f"checkpoint-{step}") for step in (2, 4))
    for name, tensor in weights_of(output).items():
        torch.testing.assert_close(tensor, ((first[name].double() + second[name].double()) / 2).float())
    history = json.loads((output / "history.json").read_text())
    assert [record["epoch"] for record in history] == [0, 1, 2]
    assert all(0 <= record["top1"] <= 1 for record in history)
    assert all(record["loss"] > 0 for record in history[1:])
    assert (output / "curve.png").stat().st_size > 5000


def strict(text):
    """As JSON without NaN and infinities, which other readers refuse."""
    return json.loads(text, parse_constant=pytest.fail)


def test_a_loss_that_is_no_number_is_kept_as_strict_json_has_it(rendered, start, tmp_path):
    recipe = tiny_recipe("actionclip", rendered, start("actionclip"), tmp_path)
    history = [{"epoch": 1, "loss": math.nan}, {"epoch": 2, "loss": math.inf}]
    accelerator, run = Accelerator(cpu=True), prepare_run(recipe)
    progress = checkpoints_module.Progress(2, 1, 7, math.nan, history)
    checkpoints_module.save_checkpoint(accelerator, run.model, run, progress)
    (folder,) = checkpoints_module.checkpoints(tmp_path)
    content = strict((folder / "progress.json").read_text())
    assert [record["loss"] for record in content["history"]] == [None, None]
    again = checkpoints_module.read_progress(folder)
    assert (again.epoch, again.batches, again.step) == (2, 1, 7) and math.isnan(again.loss_sum)
    write_history(again.history, tmp_path)
    assert read_history(tmp_path) == strict((tmp_path / "history.json").read_text())


@pytest.mark.parametrize("damage", ["", '{"epoch": 1', "[]", "3", '{"epoch": "two"}', '[{"loss": 1}]', "[1]", "{}"])
def test_a_damaged_record_is_a_sentence_that_names_the_file(damage, tmp_path):
    """Of how far a run has come, of its course, and of the epoch of a Trainer's checkpoint."""
    readers = {
        "progress.json": checkpoints_module.read_progress,
        "history.json": read_history,
        "trainer_state.json": epoch_of,
    }
    for name, read in readers.items():
        (tmp_path / name).write_text(damage)
        if (name, damage) == ("history.json", "[]"):
            continue
        with pytest.raises(TextFileError, match=name):
            read(tmp_path)


def test_the_command_trains(rendered, start, tmp_path, capsys):
    import yaml

    recipe = dataclasses.asdict(tiny_recipe("rest", rendered, start("rest"), tmp_path / "x"))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    command = ["train", str(tmp_path / "recipe.yaml"), "--set", f"output={tmp_path / 'out'}"]
    assert main([*command, "--set", "optimization.epochs=1"]) == 0
    assert str(tmp_path / "out") in capsys.readouterr().out
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert main(command) == 2
    assert "resume" in capsys.readouterr().err
    assert main([*command, "--set", "optimization.batch_size=100"]) == 2
    assert (
        main([*command[:2], "--with-trainer", "--set", f"output={tmp_path / 'two'}", "--set", "optimization.epochs=1"])
        == 0
    )


@pytest.mark.parametrize("way", WAYS)
def test_what_does_not_fit_is_said_before_any_video_is_read(way, rendered, start, tmp_path, monkeypatch):
    """A class head of another size than the data; roles without a learning rate."""

    def refuse(*args, **kwargs):
        raise AssertionError("decoded")

    monkeypatch.setattr(VideoTextCollator, "__call__", refuse)
    head = tiny_recipe("rest", rendered, {"pretrained": str(tiny_folder("rest", tmp_path / "m"))}, tmp_path / "a")
    with pytest.raises(ValueError, match="class head of 6 classes, the data has 4: .*data.classes"):
        RUN[way](head)
    rates = {"learning_rates": {"head": 1e-3, "text": 1e-4}}
    with pytest.raises(ValueError, match="neither 'default' nor scale, vision; it trains head, scale, text, vision"):
        RUN[way](tiny_recipe("actionclip", rendered, start("actionclip"), tmp_path / "b", optimization=rates))
    assert not list(tmp_path.glob("[ab]/*"))


def test_too_few_videos_and_divergence_are_said(rendered, start, tmp_path):
    with pytest.raises(RecipeError, match="do not fill"):
        train(tiny_recipe("rest", rendered, start("rest"), tmp_path / "a", optimization={"batch_size": 13}))
    with pytest.raises(ValueError, match="learning_rates"):
        train(
            tiny_recipe(
                "rest",
                rendered,
                start("rest"),
                tmp_path / "b",
                optimization={"learning_rates": {"default": 1e30}, "warmup_epochs": 0.0, "clip_grad": 0.0},
            )
        )


def test_both_ways_clip_and_warm_up_alike(rendered, start, tmp_path):
    """One batch an epoch, so that the order of the videos does not count."""
    options = {"batch_size": 12, "epochs": 3, "warmup_epochs": 2.0, "clip_grad": 0.01, "eps": 1.0, "weight_decay": 0.1}
    options["learning_rates"] = {"default": 1.0}

    def run(way, name, **changed):
        recipe = tiny_recipe(
            "actionclip", rendered, start("actionclip"), tmp_path / name, optimization={**options, **changed}
        )
        return RUN[way](recipe)

    expected = run("trainer", "trainer")
    assert largest_difference(run("accelerate", "accelerate"), expected) < 1e-5
    for name, changed in (("unclipped", {"clip_grad": 0.0}), ("at once", {"warmup_epochs": 0.0})):
        assert largest_difference(run("trainer", name, **changed), expected) > 1e-4, name


@pytest.mark.parametrize("way", WAYS)
def test_every_video_is_evaluated_and_every_epoch_drawn_anew(way, rendered, start, tmp_path, monkeypatch):
    data = {"eval_source": str(rendered)}
    recipe = tiny_recipe(
        "actionclip",
        rendered,
        start("actionclip"),
        tmp_path / "out",
        data=data,
        optimization={"batch_size": 5},
    )
    measured, epochs, collate = [], [], VideoTextCollator.__call__

    def counting(self, rows):
        measured.extend(str(row.row["video"]["path"]) for row in rows if not row.training)
        epochs.extend(self.run[1] for row in rows if row.training)
        return collate(self, rows)

    monkeypatch.setattr(VideoTextCollator, "__call__", counting)
    RUN[way](recipe)
    videos = sorted(str(path) for path in rendered.rglob("*.mp4"))
    assert all(sorted(measured[start : start + 12]) == videos for start in (0, 12, 24)) and len(measured) == 36
    assert epochs == [0] * 10 + [1] * 10


def test_the_dry_run_says_what_would_be_trained_and_draws_a_batch(rendered, start, tmp_path, capsys):
    import yaml

    pytest.importorskip("matplotlib")
    recipe = tiny_recipe(
        "actionclip",
        rendered,
        start("actionclip"),
        tmp_path / "out",
        data={"eval_classes": ["red coming"]},
        optimization={"freeze": ["text"], "learning_rates": {"vision": 1e-3, "default": 2e-3}, "accumulation": 2},
    )
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(dataclasses.asdict(recipe)))
    assert main(["train", str(tmp_path / "recipe.yaml"), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    model = prepare_run(recipe).model
    for role, (trained, frozen) in parameter_counts(model).items():
        rate = {"vision": "0.001", "text": "none"}.get(role, "0.002")
        assert re.search(rf"^{role} +{trained:,} +{frozen:,} +{rate}$", shown, re.MULTILINE), role
    assert "9 videos of 3 classes; evaluated on 3 videos of 1 classes" in shown
    assert "2 epochs x 1 updates = 2 updates, each of 4 videos x 2 batches per process; warm-up over 0" in shown
    assert (tmp_path / "out" / "batch.png").stat().st_size > 5000
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["batch.png"]
    assert main(["train", str(tmp_path / "recipe.yaml"), "--dry-run", "--set", "optimization.batch_size=100"]) == 2


def test_a_picture_of_a_batch_shows_the_frames_as_they_were():
    processor = tiny_processor("actionclip").video_processor
    frames = torch.randint(0, 256, (2, 4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(as_pictures(processor.normalize(frames), processor), frames)


def test_a_checkpoint_that_a_kill_kept_makes_room(tmp_path):
    """A process may die between the next checkpoint and the removal of this one, with nothing left to do."""
    for step, batches in ((2, 0), (3, 1), (4, 0), (5, 1)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        progress = checkpoints_module.Progress(step=step, batches=batches)
        (folder / "progress.json").write_text(json.dumps(dataclasses.asdict(progress)))
    checkpoints_module.clean_up(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-2", "checkpoint-4", "checkpoint-5"]
