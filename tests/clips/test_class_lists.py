"""The packaged lists: complete, canonical, consistent with one another and with the published counts."""

from __future__ import annotations

import gzip
import json
from importlib.resources import files

import pytest

from hf_zsar import data


NUM_CLASSES = {
    "activitynet200": 200,
    "hmdb51": 51,
    "imagenet1k": 1000,
    "kinetics400": 400,
    "kinetics600": 600,
    "kinetics600_new220": 220,
    "kinetics700": 700,
    "olympic_sports16": 16,
    "ssv2": 174,
    "ucf101": 101,
}

# First 12 hex digits of resource_sha256. A list that changes changes every number measured with it: never in passing.
SHA256 = {
    "activitynet200": "47eb29b95851",
    "hmdb51": "aed12fb44860",
    "imagenet1k": "3631a5567534",
    "kinetics400": "afadeaf930c8",
    "kinetics600": "d1fc387695b6",
    "kinetics600_new220": "f2ffd4ce57c4",
    "kinetics700": "a239f354fdce",
    "olympic_sports16": "f278da48dabe",
    "ssv2": "6ddf641ba562",
    "ucf101": "051a56cecee9",
    "activitynet200_half_e2e": "aac14bdc52ae",
    "activitynet200_half_locate": "2f5e9ce4b26e",
    "activitynet200_videos": "8344c875f666",
    "e2e_overlap_rule": "fafb4a9ed899",
    "hmdb51_all_videos": "d48f2df95cbb",
    "hmdb51_base2novel_vifi": "d580b20f989b",
    "hmdb51_fewshot_vifi": "192d9f3cf17a",
    "hmdb51_half_e2e": "69d88f900e14",
    "hmdb51_half_openvclip": "bb9e8941fb37",
    "hmdb51_half_xu2017": "abc8163fbeaa",
    "hmdb51_official_splits": "c02a46e3c589",
    "hmdb51_truze": "cdb7b5a18afd",
    "kinetics400_base2novel_vifi": "84e4a08334ce",
    "kinetics400_val_videos": "67823fc97565",
    "kinetics600_new220_test_availability": "10df005def69",
    "kinetics600_new220_test_videos_er": "e6e3bb119644",
    "kinetics600_new220_val_videos_er": "49ced1321083",
    "kinetics600_new220_val_videos_openvclip": "9497b1f89ba0",
    "kinetics600_zsar_er": "40acbafcda9d",
    "olympic_sports16_half_xu2017": "708e166bbbb5",
    "ssv2_base2novel_vifi": "b71a65959e9c",
    "ssv2_fewshot_vifi": "d49a4b1b9b8a",
    "ucf101_all_videos": "ed323729b9d7",
    "ucf101_base2novel_vifi": "fff05062b4a0",
    "ucf101_fewshot_vifi": "a971705ee24d",
    "ucf101_half_bike": "31f1be5f5faf",
    "ucf101_half_e2e": "19b3a4aea764",
    "ucf101_half_openvclip": "d31624403bb7",
    "ucf101_half_xu2017": "a923150bfafa",
    "ucf101_official_splits": "b6b2f14925d0",
    "ucf101_truze": "5adbe9b8ed94",
}


def class_names_in(record: dict) -> set[str]:
    """Every class name that a split list mentions."""
    parts = [record, *record.get("splits", [])]
    names: set[str] = set()
    for part in parts:
        names.update(part.get("videos_by_class", {}))
        for key in ("seen", "unseen", "train", "val", "test", "base_classes", "novel_classes", "classes"):
            if isinstance(part.get(key), list):
                names.update(part[key])
    return names


def test_class_lists_have_the_published_sizes():
    assert {name: len(data.load_class_names(name)) for name in data.available_class_lists()} == NUM_CLASSES
    for name in data.available_class_lists():
        assert data.load_class_list(name)["num_classes"] == NUM_CLASSES[name]


@pytest.mark.parametrize("name", [name for name in NUM_CLASSES if name != "imagenet1k"])
def test_class_names_are_distinct_also_when_cleaned(name):
    for display in (False, True):
        names = data.load_class_names(name, display=display)
        assert len(set(names)) == len(names)
        assert all(label == label.strip() and label for label in names)


def test_label_order_traps():
    hmdb = data.load_class_names("hmdb51")
    assert hmdb == sorted(hmdb)
    assert [hmdb.index(label) for label in ("kick", "kick ball", "sword", "sword exercise")] == [20, 21, 44, 45]
    ucf = data.load_class_names("ucf101")
    assert [ucf.index(label) for label in ("Hammering", "HammerThrow", "JumpingJack", "JumpRope")] == [34, 35, 46, 47]


def test_imagenet_order():
    record = data.load_class_list("imagenet1k")
    assert len(record["synsets"]) == 1000
    assert record["synsets"] == sorted(record["synsets"])
    # The two pairs of distinct synsets that lists without synset ids mix up.
    assert record["classes"][134] == record["classes"][517] == "crane"
    assert record["classes"][638].startswith("maillot") and record["classes"][639].startswith("maillot")


def test_display_names_are_words():
    names = data.load_class_names("ucf101", display=True)
    assert names[0] == "apply eye makeup"
    assert data.load_class_names("olympic_sports16", display=True)[2] == "clean and jerk"
    assert all("_" not in name for name in names)


@pytest.mark.parametrize("name", data.available_protocol_files())
def test_split_lists_use_the_spelling_of_their_class_list(name):
    record = data.load_protocol_file(name)
    if record["schema"] in ("zsar-rule/1", "zsar-availability/1"):
        assert record["sources"]
        return
    known = set(data.load_class_names(record["dataset"]))
    mentioned = class_names_in(record)
    assert mentioned and mentioned <= known, sorted(mentioned - known)[:5]


@pytest.mark.parametrize("name", data.available_protocol_files())
def test_counts_stated_in_split_lists_are_true(name):
    record = data.load_protocol_file(name)
    for part in [record, *record.get("splits", [])]:
        if "videos_by_class" in part:
            ids = [clip for clips in part["videos_by_class"].values() for clip in clips]
            assert len(ids) == part["num_videos"]


def test_official_split_sizes():
    def sizes(name: str) -> list[int]:
        return sorted(part["num_videos"] for part in data.load_protocol_file(name)["splits"])

    assert sizes("ucf101_official_splits") == [3696, 3734, 3783, 9537, 9586, 9624]
    assert sizes("hmdb51_official_splits") == [1530] * 3 + [3570] * 3


def test_kinetics600_new_classes_are_new():
    new = data.load_class_list("kinetics600_new220")
    only_in_600 = set(data.load_class_names("kinetics600")) - set(data.load_class_names("kinetics400"))
    assert only_in_600 - set(new["renamed_k400_to_k600"].values()) == set(new["classes"])
    for split in data.load_protocol_file("kinetics600_zsar_er")["splits"]:
        assert len(split["val"]) == 60 and len(split["test"]) == 160
        assert set(split["val"]) | set(split["test"]) == set(new["classes"])


def test_stored_text_is_canonical():
    """One record, one text, one hash: whoever packs a list again gets the same bytes."""
    for kind in ("classes", "protocols"):
        for entry in (files("hf_zsar.data") / "resources" / kind).iterdir():
            packed = entry.read_bytes()
            text = gzip.decompress(packed)
            assert json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":")).encode() == text
            assert packed[3:8] == bytes(5), "no name and no time in the gzip header"


def test_hashes():
    hashes = {
        name: data.resource_sha256(name)[:12]
        for name in data.available_class_lists() + data.available_protocol_files()
    }
    assert hashes == SHA256


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'ucf-101'.*Did you mean 'ucf101'.*kinetics400"):
        data.load_class_names("ucf-101")
    with pytest.raises(ValueError, match="hmdb51_truze"):
        data.load_protocol_file("../classes/ucf101")
    with pytest.raises(ValueError, match="class or protocol list named 'nothing'"):
        data.resource_sha256("nothing")


def test_every_list_has_a_source():
    described = (files("hf_zsar.data") / "SOURCES.md").read_text(encoding="utf-8")
    for name in data.available_class_lists():
        assert data.load_class_list(name)["sources"]
        assert name in described
    for name in data.available_protocol_files():
        assert data.load_protocol_file(name)["sources"]
