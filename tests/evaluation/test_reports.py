"""What is made of a record: tables, card entries, pictures; and the record's own file."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import yaml
from huggingface_hub import EvalResultEntry, ModelCard, ModelCardData, parse_eval_result_entries
from PIL import Image

from hf_zsar.data import load_class_names, load_protocol_file
from hf_zsar.evaluation import (
    eval_result_entries,
    evaluate_zero_shot,
    load_protocol,
    load_record,
    markdown_table,
    model_index_results,
    plot_result,
    save_eval_results,
    save_record,
    text_report,
)
from hf_zsar.evaluation.records import main_metric
from hf_zsar.evaluation.splits import held_out_clips
from hf_zsar.plots.evaluation import confusion_matrix, result_figure
from tests.evaluation.toy import color_pair, write_clip


HMDB = load_class_names("hmdb51")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """One clip of every HMDB51 class, the color of the class or, for every third, of its neighbor; one is broken."""
    root = tmp_path_factory.mktemp("hmdb")
    tested = set(load_protocol("test_splits", "hmdb51").splits[0].clips)
    held_out = held_out_clips("hmdb51", load_protocol_file("hmdb51_all_videos")["videos_by_class"])
    # Clips that every protocol below asks for.
    first = {name: next(clip for clip in clips if clip in tested) for name, clips in held_out.items()}
    for name, clip in first.items():
        number = HMDB.index(name)
        write_clip(
            root / name.replace(" ", "_") / f"{clip}.avi", number + (1 if number % 3 == 0 and number < 50 else 0)
        )
    (root / "wave" / f"{first['wave']}.avi").write_bytes(b"")
    return root


@pytest.fixture(scope="module")
def full(videos):
    return evaluate_zero_shot(*color_pair(HMDB), "full", dataset="hmdb51", videos=videos)


@pytest.fixture(scope="module")
def gzsl(videos):
    splits = [f"xu{i}" for i in range(5)]
    return evaluate_zero_shot(*color_pair(HMDB), "gzsl", dataset="hmdb51", videos=videos, splits=splits)


@pytest.fixture(scope="module")
def base2novel(videos):
    return evaluate_zero_shot(*color_pair(HMDB), "base2novel", dataset="hmdb51", videos=videos)


def test_text_report_says_what_was_not_scored(full):
    text = text_report(full)
    # 51 clips, one broken; 17 of the 50 others (0, 3, ... 48) carry their neighbor's color.
    assert "50 of 6766 scored" in text
    assert "missing     6715 clips not found" in text
    assert "broken      1 clips unreadable" in text
    assert "top-1" in text and "33/50" in text and "66.0" in text
    low, high = full["results"][0]["intervals"]["top1"]
    assert f"[{100 * low:.1f}, {100 * high:.1f}]" in text
    assert "if the 6716 clips that were not scored are counted as wrong: 0.5" in text
    assert "exchange kick / kick ball" in text


def test_text_report_of_several_splits(gzsl):
    lines = text_report(gzsl).splitlines()
    row = next(line for line in lines if line.startswith("mean +- std"))
    assert "5 splits" in row
    summary = gzsl["summary"]
    for name in ("seen", "unseen", "harmonic"):
        assert f"{100 * summary[name]['mean']:.1f} +- {100 * summary[name]['std']:.1f}" in row
    assert sum(line.startswith("xu") for line in lines) == 5


def test_main_metric(full, gzsl, base2novel):
    assert main_metric(full) == ("top1", 33 / 50, None)
    name, value, std = main_metric(gzsl)
    assert (name, value, std) == ("harmonic", gzsl["summary"]["harmonic"]["mean"], gzsl["summary"]["harmonic"]["std"])
    assert main_metric(base2novel) == ("harmonic", base2novel["summary"]["harmonic"], None)


def test_markdown_table(full, gzsl, base2novel):
    lines = markdown_table([full, gzsl, base2novel]).splitlines()
    assert len(lines) == 5
    assert len({line.count("|") for line in lines}) == 1
    assert "| HMDB51 | full |" in lines[2] and "| top-1 | 66.0 |" in lines[2]
    assert "±" in lines[3]


def test_eval_results_yaml_is_what_the_hub_reads(full, tmp_path):
    path = save_eval_results(full, tmp_path, "org/hmdb51-benchmark")
    assert path == tmp_path / ".eval_results" / "hmdb51-full.yaml"
    (entry,) = parse_eval_result_entries(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert isinstance(entry, EvalResultEntry)
    assert (entry.dataset_id, entry.task_id, entry.value) == ("org/hmdb51-benchmark", "full", 66.0)
    for part in (
        "trained on",
        "classes: 51",
        "clips: all 6,766 clips",
        "splits:",
        "2 frames, 1 clips x 1 crops",
        "candidates:",
    ):
        assert part in entry.notes  # the six things that a number stands on
    assert [path.name for path in path.parent.iterdir()] == ["hmdb51-full.yaml"]
    assert eval_result_entries(full, "org/x", "my-task")[0].task_id == "my-task"


def test_model_index_makes_a_valid_card(full, gzsl, tmp_path):
    results = [*model_index_results(full), *model_index_results(gzsl)]
    data = ModelCardData(model_name="a model", license="apache-2.0", eval_results=results)
    card = ModelCard(f"---\n{data.to_yaml()}\n---\n\n# A model\n")
    card.save(tmp_path / "README.md")
    read = ModelCard.load(tmp_path / "README.md").data.eval_results
    by_name = {(each.dataset_name, each.metric_name): each.metric_value for each in read}
    assert by_name["HMDB51, full", "top-1"] == 66.0
    assert by_name["HMDB51, gzsl", "harmonic"] == round(100 * gzsl["summary"]["harmonic"]["mean"], 2)
    assert all(not math.isnan(value) for value in by_name.values())


def test_no_number_no_card_entry(tmp_path):
    path = tmp_path / "empty.avi"
    path.touch()
    (tmp_path / "manifest.json").write_text(
        json.dumps({"labels": ["kick", "run"], "clips": [{"file": str(path), "label": "kick"}]})
    )
    record = evaluate_zero_shot(*color_pair(["kick", "run"]), manifest=tmp_path / "manifest.json")
    for make in (lambda: model_index_results(record), lambda: eval_result_entries(record, "org/x")):
        with pytest.raises(ValueError, match="no clip was scored"):
            make()
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_result(record, tmp_path / "p.png")
    assert "0 of 1 scored" in text_report(record)


def test_record_file_holds_plain_json(full, tmp_path):
    path = tmp_path / "new" / "result.json"
    save_record({**full, "x": float("nan"), "y": (1, float("inf"))}, path)
    loaded = load_record(path)
    assert loaded["x"] is None and loaded["y"] == [1, None]
    assert loaded["summary"] == json.loads(json.dumps(full["summary"]))
    assert text_report(loaded) == text_report(full)
    assert [each.name for each in path.parent.iterdir()] == ["result.json"]


@pytest.mark.parametrize("content", ["no json", "[]", '{"format": "other"}'])
def test_a_file_that_is_no_record(tmp_path, content):
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="r.json is not"):
        load_record(path)


def test_confusion_counts_every_answer(full, gzsl):
    counts = confusion_matrix(full)
    assert counts.sum() == 50
    assert counts.diagonal().sum() == 33
    assert counts[HMDB.index("brush hair"), HMDB.index("cartwheel")] == 1  # number 0 carries the color of 1


def test_a_clip_of_several_splits_is_drawn_as_one_clip(full, gzsl):
    """In brackets behind a class stands its number of clips, not of pairs of clip and split."""
    counts = confusion_matrix(gzsl)
    assert sum(entry["clips"]["scored"] for entry in gzsl["results"]) > gzsl["clips"]["scored"]
    assert counts.sum() == pytest.approx(gzsl["clips"]["scored"])
    of_class = np.bincount([labels[0] for labels in gzsl["clips"]["labels"]], minlength=len(counts))
    assert counts.sum(axis=1) == pytest.approx(of_class)
    for record, clips in ((full, 50), (gzsl, gzsl["clips"]["scored"])):
        names = [label.get_text() for label in result_figure(record).axes[0].get_yticklabels()]
        assert sum(int(name.rsplit("(")[-1].rstrip(")")) for name in names) == clips


def test_wrong_clips_are_named_with_right_and_given_label(full, gzsl):
    """Every third class is given for its neighbor: what a record and its report say of them."""
    (entry,) = full["results"]
    wrong = {each["clip"]: (each["right"], each["given"]) for each in entry["wrong"]}
    assert len(wrong) == 50 - 33
    ranks = dict(zip(entry["per_clip"]["clip"], entry["per_clip"]["rank"], strict=True))
    assert set(wrong) == {full["clips"]["ids"][clip] for clip, rank in ranks.items() if rank != 1}
    lines = text_report(full).splitlines()
    assert f"wrong: {len(wrong)} answers (right label -> given label)" in lines
    for clip, (right, given) in wrong.items():
        assert given == HMDB[HMDB.index(right[0]) + 1]
        assert f"  {clip}: {right[0]} -> {given}" in lines
    several = text_report(gzsl)
    first = next(entry for entry in gzsl["results"] if entry["wrong"])
    assert f"  {first['split']}, {first['wrong'][0]['clip']}: " in several
    assert "more, which the JSON record lists" in several


def test_pictures_are_drawn(full, gzsl, tmp_path):
    titles = [axes.get_title("left") for axes in result_figure(full).axes]
    assert len([title for title in titles if title]) == 4 and titles[-1] == "label sets"
    titles = [axes.get_title("left") for axes in result_figure(gzsl).axes]
    assert "calibrated stacking" in titles
    plot_result(gzsl, tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.width > 1000
        assert len(picture.convert("L").resize((64, 64)).getcolors()) > 10
    plot_result(full, tmp_path / "p.svg")
    assert "<svg" in (tmp_path / "p.svg").read_text()


def test_a_record_from_disk_gives_the_same_picture_data(gzsl, tmp_path):
    save_record(gzsl, tmp_path / "r.json")
    loaded = load_record(tmp_path / "r.json")
    assert (confusion_matrix(loaded) == confusion_matrix(gzsl)).all()
    assert len(result_figure(loaded).axes) == len(result_figure(gzsl).axes)
