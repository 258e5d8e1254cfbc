"""Whole evaluations on rendered clips in the official layouts, against numbers worked out by hand."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from hf_zsar.data import load_class_names
from hf_zsar.evaluation import evaluate_zero_shot, load_protocol
from hf_zsar.evaluation.records import load_record, save_record
from hf_zsar.evaluation.reports import text_report
from tests.evaluation.toy import Numbers, color_pair, without_clock, write_clip


UCF, HMDB = load_class_names("ucf101"), load_class_names("hmdb51")

# UCF101: groups 1 to 7 of a class are test split 1, groups 8 to 14 test split 2. Split 3 gets no clip.
# clip -> the class that its color says
UCF_CLIPS = {
    # split 1: right, right, wrong, wrong
    "v_Archery_g01_c01": "Archery",
    "v_Hammering_g01_c01": "Hammering",
    "v_HammerThrow_g01_c01": "Hammering",
    "v_YoYo_g01_c01": "Archery",
    # split 2: right, right, right, wrong by one place (so the rank is 2)
    "v_Archery_g08_c01": "Archery",
    "v_HandStandPushups_g08_c01": "HandstandPushups",
    "v_JumpRope_g08_c01": "JumpRope",
    "v_JumpingJack_g08_c01": "JumpRope",
}


def ucf_folder(clip: str) -> str:
    name = clip.split("_")[1]
    return next(folder for folder in UCF if folder.casefold() == name.casefold())


@pytest.fixture(scope="module")
def ucf(tmp_path_factory):
    root = tmp_path_factory.mktemp("ucf") / "UCF-101"
    for clip, answer in UCF_CLIPS.items():
        write_clip(root / ucf_folder(clip) / f"{clip}.avi", UCF.index(answer))
    return root


# HMDB51, test split 1 and 2, with the pairs that published label files exchange.
HMDB_ANSWERS = {
    "split1": [("kick", "kick"), ("kick ball", "kick ball"), ("sword", "sword exercise"), ("wave", "wave")],
    "split2": [("kick", "kick ball"), ("sword exercise", "sword exercise")],
}


@pytest.fixture(scope="module")
def hmdb(tmp_path_factory):
    """Clips that stand in one test split only."""
    root = tmp_path_factory.mktemp("hmdb")
    splits = {split.name: split for split in load_protocol("test_splits", "hmdb51").splits}
    labels_of = load_protocol("full", "hmdb51").labels_of
    for name, pairs in HMDB_ANSWERS.items():
        others = {clip for other in splits.values() if other.name != name for clip in other.clips}
        for label, answer in pairs:
            clip = next(c for c in splits[name].clips if labels_of[c] == (label,) and c not in others)
            write_clip(root / label.replace(" ", "_") / f"{clip}.avi", HMDB.index(answer))
    return root


def metrics(record: dict) -> dict[str, dict]:
    return {entry["split"]: entry["metrics"] for entry in record["results"]}


def test_ucf101_full(ucf):
    record = evaluate_zero_shot(*color_pair(UCF), "full", dataset="ucf101", videos=ucf)
    found = metrics(record)["full"]
    # 5 of 8 right. HammerThrow answered with its neighbor Hammering, and JumpingJack with JumpRope: ranks 2 or 3.
    assert found["top1"] == 5 / 8
    assert found["top5"] == 7 / 8
    # Archery 2/2, Hammering 1, HammerThrow 0, YoYo 0, HandstandPushups 1, JumpRope 1, JumpingJack 0: 4 of 7.
    assert found["mean_class"] == pytest.approx(4 / 7)
    assert found["top1_if_missing_wrong"] == pytest.approx(5 / 13_320)
    clips = record["clips"]
    assert (clips["expected"], clips["scored"], len(clips["missing"])) == (13_320, 8, 13_312)
    assert clips["missing"]["v_Archery_g01_c02"] == "not found"
    assert record["summary"]["top1"] == {"mean": 5 / 8, "std": 0.0, "ddof": 0, "splits": 1}


def test_ucf101_test_splits(ucf):
    record = evaluate_zero_shot(*color_pair(UCF), "test_splits", dataset="ucf101", videos=ucf)
    found = metrics(record)
    assert found["split1"]["top1"] == 2 / 4
    assert found["split2"]["top1"] == 3 / 4
    assert found["split3"]["top1"] != found["split3"]["top1"]  # no clip: no number
    summary = record["summary"]["top1"]
    assert (summary["mean"], summary["std"], summary["splits"]) == (0.625, 0.125, 2)
    assert [entry["clips"]["scored"] for entry in record["results"]] == [4, 4, 0]


# Of each half: the clips' classes among its candidates, and right answers of how many clips. A clip is right if no
# candidate's number is nearer to its color than its own class's. Archery counts two clips, both right. HammerThrow's
# clip says Hammering (34) and YoYo's says Archery: wrong unless those are left out. JumpingJack's (46) says JumpRope
# (47): right where neither JumpRope nor Kayaking (48) is a candidate.
HALVES_BY_HAND = [
    ("Archery YoYo", 2, 3),
    ("Archery Hammering HammerThrow YoYo HandstandPushups JumpRope", 5, 7),
    ("Archery Hammering YoYo HandstandPushups", 4, 5),
    ("Hammering HammerThrow HandstandPushups JumpRope JumpingJack", 3, 5),
    ("Archery Hammering JumpingJack", 4, 4),
    ("Hammering HammerThrow JumpRope", 2, 3),
    ("Hammering HammerThrow HandstandPushups JumpRope JumpingJack", 3, 5),
    ("Archery YoYo HandstandPushups", 3, 4),
    ("Hammering HammerThrow YoYo HandstandPushups JumpRope", 3, 5),
    ("Archery HammerThrow HandstandPushups JumpRope", 5, 5),
]


def test_ucf101_half_e2e(ucf):
    record = evaluate_zero_shot(*color_pair(UCF), "half_e2e", dataset="ucf101", videos=ucf)
    splits = load_protocol("half_e2e", "ucf101").splits
    for split, entry, (names, right, clips) in zip(splits, record["results"], HALVES_BY_HAND, strict=True):
        assert {ucf_folder(clip) for clip in UCF_CLIPS} & set(split.candidates) == set(names.split())
        assert entry["clips"]["scored"] == clips
        assert entry["metrics"]["top1"] == right / clips
    # (2/3 + 5/7 + 4/5 + 3/5 + 1 + 2/3 + 3/5 + 3/4 + 3/5 + 1) / 10, and the population std of the ten
    assert record["summary"]["top1"]["mean"] == pytest.approx(0.739762, abs=1e-6)
    assert record["summary"]["top1"]["std"] == pytest.approx(0.144609, abs=1e-6)


def test_hmdb51_names_decide_not_indices(hmdb):
    record = evaluate_zero_shot(*color_pair(HMDB), "test_splits", dataset="hmdb51", videos=hmdb)
    found = metrics(record)
    assert found["split1"]["top1"] == 3 / 4
    assert found["split2"]["top1"] == 1 / 2
    full = evaluate_zero_shot(*color_pair(HMDB), "full", dataset="hmdb51", videos=hmdb)
    assert metrics(full)["full"]["top1"] == 4 / 6
    half = evaluate_zero_shot(*color_pair(HMDB), "half_e2e", dataset="hmdb51", videos=hmdb)
    # Seed 7 has kick (one of two clips says kick ball), kick ball, sword (says sword exercise, no candidate) and wave:
    # 4 of 5. Seed 9 has both kicks and both swords: kick 1 of 2, sword wrong, 3 of 5. Elsewhere the wrong name is no
    # candidate; a tie goes to the label that stands first.
    assert [entry["metrics"]["top1"] for entry in half["results"]] == [1, 1, 1, 1, 1, 1, 1, 4 / 5, 1, 3 / 5]
    assert [entry["clips"]["scored"] for entry in half["results"]] == [1, 3, 1, 1, 2, 3, 2, 5, 2, 5]
    # A model whose label list exchanges the pairs, as published files do, is scored as wrong, not as right.
    exchanged = list(HMDB)
    for a, b in (("kick", "kick ball"), ("sword", "sword exercise")):
        i, j = exchanged.index(a), exchanged.index(b)
        exchanged[i], exchanged[j] = exchanged[j], exchanged[i]
    wrong = evaluate_zero_shot(*color_pair(exchanged), "full", dataset="hmdb51", videos=hmdb)
    # kick, kick ball and sword exercise become wrong; sword and the second kick become right; wave stays.
    assert metrics(wrong)["full"]["top1"] == 3 / 6


def test_every_video_is_encoded_once_for_all_protocols(ucf, tmp_path):
    model, processor = color_pair(UCF)
    for protocol in ("full", "half_e2e", "test_splits", "truze", "fewshot_4", "base2novel"):
        evaluate_zero_shot(model, processor, protocol, dataset="ucf101", videos=ucf, store=tmp_path)
    assert sum(model.batches) == len(UCF_CLIPS)


def test_another_sampling_or_weight_is_encoded_again(ucf, tmp_path):
    model, processor = color_pair(UCF)
    arguments = dict(dataset="ucf101", videos=ucf, store=tmp_path)
    evaluate_zero_shot(model, processor, "full", **arguments)
    record = evaluate_zero_shot(model, processor, "full", **arguments, video_options={"num_frames": 3})
    assert sum(model.batches) == 2 * len(UCF_CLIPS)
    assert record["sampling"]["frames_x_views"] == "3 frames, 1 clips x 1 crops"
    with torch.no_grad():
        model.weight.mul_(2)
    evaluate_zero_shot(model, processor, "full", **arguments)
    assert sum(model.batches) == 3 * len(UCF_CLIPS)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_replaced_file_is_encoded_again(tmp_path):
    model, processor = color_pair(UCF)
    path = write_clip(tmp_path / "v" / "Archery" / "v_Archery_g01_c01.avi", UCF.index("YoYo"))
    arguments = dict(dataset="ucf101", videos=tmp_path / "v", store=tmp_path / "store")
    assert metrics(evaluate_zero_shot(model, processor, "full", **arguments))["full"]["top1"] == 0
    write_clip(path, UCF.index("Archery"))
    assert metrics(evaluate_zero_shot(model, processor, "full", **arguments))["full"]["top1"] == 1


def test_broken_and_partial_clips_are_reported(ucf, tmp_path):
    root = shutil.copytree(ucf, tmp_path / "UCF-101")
    (root / "YoYo" / "v_YoYo_g01_c01.avi").write_bytes(b"no video at all")
    record = evaluate_zero_shot(*color_pair(UCF), "full", dataset="ucf101", videos=root, store=tmp_path / "store")
    assert list(record["clips"]["broken"]) == ["v_YoYo_g01_c01"]
    assert record["clips"]["broken"]["v_YoYo_g01_c01"]
    assert record["clips"]["scored"] == 7
    assert metrics(record)["full"]["top1"] == 5 / 7
    # Repaired: the next run reads it, and it alone.
    write_clip(root / "YoYo" / "v_YoYo_g01_c01.avi", UCF.index("YoYo"))
    model, processor = color_pair(UCF)
    record = evaluate_zero_shot(model, processor, "full", dataset="ucf101", videos=root, store=tmp_path / "store")
    assert model.batches == [1]
    assert metrics(record)["full"]["top1"] == 6 / 8
    assert not record["clips"]["broken"]


def test_all_clips_broken_gives_a_record_without_numbers(tmp_path):
    path = tmp_path / "Archery" / "v_Archery_g01_c01.avi"
    path.parent.mkdir()
    path.write_bytes(b"nothing")
    record = evaluate_zero_shot(*color_pair(UCF), "test_splits", dataset="ucf101", videos=tmp_path)
    assert record["clips"]["scored"] == 0
    assert record["summary"]["top1"]["splits"] == 0


def test_gzsl_by_hand(ucf):
    """Split xu0, all 101 classes compete; a clip is 'seen' by its class."""
    record = evaluate_zero_shot(*color_pair(UCF), "gzsl", dataset="ucf101", videos=ucf, splits=["xu0"])
    (split,) = load_protocol("gzsl", "ucf101").only(["xu0"]).splits
    right = {clip: answer == ucf_folder(clip) for clip, answer in UCF_CLIPS.items()}
    accuracy = {}
    for name in {ucf_folder(clip) for clip in UCF_CLIPS if clip in split.clips}:
        of_class = [right[clip] for clip in UCF_CLIPS if ucf_folder(clip) == name and clip in split.clips]
        accuracy[name] = sum(of_class) / len(of_class)
    seen = [value for name, value in accuracy.items() if name in split.seen]
    unseen = [value for name, value in accuracy.items() if name not in split.seen]
    found = metrics(record)["xu0"]
    assert found["unseen"] == pytest.approx(sum(unseen) / len(unseen))
    if seen:
        s, u = sum(seen) / len(seen), sum(unseen) / len(unseen)
        assert found["seen"] == pytest.approx(s)
        assert found["harmonic"] == pytest.approx(2 * s * u / (s + u))


def test_base_to_novel_summary(ucf):
    record = evaluate_zero_shot(*color_pair(UCF), "base2novel", dataset="ucf101", videos=ucf)
    base, novel = (entry["metrics"]["top1"] for entry in record["results"])
    assert record["summary"] == {
        "base": base,
        "novel": novel,
        "harmonic": pytest.approx(2 * base * novel / (base + novel)),
    }


def write_manifest(folder, labels, clips) -> str:
    path = folder / "manifest.json"
    path.write_text(json.dumps({"labels": labels, "clips": clips}))
    return str(path)


def test_manifest_with_several_labels_a_clip(tmp_path):
    labels = [f"label {k}" for k in range(4)]
    colors = {"a.avi": 0, "b.avi": 2, "c.avi": 3}
    for file, number in colors.items():
        write_clip(tmp_path / file, number)
    clips = [
        {"file": "a.avi", "labels": ["label 0", "label 1"]},
        {"file": "b.avi", "labels": ["label 2"]},
        {"file": "c.avi", "labels": ["label 0"]},
    ]
    record = evaluate_zero_shot(*color_pair(labels), manifest=write_manifest(tmp_path, labels, clips))
    # Scores (minus distance) of label 0: a 0, b -2, c -3; positive a, c -> AP (1 + 2/3) / 2. Label 1: a -1, b -1,
    # c -2; positive a, tied with b -> 1/2. Label 2: b first -> 1. Label 3: no positive.
    assert metrics(record)["full"]["map"] == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2 + 1) / 3)
    assert metrics(record)["full"]["top1"] == 2 / 3


def test_one_class_is_no_choice(tmp_path):
    write_clip(tmp_path / "a.avi", 0)
    (tmp_path / "m.json").write_text(json.dumps({"clips": [{"file": "a.avi", "label": "kick"}]}))
    with pytest.raises(ValueError, match=r"\['kick'\] is no choice, every clip would count as right"):
        evaluate_zero_shot(*color_pair(["kick"]), manifest=tmp_path / "m.json")


def test_the_record_says_what_a_number_stands_on(ucf, tmp_path):
    from hf_zsar.evaluation import ModelFacts

    facts = ModelFacts(id="org/name", revision="abc", training_set="Kinetics-400")
    record = evaluate_zero_shot(*color_pair(UCF), "half_bike", dataset="ucf101", videos=ucf, facts=facts)
    protocol = load_protocol("half_bike", "ucf101")
    assert record["model"]["training_set"] == "Kinetics-400"  # 1 training set
    assert record["classes"]["hash"] == protocol.class_hash  # 2 class set
    assert record["classes"]["names"] == UCF
    assert record["protocol"]["clip_set"] == protocol.clip_set  # 3 clip set
    assert record["protocol"]["split_hash"] == protocol.split_hash  # 4 split rule
    assert "seeds 0 to 9" in record["protocol"]["split_rule"]
    assert record["sampling"]["frames_x_views"] == "2 frames, 1 clips x 1 crops"  # 5 frames x views
    assert record["prompts"]["candidates"] == "the classes of each split"  # 6 candidates
    assert record["model"]["id"] == "org/name"
    assert record["model"]["revision"] == "abc"
    assert record["model"]["fingerprint"]
    assert record["prompts"]["templates"] == ["{}"]
    assert {"torch", "transformers", "hf-zsar", "python"} <= set(record["versions"])
    save_record(record, tmp_path / "r.json")
    loaded = load_record(tmp_path / "r.json")
    assert loaded["results"][0]["per_clip"]["rank"] == record["results"][0]["per_clip"]["rank"]
    again = evaluate_zero_shot(*color_pair(UCF), "half_bike", dataset="ucf101", videos=ucf, facts=facts)
    assert without_clock(again) == without_clock(record)


def test_templates_reach_the_processor(ucf, monkeypatch):
    model, processor = color_pair(UCF)
    asked = []
    prepare = processor.prepare_labels
    monkeypatch.setattr(processor, "prepare_labels", lambda labels, **o: asked.append(o) or prepare(labels, **o))
    record = evaluate_zero_shot(
        model, processor, "full", dataset="ucf101", videos=ucf, templates="a {}", descriptions=None
    )
    assert asked == [{"templates": "a {}", "descriptions": None}]
    assert record["prompts"]["templates"] == ["a {}"]


def test_training_mode_is_given_back(ucf):
    model, processor = color_pair(UCF)
    model.train()
    evaluate_zero_shot(model, processor, "full", dataset="ucf101", videos=ucf)
    assert model.training


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(protocol="full", dataset="ucf101"), "Pass the folder with the videos of ucf101"),
        (dict(protocol="full", dataset="ucf101", manifest="m.json"), "a manifest or a data set, not both"),
        (dict(protocol="full", dataset="ucf101", videos="x", splits=["no"]), "has no split"),
    ],
)
def test_wrong_use(arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate_zero_shot(*color_pair(UCF), **arguments)


def test_key_frames_are_named(ucf):
    options = {"mode": "keyframe"}
    record = evaluate_zero_shot(*color_pair(UCF), "full", dataset="ucf101", videos=ucf, video_options=options)
    assert record["sampling"]["frames_x_views"] == "2 frames, 1 clips x 1 crops, keyframe mode"


def test_views_and_crops_are_named_and_reach_the_model(ucf):
    options = {"num_views": 2, "num_crops": 3}
    model, processor = color_pair(UCF)
    record = evaluate_zero_shot(model, processor, "full", dataset="ucf101", videos=ucf, video_options=options)
    assert record["sampling"]["frames_x_views"] == "2 frames, 2 clips x 3 crops"
    assert metrics(record)["full"]["top1"] == 5 / 8


def test_random_frames_are_refused(ucf):
    with pytest.raises(ValueError, match="'tsn_random' draws frames at random"):
        options = {"sampling": "tsn_random"}
        evaluate_zero_shot(*color_pair(UCF), "full", dataset="ucf101", videos=ucf, video_options=options)


def test_clips_of_different_lengths_need_a_fixed_number_of_frames(tmp_path):
    write_clip(tmp_path / "a.avi", 0, frames=5)
    write_clip(tmp_path / "b.avi", 1, frames=30)
    manifest = write_manifest(tmp_path, ["x", "y"], [{"file": "a.avi", "label": "x"}, {"file": "b.avi", "label": "y"}])
    with pytest.raises(ValueError, match="frames of different shapes .* fix num_frames"):
        evaluate_zero_shot(*color_pair(["x", "y"]), manifest=manifest, video_options={"fps": 2.0})


@pytest.mark.parametrize("saved", [False, True])
def test_with_and_without_descriptions_in_one_run(ucf, saved):
    """Descriptions that exchange two classes: numbers of both ways, and each video is encoded once."""
    model, processor = color_pair(UCF)
    plain = evaluate_zero_shot(model, processor, "test_splits", dataset="ucf101", videos=ucf)
    encoded = sum(model.batches)
    known = Numbers({"Archery": UCF.index("Hammering"), "Hammering": UCF.index("Archery")})
    processor.descriptions, given = (known, None) if saved else (None, known)
    record = evaluate_zero_shot(model, processor, "test_splits", dataset="ucf101", videos=ucf, descriptions=given)
    assert sum(model.batches) == 2 * encoded == 2 * len(UCF_CLIPS)
    assert metrics(record)["split1"]["top1"] == 0.0 and metrics(plain)["split1"]["top1"] == 0.5
    assert record["without_descriptions"]["results"] == plain["results"] and "without_descriptions" not in plain
    assert record["prompts"]["descriptions_used"].startswith("an ensemble of prompts (arXiv 2408.16412")
    table, _, second = text_report(record).partition("without descriptions (with them: an ensemble of prompts")
    assert "split1" in table and "split1" in second and "without descriptions" not in text_report(plain)
