"""Model cards: what they say (snapshots), that their metadata is valid and that every snippet in them runs.

`HF_ZSAR_UPDATE_SNAPSHOTS=1 pytest tests/hub/test_cards.py` writes the snapshots anew; read the difference.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results
from huggingface_hub.utils import DEFAULT_IGNORE_PATTERNS, filter_repo_objects
from transformers import Trainer, TrainerState, TrainingArguments

from hf_zsar import METHODS
from hf_zsar.clips.overlap import THRESHOLD
from hf_zsar.hub import CardFacts, ModelCardCallback, card_callback, render_card, write_card
from hf_zsar.hub.card_callback import log_rows, thinned
from hf_zsar.hub.cards import TAGS, method_text
from hf_zsar.hub.facts import TrainingFacts, architecture_of
from hf_zsar.hub.method_cards import method_card
from hf_zsar.markdown import code
from hf_zsar.processing.processing_actionclip import ACTIONCLIP_TEMPLATES
from hf_zsar.processing.processing_stdd import BASE_TEMPLATES
from tests.tiny_models import LABELS, tiny_inputs, tiny_model, tiny_processor


SNAPSHOTS = Path(__file__).parent / "snapshots"


def record(**changes: Any) -> dict[str, Any]:
    """A result of `hf-zsar evaluate`, as far as cards read it."""
    return {
        "created": "2026-01-02T03:04:05+00:00",
        "model": {"id": "org/tiny", "revision": "abc", "training_set": "six made-up classes"},
        "protocol": {
            "id": "half_e2e",
            "dataset": "ucf101",
            "split_rule": "10 random halves of the classes",
            "split_hash": "0123",
            "clip_set": "all clips",
        },
        "classes": {"names": ["a"] * 101, "label_order": "official"},
        "clips": {"expected": 13320, "scored": 13318},
        "sampling": {"frames_x_views": "8 frames x 1 view"},
        "prompts": {"candidates": "the classes of each half"},
        "summary": {
            "top1": {"mean": 0.12345, "std": 0.01, "splits": 10},
            "top5": {"mean": 0.5, "std": 0.02, "splits": 10},
        },
        "results": [{}] * 10,
        **changes,
    }


def full_facts() -> CardFacts:
    """A card with everything in it."""
    return CardFacts(
        method="rest",
        repo_id="org/tiny-rest",
        model_name="Tiny ResT",
        description="A model for tests.",
        license="cc-by-4.0",
        base_model=["org/backbone", "org/text-encoder"],
        base_model_relation="finetune",
        datasets=["org/clips"],
        architecture={"Class": "ResTModel", "Parameters": "1,234", code("setting"): code(7)},
        templates=["a video of {}.", "{}"],
        training=TrainingFacts(
            data="made-up clips",
            videos=12,
            classes=6,
            hyperparameters={"learning rate": 1e-4, "seed": 0},
            log=[{"step": 1, "loss": 2.5}, {"step": 2, "loss": 1.25, "eval_top1": 0.5}],
            versions={"torch": "2.x"},
        ),
        results=[record()],
        benchmarks={"ucf101": "org/ucf101"},
        limits=["It knows six classes | and nothing else."],
        code_digest="f" * 64,
    )


CARDS = {
    "full": full_facts,
    "plain": lambda: CardFacts(method="stdd"),
    "unfinished": lambda: CardFacts(method="dasti", training=TrainingFacts(finished=False), license="mit"),
}


@pytest.mark.parametrize("name", CARDS)
def test_snapshot(name: str) -> None:
    if not {"rest", "stdd", "dasti"} <= METHODS.keys():
        pytest.skip("not every method is registered")
    path, text = SNAPSHOTS / f"{name}.md", render_card(CARDS[name]())
    if os.environ.get("HF_ZSAR_UPDATE_SNAPSHOTS"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("method", METHODS)
def test_the_committed_card_of_each_method_is_what_the_template_gives(method: str) -> None:
    committed = resources.files("hf_zsar.model_cards") / f"{method}.md"
    assert committed.read_text(encoding="utf-8") == method_card(method), "run python -m hf_zsar.hub.method_cards"


@pytest.mark.parametrize("method", METHODS)
def test_the_text_of_each_method_is_complete_and_quotes_with_a_source(method: str) -> None:
    text = method_text(method)
    assert {"name", "paper", "summary", "scoring", "provenance", "reported", "limits", "citation"} <= text.keys()
    assert all({"data", "setting", "metric", "value", "source"} == set(row) for row in text["reported"])
    card = method_card(method)
    assert f"arXiv:{text['paper']['arxiv']}" in card
    if text["reported"]:
        assert "not of this implementation" in card
    assert not re.search(r"reproduc", card), "no card may claim to reproduce a paper"


def statements(method: str) -> set[str]:
    return set(method_text(method)["statements"])


@pytest.mark.parametrize("method", METHODS)
def test_what_is_stated_and_what_is_read_is_numbered_without_gaps_and_stands_in_the_card(method: str) -> None:
    numbers, card = statements(method), method_card(method)
    assert {number[0] for number in numbers} == {"S", "R"} and 6 <= len(numbers) <= 14
    for kind in "SR":
        own = sorted(int(number[1:]) for number in numbers if number[0] == kind)
        assert own == list(range(1, len(own) + 1))
    assert all(f"- **{number}** " in card for number in numbers)
    assert not re.search(r"<\w", card.split("## What is stated")[1].split("## Limits")[0]), "would be taken for HTML"


def figures_of_the_code() -> list[tuple[str, str, str]]:
    """(method, number of a statement, words in it that hold figures of the code)."""
    actionclip, stdd, dasti, rest = (METHODS[name].config_class() for name in ("actionclip", "stdd", "dasti", "rest"))
    losses = f"{stdd.distill_weight} x distillation", f"plus {stdd.distill_alpha} x a projector"
    share = dasti.class_score_weight
    return [
        ("actionclip", "S3", f"{len(ACTIONCLIP_TEMPLATES)} templates"),
        ("actionclip", "S4", f"epsilon of {actionclip.temporal_layer_norm_eps:g}"),
        ("actionclip", "S6", f"{actionclip.eval_logit_scale:g} times the cosine"),
        ("actionclip", "S7", f"{actionclip.label_temperature:g} x (same class)"),
        ("stdd", "S1", f"T = {stdd.num_frames} frames"),
        ("stdd", "S3", f"{stdd.window_size} x {stdd.window_size} patches"),
        ("stdd", "S4", f"1/{stdd.channel_fold} of the channels"),
        ("stdd", "S4", "Scales {} and {}".format(*stdd.temporal_scales)),
        ("stdd", "S7", f"{len(BASE_TEMPLATES)} templates"),
        *(("stdd", "S9", words) for words in losses),
        ("dasti", "S3", f"divided by {dasti.saliency_temperature}"),
        ("dasti", "S5", f"positions for {dasti.temporal_max_positions} frames"),
        ("dasti", "S9", f"{dasti.loss_target_gain:g} x (same class)"),
        ("dasti", "R1", f"floored at {dasti.spatial_floor:.0e}".replace("e-0", "e-")),
        ("dasti", "R2", f"{share} x cosine with the class prompt + {1 - share:.1f} x cosine"),
        ("rest", "R1", f"over {rest.num_frames} frames of {rest.image_size} pixels"),
        ("rest", "R2", f"{rest.projection_dim} dimensions"),
        ("rest", "R3", f"temperature of {rest.align_temperature}"),
        ("rest", "R4", f"divided by {rest.transfer_temperature}"),
        ("rest", "R6", f"cut at {rest.max_text_length} tokens"),
        ("rest", "S6", f"at least {THRESHOLD}"),
    ]


def test_figures_in_the_statements_are_those_of_the_code() -> None:
    for method, number, words in figures_of_the_code():
        assert words in method_text(method)["statements"][number], f"{method}, {number}"


REFERENCE = re.compile(r"[Cc]ard\s+of\s+([\w-]+)[,:]((?:[^.()`\n]|\n(?!\n))*)")


def references(text: str) -> list[tuple[str, str]]:
    """(name of a method, number of a statement) that comments and docstrings point to."""
    lines = re.sub(r"\n\s*#\s?", "\n", text)
    found = REFERENCE.findall(lines)
    return [(name, number) for name, rest in found for number in re.findall(r"\b[SR]\d+\b", rest)]


def test_references_are_found_in_prose_and_across_lines() -> None:
    text = "(card of STDD, S1 and R2) and (arXiv; card\n# of DA-STI, S3). S9"
    assert references(text) == [("STDD", "S1"), ("STDD", "R2"), ("DA-STI", "S3")]


def test_references_to_the_cards_lead_somewhere() -> None:
    named = {method_text(method)["name"]: statements(method) for method in METHODS}
    root, seen = Path(__file__).resolve().parents[2], set()
    for folder in ("modeling", "processing", "hf_zsar", "tests", "train_scripts"):
        for path in (path for pattern in ("*.py", "*.yaml") for path in (root / folder).rglob(pattern)):
            for name, number in references(path.read_text(encoding="utf-8")) if path != Path(__file__) else ():
                assert number in named[name], f"{path}: card of {name}, {number}"
                seen.add(name)
    assert seen >= {"ActionCLIP", "DA-STI", "ResT", "STDD"}


def test_metadata_is_what_the_hub_expects(tmp_path: Path) -> None:
    readme = write_card(tmp_path, full_facts())
    data = ModelCard.load(readme).data
    assert (data.library_name, data.pipeline_tag, data.license) == (
        "transformers",
        "video-classification",
        "cc-by-4.0",
    )
    assert set(TAGS) < set(data.tags)
    assert data.base_model == ["org/backbone", "org/text-encoder"]
    name, results = model_index_to_eval_results(metadata_load(readme)["model-index"])
    assert name == "Tiny ResT"
    assert [(r.dataset_type, r.metric_name, r.metric_value) for r in results] == [
        ("ucf101", "top-1", 12.35),
        ("ucf101", "top-5", 50.0),
    ]
    entries = yaml.safe_load((tmp_path / ".eval_results" / "ucf101-half_e2e.yaml").read_text(encoding="utf-8"))
    assert [(e["dataset"]["id"], e["dataset"]["task_id"], e["value"]) for e in entries] == [
        ("org/ucf101", "half_e2e", 12.35)
    ]


def test_without_code_the_library_is_this_package_and_no_trust_is_advertised() -> None:
    card = render_card(dataclasses.replace(full_facts(), code_digest=None))
    assert ModelCard(card).data.library_name == "hf_zsar"
    assert "trust_remote_code" not in card


def test_a_result_on_an_unknown_benchmark_makes_no_eval_results_file(tmp_path: Path) -> None:
    write_card(tmp_path, dataclasses.replace(full_facts(), benchmarks={}))
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.parametrize(
    "changes",
    [
        {"method": None},
        {"method": "nonsense"},
        {"base_model": "not a repository id"},
        {"datasets": ["a/b/c"]},
        {"repo_id": "../x"},
        {"results": [record(summary={"top1": {"mean": None, "std": None, "splits": 0}})]},
    ],
    ids=["no_method", "unknown_method", "base_model", "datasets", "repo_id", "no_number"],
)
def test_wrong_facts_are_refused_before_anything_is_written(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        write_card(tmp_path, dataclasses.replace(full_facts(), **changes))
    assert not list(tmp_path.iterdir())


def test_table_cells_cannot_break_the_table() -> None:
    card = render_card(dataclasses.replace(full_facts(), architecture={"odd": "a | b\nc", "none": None}))
    assert "| odd | a \\| b c |\n| none | – |" in card


# -------------------------------------------------------------------------------------------------------- training
def test_log_rows_join_what_was_logged_at_one_step() -> None:
    history = [
        {"step": 1, "epoch": 0.5, "loss": 2.0},
        {"step": 2, "epoch": 1.0, "loss": 1.0},
        {"step": 2, "epoch": 1.0, "eval_loss": 1.5, "eval_runtime": 3.0},
        {"step": 2, "epoch": 1.0, "train_runtime": 9.0, "train_loss": 1.5, "total_flos": 0.0},
    ]
    assert log_rows(history) == [
        {"step": 1, "epoch": 0.5, "loss": 2.0},
        {"step": 2, "epoch": 1.0, "loss": 1.0, "eval_loss": 1.5},
    ]
    rows = [{"step": i} for i in range(100)]
    assert [row["step"] for row in thinned(rows, 5)] == [0, 25, 50, 74, 99]
    assert thinned(rows[:3], 5) == rows[:3]


class Clips(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"index": index}


def collate(items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    inputs = tiny_inputs("stdd", batch=len(items))
    return {**inputs, "labels": torch.tensor([item["index"] % len(LABELS) for item in items])}


def test_the_callback_writes_the_card_while_training(tmp_path: Path) -> None:
    args = TrainingArguments(
        str(tmp_path),
        max_steps=4,
        save_steps=2,
        logging_steps=1,
        per_device_train_batch_size=2,
        learning_rate=1e-4,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    model, processor = tiny_model("stdd"), tiny_processor("stdd")
    trainer = Trainer(model, args, collate, Clips(), processing_class=processor)
    ModelCardCallback(CardFacts(license="mit"), data="noise", classes=5).attach(trainer)
    trainer.train()
    final = (tmp_path / "README.md").read_text(encoding="utf-8")
    midway = (tmp_path / "checkpoint-2" / "README.md").read_text(encoding="utf-8")
    assert "Training had not finished" in midway
    assert "Training had not finished" not in final
    assert "Training data: noise, 4 videos, 5 classes." in final
    assert "| learning rate | 0.0001 |" in final
    assert re.search(r"\| 4 \|.* \d\.\d+", final), "the last step is in the log"
    assert not re.search(r"^\| 4 \|", midway, re.MULTILINE)
    (tmp_path / "README.md").unlink()
    trainer.create_model_card()
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == final


def test_a_push_in_the_background_lists_no_file_that_is_gone_when_it_is_sent(tmp_path: Path, monkeypatch) -> None:
    args = TrainingArguments(str(tmp_path), report_to="none", use_cpu=True)
    listed, write, state = [], card_callback.write_card, TrainerState(global_step=2, max_steps=2)

    def listing(folder: Path, facts: CardFacts) -> Path:
        path = write(folder, facts)
        names = [str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*") if each.is_file()]
        listed.append(list(filter_repo_objects(names, ignore_patterns=DEFAULT_IGNORE_PATTERNS)))
        return path

    monkeypatch.setattr(card_callback, "write_card", listing)
    callback, model = ModelCardCallback(), tiny_model("stdd")
    callback.on_save(args, state, None, model)
    callback.on_train_end(args, state, None, model)
    assert listed == [[], ["checkpoint-2/README.md"]], "the card appears when it is whole"
    assert (tmp_path / "README.md").is_file()


def test_what_a_killed_run_was_writing_is_in_no_later_card(tmp_path: Path) -> None:
    unseen = tmp_path / ".cache" / "huggingface"
    write_card(unseen / ".hf-zsar-killed" / "card", full_facts())
    assert list(unseen.rglob("*.yaml")), "results, which the next card does not have"
    args = TrainingArguments(str(tmp_path), report_to="none", use_cpu=True)
    ModelCardCallback().on_train_end(args, TrainerState(global_step=2, max_steps=2), None, tiny_model("stdd"))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["README.md"]


@pytest.mark.parametrize("method", METHODS)
def test_model_details_come_from_the_model(method: str) -> None:
    model, processor = tiny_model(method), tiny_processor(method)
    rows = architecture_of(model, processor)
    assert rows["Class"] == type(model).__name__
    assert int(rows["Parameters"].replace(",", "")) == sum(p.numel() for p in model.parameters())
    assert rows["Frames per view"] == processor.video_processor.num_frames
    assert not [name for name, value in rows.items() if value in (None, "", "None")]
    changed = architecture_of(tiny_model("rest", transfer_temperature=0.125), None)
    assert changed["`transfer_temperature`"] == "`0.125`"
    assert "`transfer_temperature`" not in architecture_of(tiny_model("rest"), None)


def test_nothing_that_a_card_prints_depends_on_where_the_model_was_loaded_from(tmp_path: Path) -> None:
    model = tiny_model("rest")
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert json.dumps(architecture_of(model)) == json.dumps(architecture_of(again))
