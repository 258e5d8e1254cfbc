"""Protocols resolved from packaged lists: counts of the literature, guards against label traps, hashes, errors."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest

from hf_zsar.data import load_class_names, load_protocol_file
from hf_zsar.evaluation import protocol_builders
from hf_zsar.evaluation.protocol_builders import PROTOCOLS
from hf_zsar.evaluation.protocols import Protocol, Split, in_label_order
from hf_zsar.evaluation.splits import source_group


load_protocol = functools.cache(protocol_builders.load_protocol)
PAIRS = [(spec.id, dataset) for spec in PROTOCOLS.values() for dataset in spec.datasets]


def sizes(protocol: str, dataset: str) -> list[int]:
    return [len(split.clips) for split in load_protocol(protocol, dataset).splits]


def test_the_protocols_of_the_field_are_there():
    wanted = "full half_e2e half_bike test_splits k600_er_test k600_val xu2017 truze base2novel gzsl".split()
    wanted += [f"fewshot_{k}" for k in (2, 4, 8, 16)]
    assert set(wanted) <= set(PROTOCOLS)


@pytest.mark.parametrize(("protocol", "dataset"), PAIRS)
def test_every_protocol_is_sound(protocol, dataset):
    resolved = load_protocol(protocol, dataset)
    class_list = "kinetics600_new220" if dataset == "kinetics600" else dataset
    assert list(resolved.classes) == load_class_names(class_list)
    for split in resolved.splits:
        assert split.clips and len(set(split.clips)) == len(split.clips)
        # Candidates stand in label order, whatever the order of the published list.
        assert split.candidates == in_label_order(resolved.classes, split.candidates)
        assert {resolved.labels_of[clip][0] for clip in split.clips} == set(split.candidates)
    assert resolved.lists and resolved.rule and resolved.clip_set and resolved.training and resolved.label_order
    assert not resolved.multi_label
    assert resolved.generalized == (protocol == "gzsl")


@pytest.mark.parametrize(
    ("protocol", "dataset", "counts"),
    [
        ("full", "ucf101", [13_320]),
        ("full", "hmdb51", [6_766]),
        ("full", "activitynet200", [14_950]),
        ("test_splits", "ucf101", [3_783, 3_734, 3_696]),
        ("test_splits", "hmdb51", [1_530, 1_530, 1_530]),
        ("half_e2e", "ucf101", [6619, 6526, 6660, 6884, 6626, 6448, 6690, 6552, 6633, 6762]),
        ("half_bike", "ucf101", [6619, 6505, 6670, 6884, 6657, 6427, 6690, 6552, 6612, 6731]),
        ("half_e2e", "hmdb51", [3262, 3485, 3548, 3530, 3682, 3706, 3482, 3151, 3574, 3066]),
        ("half_bike", "hmdb51", [3262, 3485, 3548, 3530, 3682, 3706, 3482, 3151, 3574, 3066]),
        ("half_e2e", "activitynet200", [7671, 7370, 7596, 7584, 7360, 7267, 7383, 7512, 7603, 7471]),
        ("k600_er_test", "kinetics600", [14_131, 14_078, 14_167]),
        ("k600_val", "kinetics600", [7_276, 7_226, 7_261]),
        ("fewshot_16", "ssv2", [24_777]),
        ("base2novel", "hmdb51", [780, 750]),
        ("base2novel", "ucf101", [2_088, 1_695]),
        ("base2novel", "kinetics400", [9_944, 9_933]),
        ("base2novel", "ssv2", [17_562, 7_215]),
    ],
)
def test_clip_counts_of_the_literature(protocol, dataset, counts):
    assert sizes(protocol, dataset) == counts


@pytest.mark.parametrize(("dataset", "pairs"), [("ucf101", (51, 50)), ("hmdb51", (26, 25))])
def test_xu2017_has_fifty_splits_of_the_unseen_half(dataset, pairs):
    protocol = load_protocol("xu2017", dataset)
    assert len(protocol.splits) == 50
    assert {len(split.candidates) for split in protocol.splits} == {pairs[1]}


def test_hmdb51_kick_and_sword_are_not_exchanged():
    """ActionCLIP's and ViFi-CLIP's label files list kick ball 20, kick 21: a name decides here, never an index."""
    classes = load_class_names("hmdb51")
    assert [classes.index(name) for name in ("kick", "kick ball", "sword", "sword exercise")] == [20, 21, 44, 45]
    labels_of = load_protocol("full", "hmdb51").labels_of
    for name, folder_name in (("kick ball", "kick_ball"), ("sword exercise", "sword_exercise")):
        clips = [clip for clip, labels in labels_of.items() if labels == (name,)]
        assert clips and all(folder_name in clip for clip in clips)
    for name in ("kick", "sword"):
        longer = {"kick": "_kick_ball_", "sword": "_sword_exercise_"}[name]
        clips = [clip for clip, labels in labels_of.items() if labels == (name,)]
        assert clips and not any(longer in clip for clip in clips)
    for protocol in ("full", "test_splits", "fewshot_2", "base2novel"):
        assert any("exchange" in caveat for caveat in load_protocol(protocol, "hmdb51").caveats)


def test_ucf101_order_is_the_official_one():
    classes = load_protocol("full", "ucf101").classes
    order = [classes.index(name) for name in ("Hammering", "HammerThrow", "JumpingJack", "JumpRope")]
    assert order == [34, 35, 46, 47]
    labels_of = load_protocol("full", "ucf101").labels_of
    for clip, labels in labels_of.items():
        assert clip.split("_")[1].casefold() == labels[0].casefold()


def test_gzsl_tests_all_unseen_clips_and_held_out_seen_ones():
    protocol = load_protocol("gzsl", "ucf101")
    videos = load_protocol_file("ucf101_all_videos")["videos_by_class"]
    split = protocol.splits[7]
    assert split.candidates == protocol.classes
    trained = {clip for name in split.seen for clip in videos[name]} - set(split.clips)
    assert {protocol.labels_of[clip][0] for clip in trained} == split.seen
    groups = {source_group("ucf101", clip) for clip in trained}
    assert not groups & {source_group("ucf101", clip) for clip in split.clips}
    for name in set(protocol.classes) - split.seen:
        assert set(videos[name]) <= set(split.clips)


def training_lists(name):
    return load_protocol_file(name)["splits"]


@pytest.mark.parametrize("shots", [2, 4, 8, 16])
@pytest.mark.parametrize("dataset", ["ucf101", "hmdb51"])
def test_few_shot_training_and_test_clips_are_apart(dataset, shots):
    lists = training_lists(f"{dataset}_fewshot_vifi")
    (training,) = (each["videos_by_class"] for each in lists if each["shots"] == shots)
    assert all(len(clips) == shots for clips in training.values())
    assert set(training) == set(load_class_names(dataset))
    tested = set(load_protocol(f"fewshot_{shots}", dataset).splits[0].clips)
    assert not tested & {clip for clips in training.values() for clip in clips}


def test_base2novel_halves_and_training_lists():
    protocol = load_protocol("base2novel", "hmdb51")
    base, novel = (set(split.candidates) for split in protocol.splits)
    assert not base & novel
    assert base | novel == set(protocol.classes)
    training = [each for each in training_lists("hmdb51_base2novel_vifi") if "train" in each["name"]]
    assert len(training) == 3
    for videos in (each["videos_by_class"] for each in training):
        assert set(videos) == base
        assert {len(clips) for clips in videos.values()} == {16}
        assert not {clip for clips in videos.values() for clip in clips} & set(protocol.clips)


def test_hashes_know_names_and_not_their_order():
    protocol = load_protocol("test_splits", "hmdb51")
    shuffled = replace(
        protocol,
        splits=tuple(replace(split, clips=split.clips[::-1]) for split in protocol.splits),
        labels_of=dict(reversed(protocol.labels_of.items())),
    )
    assert shuffled.split_hash == protocol.split_hash
    first = protocol.splits[0]
    fewer = replace(protocol, splits=(replace(first, clips=first.clips[1:]), *protocol.splits[1:]))
    assert fewer.split_hash != protocol.split_hash
    # The exchanged label files of the literature give another hash.
    swapped = list(protocol.classes)
    swapped[20], swapped[21] = swapped[21], swapped[20]
    assert replace(protocol, classes=tuple(swapped)).class_hash != protocol.class_hash


def test_every_hash_is_its_own():
    seen = {}
    for protocol, dataset in PAIRS:
        seen.setdefault(load_protocol(protocol, dataset).split_hash, []).append((protocol, dataset))
    shared = sorted(sorted({dataset for _, dataset in names}) for names in seen.values() if len(names) > 1)
    # Few-shot tests share their clips; HMDB51's and ActivityNet's halves are the same for E2E and BIKE.
    assert shared == [["activitynet200"], ["hmdb51"], ["hmdb51"], ["ssv2"], ["ucf101"]]


def test_some_splits_of_a_protocol():
    protocol = load_protocol("xu2017", "hmdb51").only(["xu3", "xu1"])
    assert [split.name for split in protocol.splits] == ["xu3", "xu1"]
    with pytest.raises(ValueError, match="no split.*xu99.*It has: xu0"):
        load_protocol("xu2017", "hmdb51").only(["xu99"])


@pytest.mark.parametrize(
    ("protocol", "dataset", "message"),
    [
        ("half_e2", "ucf101", "Did you mean 'half_e2e'"),
        ("full", None, "needs a data set: ucf101"),
        ("full", "ucf", "Unknown data set 'ucf'"),
        ("truze", "kinetics600", "not defined on Kinetics-600, but on ucf101, hmdb51"),
    ],
)
def test_errors_say_what_to_do(protocol, dataset, message):
    with pytest.raises(ValueError, match=message):
        load_protocol(protocol, dataset)


def test_a_data_set_may_be_left_out_where_there_is_one():
    assert load_protocol("k600_val").dataset == "kinetics600"
    assert load_protocol("full", "UCF-101").dataset == "ucf101"
    assert load_protocol("full", "HMDB_51").split_hash == load_protocol("full", "hmdb51").split_hash


def protocol_of(**changes) -> Protocol:
    values = dict(
        id="p",
        dataset="d",
        classes=("a", "b"),
        labels_of={"1": ("a",), "2": ("b",)},
        splits=(Split("s", ("a", "b"), ("1", "2")),),
        rule="",
        clip_set="",
        training="",
        label_order="",
    )
    return Protocol(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(classes=("a", "b", "a")), "stands twice in the label list"),
        (dict(splits=()), "at least one split"),
        (dict(splits=(Split("s", ("a",), ()), Split("s", ("b",), ()))), "its own name"),
        (dict(splits=(Split("s", ("a", "c"), ()),)), "not in the label list: .'c'"),
        (dict(splits=(Split("s", ("a", "a"), ()),)), "a candidate stands twice"),
        (
            dict(splits=(Split("s", ("a", "c"), ("2",)),), classes=("a", "b", "c")),
            "clip '2' is none of the candidates",
        ),
        (dict(splits=(Split("s", ("a", "b"), (), frozenset("c")),)), "not in the label list"),
    ],
)
def test_an_unsound_protocol_is_refused(changes, message):
    protocol_of()
    with pytest.raises(ValueError, match=message):
        protocol_of(**changes)
