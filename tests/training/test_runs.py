"""Whole runs of every method: they end, load, resume bit for bit, and survive being interrupted."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import math
import re
import runpy
import shutil
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from transformers import AutoModel, AutoProcessor, Trainer, TrainingArguments

from hf_zsar.cli import main
from hf_zsar.clips.datasets import load_video_dataset
from hf_zsar.processing.text_files import TextFileError
from hf_zsar.processing.video_reading import VideoReadError
from hf_zsar.training import ZSARTrainer, train
from hf_zsar.training.build import prepare_run
from hf_zsar.training.collator import VideoTextCollator
from hf_zsar.training.dry_run import as_pictures
from hf_zsar.training.history import records_of, write_history
from hf_zsar.training.metrics import evaluate_accuracy
from hf_zsar.training.optimization import parameter_counts
from hf_zsar.training.recipe import RecipeError
from hf_zsar.training.run import clean_up
from hf_zsar.training.trainer import checkpoints, epoch_of
from tests.tiny_models import tiny_folder, tiny_model, tiny_processor
from tests.training.process_options import ROOT
from tests.training.runs import TRAINED, largest_difference, tiny_recipe, weights_of


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def whole(rendered, start, tmp_path_factory):
    """method -> the recipe of an uninterrupted run and its output."""

    @functools.cache
    def run(method):
        recipe = tiny_recipe(method, rendered, start(method), tmp_path_factory.mktemp("whole") / "out", save_steps=2)
        return recipe, train(recipe)

    return run


def stop_at(step, monkeypatch):
    """Make the Trainer raise when it has made so many updates."""
    original = Trainer.training_step

    def training_step(self, *args, **kwargs):
        if self.state.global_step >= step:
            raise Killed
        return original(self, *args, **kwargs)

    monkeypatch.setattr(ZSARTrainer, "training_step", training_step)


@pytest.mark.parametrize("method", TRAINED)
def test_every_method_trains_and_its_output_loads(method, whole, rendered):
    recipe, output = whole(method)
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


@pytest.mark.parametrize("method", ["rest", "stdd"])
def test_resuming_equals_the_uninterrupted_run_bit_for_bit(method, whole, tmp_path, monkeypatch):
    """ResT draws dropout and negatives, STDD masks: the random states must be back, within an epoch too."""
    recipe, output = whole(method)
    recipe = dataclasses.replace(recipe, output=str(tmp_path / "out"))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_at(5, patch)
        train(recipe)
    assert not (tmp_path / "out" / "config.json").exists()
    assert (tmp_path / "out" / "checkpoint-4").is_dir()
    train(recipe, resume=True)
    assert largest_difference(output, tmp_path / "out") == 0
    for name in ("history.json", "README.md"):
        assert (output / name).read_text() == (tmp_path / "out" / name).read_text()


def test_workers_change_nothing(whole, tmp_path):
    recipe, output = whole("actionclip")
    data = dataclasses.replace(recipe.data, workers=2)
    train(dataclasses.replace(recipe, output=str(tmp_path / "out"), data=data))
    assert largest_difference(output, tmp_path / "out") == 0


def test_checkpoints_within_an_epoch_make_room_for_each_other(whole):
    _, output = whole("rest")
    assert [path.name for path in checkpoints(output)] == ["checkpoint-3", "checkpoint-6"]
    assert not [path for path in output.iterdir() if path.name.startswith(".")]


def test_epochs_whose_checkpoints_are_not_wanted_leave_none(rendered, start, tmp_path):
    options = {"epochs": 5, "batch_size": 12}
    recipe = tiny_recipe(
        "actionclip", rendered, start("actionclip"), tmp_path / "out", optimization=options, save_epochs=2
    )
    assert [path.name for path in checkpoints(train(recipe))] == ["checkpoint-2", "checkpoint-4", "checkpoint-5"]


def test_every_folder_gets_its_card(whole, rendered):
    recipe, output = whole("rest")
    cards = {path: (path / "README.md").read_text() for path in (output, *checkpoints(output))}
    assert len(cards) == 3
    for path, card in cards.items():
        assert "# out" in card and rendered.name in card and "ResT" in card, path
        assert ("Training had not finished" in card) == (path != output), path


def test_a_run_is_not_continued_or_overwritten_unasked(whole):
    with pytest.raises(RecipeError, match="resume"):
        train(whole("rest")[0])


@pytest.mark.parametrize(
    "moment",
    [
        "transformers.Trainer.save_model",
        "transformers.Trainer._save_optimizer_and_scheduler",
        "hf_zsar.files.os.rename",
    ],
)
def test_a_checkpoint_is_whole_or_not_there(moment, rendered, start, tmp_path, monkeypatch):
    """Fail at three moments of the second saving: the first checkpoint stands, and the run goes on from it."""
    recipe = tiny_recipe("actionclip", rendered, start("actionclip"), tmp_path / "out")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        fail_after(1, moment, patch)
        train(recipe)
    out = tmp_path / "out"
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-3"]
    assert AutoModel.from_pretrained(out / "checkpoint-3")
    train(recipe, resume=True)
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


@pytest.mark.parametrize("method", TRAINED)
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


def test_averaging_and_evaluation(rendered, start, tmp_path):
    recipe = tiny_recipe(
        "actionclip",
        rendered,
        start("actionclip"),
        tmp_path / "out",
        averaging={"first_epoch": 2},
        data={"eval_classes": ["red coming", "red leaving"]},
        optimization={"batch_size": 3, "epochs": 3},
        save_steps=1,
    )
    assert prepare_run(recipe).label_names == ["red falling", "red rising"], "the others are left out of training"
    output = train(recipe)
    second, third = (weights_of(output / f"checkpoint-{step}") for step in (4, 6))
    for name, tensor in weights_of(output).items():
        torch.testing.assert_close(tensor, ((second[name].double() + third[name].double()) / 2).float())
    history = json.loads((output / "history.json").read_text())
    assert [record["epoch"] for record in history] == [0, 1, 2, 3]
    assert all(0 <= record["top1"] <= 1 for record in history)
    assert all(record["loss"] > 0 for record in history[1:])
    assert (output / "curve.png").stat().st_size > 5000


def test_the_way_back_to_the_start(rendered, start, tmp_path):
    """Towers go back; what the method adds stays as trained, for the start has random numbers there."""
    recipe = tiny_recipe("actionclip", rendered, start("actionclip"), tmp_path / "out", interpolation=0.25)
    output = train(recipe)
    begin, end = weights_of(Path(recipe.model.pretrained)), weights_of(output / "checkpoint-6")
    model = tiny_model("actionclip")
    for name, tensor in weights_of(output).items():
        share = 0.0 if model.role_of(name) == "head" else 0.25
        torch.testing.assert_close(tensor, (share * begin[name].double() + (1 - share) * end[name].double()).float())
    assert any(model.role_of(name) == "head" and (end[name] != begin[name]).any() for name in end)


@pytest.mark.parametrize(("method", "part"), [("actionclip", "temporal_head"), ("rest", "visual_embedding")])
def test_adapters_are_trained_resumed_and_merged(method, part, rendered, start, tmp_path, monkeypatch):
    optimization = {"freeze": ["text"], "learning_rates": {"default": 1e-2}}
    recipe = tiny_recipe(
        method,
        rendered,
        start(method),
        tmp_path / "out",
        lora={"r": 2, "alpha": 4, "dropout": 0.1, "new_parts": [part]},
        optimization=optimization if method == "actionclip" else {},
    )
    before, output = prepare_run(recipe).model.get_base_model().state_dict(), train(recipe)
    plain = {name.replace(".base_layer", "").replace(".original_module", ""): each for name, each in before.items()}
    after = weights_of(output)
    moved = {name for name, tensor in after.items() if name in plain and not torch.equal(tensor, plain[name])}
    targets = tuple(f".{target}.weight" for target in tiny_model(method).lora_targets)
    learned = {name for name in moved if not name.startswith("seen_") and "running" not in name}
    assert {name for name in learned if not name.startswith(f"{part}.")} and any(part in name for name in learned)
    assert all(name.endswith(targets) or name.startswith(f"{part}.") for name in learned if "num_batches" not in name)
    assert method != "actionclip" or not [name for name in learned if "text_model" in name], "the text is frozen"
    assert (output / "checkpoint-3" / "adapter_model.safetensors").is_file()
    again = dataclasses.replace(recipe, output=str(tmp_path / "again"))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stop_at(4, patch)
        train(again)
    assert largest_difference(train(again, resume=True), output) == 0


def test_adapters_of_a_text_side_that_stays_as_it_is_are_not_trained(rendered, start, tmp_path):
    model = {**start("stdd"), "fields": {"train_text_tower": False}}
    counts = parameter_counts(prepare_run(tiny_recipe("stdd", rendered, model, tmp_path, lora={"r": 2})).model)
    assert counts["text"][0] == 0 < counts["vision"][0]


def strict(text):
    """As JSON without NaN and infinities, which other readers refuse."""
    return json.loads(text, parse_constant=pytest.fail)


def test_the_course_of_a_run():
    log = [
        {"epoch": 0, "step": 0, "top1": 0.25},
        {"epoch": 0.5, "step": 2, "loss": 4.0},
        {"epoch": 0.75, "step": 3, "loss": 1.0},
        {"epoch": 1.0, "step": 4, "top1": 0.5},
        {"epoch": 1.0, "step": 4, "loss": 3.0},
        {"epoch": 1.25, "step": 5, "loss": 2.0},
        {"epoch": 2.0, "step": 8, "loss": 1.0},
        {"epoch": 2.0, "step": 8, "train_loss": 9.0},
    ]
    assert records_of(log) == [
        {"epoch": 0, "step": 0, "top1": 0.25},
        {"epoch": 1, "step": 4, "loss": 3.0, "top1": 0.5},
        {"epoch": 2, "step": 8, "loss": 1.25},
    ]
    assert records_of([log[0]]) == [log[0]]


def test_a_loss_that_is_no_number_is_kept_as_strict_json_has_it(tmp_path):
    write_history([{"epoch": 1, "loss": math.nan}, {"epoch": 2, "loss": math.inf}], tmp_path)
    assert [record["loss"] for record in strict((tmp_path / "history.json").read_text())] == [None, None]


@pytest.mark.parametrize("damage", ["", '{"epoch": 1', "[]", "3", '{"epoch": "two"}', '[{"loss": 1}]', "[1]", "{}"])
def test_a_damaged_record_is_a_sentence_that_names_the_file(damage, tmp_path):
    (tmp_path / "trainer_state.json").write_text(damage)
    with pytest.raises(TextFileError, match="trainer_state.json"):
        epoch_of(tmp_path)


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


def test_what_does_not_fit_is_said_before_any_video_is_read(rendered, start, tmp_path, monkeypatch):
    """A class head of another size than the data; roles without a learning rate."""

    def refuse(*args, **kwargs):
        raise AssertionError("decoded")

    monkeypatch.setattr(VideoTextCollator, "__call__", refuse)
    head = tiny_recipe("rest", rendered, {"pretrained": str(tiny_folder("rest", tmp_path / "m"))}, tmp_path / "a")
    with pytest.raises(ValueError, match="class head of 6 classes, the data has 4: .*data.classes"):
        train(head)
    rates = {"learning_rates": {"head": 1e-3, "text": 1e-4}}
    with pytest.raises(ValueError, match="neither 'default' nor scale, vision; it trains head, scale, text, vision"):
        train(tiny_recipe("actionclip", rendered, start("actionclip"), tmp_path / "b", optimization=rates))
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


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("actionclip", {"epochs": 20, "batch_size": 6, "accumulation": 2, "warmup_epochs": 4.5, "decay_all": True}),
        ("rest", {"epochs": 7, "warmup_epochs": 0.7, "clip_grad": 0.1}),
    ],
)
def test_the_loop_to_copy_makes_the_updates_of_the_trainer(method, options, rendered, start, tmp_path):
    """At least twenty updates, dropout and negatives drawn alike; ResT ends with its prototypes, too."""
    script = runpy.run_path(str(ROOT / "train_scripts" / "train.py"))
    common = {"learning_rates": {"default": 1e-3, "head": 3e-3}, "weight_decay": 0.1, "min_lr_ratio": 0.2, **options}
    recipe = tiny_recipe(
        method,
        rendered,
        start(method),
        tmp_path / "trainer",
        optimization=common,
        log_steps=1,
        save_epochs=100,
    )
    output = train(recipe)
    losses = script["train"](dataclasses.replace(recipe, output=str(tmp_path / "loop")))
    log = json.loads((checkpoints(output)[-1] / "trainer_state.json").read_text())["log_history"]
    expected = [entry["loss"] for entry in log if "loss" in entry]
    together = options.get("accumulation", 1)
    found = [sum(losses[i : i + together]) / together for i in range(0, len(losses), together)]
    assert len(found) >= 20 and found == pytest.approx(expected, abs=1e-5)
    assert max(losses) - min(losses) > 0.05, "a test in which nothing is learned proves nothing"
    assert largest_difference(output, tmp_path / "loop") < 1e-3  # AdamW makes much of the rounding of small gradients
    assert AutoProcessor.from_pretrained(tmp_path / "loop").tokenizer


def test_the_loop_to_copy_is_short():
    assert len((ROOT / "train_scripts" / "train.py").read_text().splitlines()) <= 200


def learning_rates(recipe):
    """Of every update, as the Trainer logs them."""
    log = json.loads((checkpoints(train(recipe))[-1] / "trainer_state.json").read_text())["log_history"]
    return [entry["learning_rate"] for entry in log if "loss" in entry]


def test_the_schedule_and_the_decay_are_those_of_the_recipe(rendered, start, tmp_path):
    """The first group's rate: linear from 0 over round(1.5 x 3) updates, then a cosine to a tenth."""
    options = {"epochs": 4, "warmup_epochs": 1.5, "min_lr_ratio": 0.1, "learning_rates": {"default": 1e-3}}

    def run(name, **changed):
        return tiny_recipe(
            "actionclip",
            rendered,
            start("actionclip"),
            tmp_path / name,
            optimization={**options, **changed},
            log_steps=1,
            save_epochs=100,
        )

    rates = learning_rates(run("one"))
    warm, total = 4, 12
    for step, rate in enumerate(rates):
        cosine = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * max(step - warm, 0) / (total - warm)))
        assert rate == pytest.approx(1e-3 * (step / warm if step < warm else cosine)), step
    plain = {"epochs": 1, "weight_decay": 0.5, "warmup_epochs": 0.0, "eps": 1e6}  # updates as small as nothing
    before = weights_of(Path(run("start").model.pretrained))
    name = "backbone.model.vision_model.post_layernorm.weight"
    for decay_all in (False, True):
        after = weights_of(train(run(f"decay {decay_all}", decay_all=decay_all, **plain)))
        assert torch.equal(after[name], before[name]) != decay_all


def test_a_gradient_is_clipped_as_the_recipe_says(rendered, start, tmp_path):
    options = {"batch_size": 6, "epochs": 1, "warmup_epochs": 0.0, "eps": 1.0, "learning_rates": {"default": 1.0}}

    def run(name, limit):
        recipe = tiny_recipe(
            "actionclip", rendered, start("actionclip"), tmp_path / name, optimization={**options, "clip_grad": limit}
        )
        return train(recipe)

    assert largest_difference(run("clipped", 0.01), run("unclipped", 0.0)) > 1e-4


def test_every_video_is_evaluated_and_every_epoch_drawn_anew(rendered, start, tmp_path, monkeypatch):
    data = {"eval_source": str(rendered)}
    recipe = tiny_recipe(
        "actionclip",
        rendered,
        start("actionclip"),
        tmp_path / "out",
        data=data,
        optimization={"batch_size": 5},
    )
    measured, trained, collate = [], [], VideoTextCollator.__call__

    def counting(self, rows):
        measured.extend(str(row.row["video"]["path"]) for row in rows if not row.training)
        trained.extend((self.run[1], str(row.row["video"]["path"])) for row in rows if row.training)
        return collate(self, rows)

    monkeypatch.setattr(VideoTextCollator, "__call__", counting)
    train(recipe)
    videos = sorted(str(path) for path in rendered.rglob("*.mp4"))
    assert all(sorted(measured[start : start + 12]) == videos for start in (0, 12, 24)) and len(measured) == 36
    assert [epoch for epoch, _ in trained] == [0] * 10 + [1] * 10
    first, second = ([path for epoch, path in trained if epoch == wanted] for wanted in (0, 1))
    assert first != second and len(set(first)) == len(set(second)) == 10


def test_a_video_that_cannot_be_read_is_left_out_where_the_recipe_says_so(start, rendered, tmp_path, caplog):
    shutil.copytree(rendered, tmp_path / "videos")
    (broken := tmp_path / "videos" / "red rising" / "0.mp4").write_bytes(b"no video")
    data = {"eval_source": str(tmp_path / "videos"), "on_error": "skip"}
    recipe = tiny_recipe(
        "actionclip", tmp_path / "videos", start("actionclip"), tmp_path / "out", data=data, optimization={"epochs": 1}
    )
    run = prepare_run(recipe)
    assert evaluate_accuracy(run, run.model, Accelerator(cpu=True))["top1"] * 11 % 1 == pytest.approx(0, abs=1e-6)
    assert str(broken) in caplog.text
    raising = dataclasses.replace(
        run, recipe=dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, on_error="raise"))
    )
    with pytest.raises(VideoReadError, match="0.mp4"):
        evaluate_accuracy(raising, run.model, Accelerator(cpu=True))


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
    for step, epoch in ((2, 1.0), (3, 1.5), (4, 2.0), (10, 4.5)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(json.dumps({"epoch": epoch}))
    (tmp_path / ".saving" / "checkpoint-11").mkdir(parents=True)
    clean_up(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-2", "checkpoint-4"]
