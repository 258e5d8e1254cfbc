"""What `train_scripts/README.md` says of adapters and launchers holds; its blocks run in `tests/test_readme.py`."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import peft
import pytest

import hf_zsar.data
import hf_zsar.training
from tests.pages import blocks_of, lay_out
from tests.tiny_models import tiny_model
from tests.training.runs import TRAINED
from tests.training.test_trainer_options import END, README, START


BLOCKS = blocks_of("train_scripts/README.md")


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
def test_accelerate_launch_starts_one_process_and_that_is_said(tmp_path, monkeypatch):
    lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--cpu", "--num_processes", "2"]
    recipe = ["train_scripts/train.py", "train_scripts/recipes/quickstart.yaml", "--set", "data.source=videos/train"]
    done = subprocess.run([*command, *recipe], capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert "asked for several processes and started this one" in done.stderr
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").rglob("*.safetensors"))


@pytest.mark.parametrize("module", [hf_zsar.data, hf_zsar.training], ids=lambda module: module.__name__)
def test_every_public_name_is_there_and_on_the_page(module):
    text = README.read_text(encoding="utf-8")
    for name in module.__all__:
        assert getattr(module, name).__doc__, name
        assert re.search(rf"\b{name}\b", text), name


def test_the_page_is_short():
    text = README.read_text(encoding="utf-8")
    assert len(text.split(START)[0].splitlines()) < 140 and END in text
    first = BLOCKS[0][1]
    assert len(first.strip().splitlines()) <= 20, "twenty lines that one could have guessed"
