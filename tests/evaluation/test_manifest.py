"""A user's own labeled clips."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hf_zsar.clips.lists import VideoDatasetError
from hf_zsar.clips.manifests import find_manifest_clips
from hf_zsar.evaluation.manifest import manifest_protocol
from hf_zsar.evaluation.splits import half_classes


def write(folder: Path, content: object) -> Path:
    path = folder / "manifest.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


CLIPS = [{"file": f"{name}.mp4", "label": name} for name in ("rowing", "archery", "surfing", "cooking")]


def test_labels_in_their_order_and_clips_in_theirs(tmp_path):
    path = write(tmp_path, {"labels": ["surfing", "rowing", "cooking", "archery", "never"], "clips": CLIPS, "x": 1})
    protocol = manifest_protocol(path)
    assert protocol.classes == ("surfing", "rowing", "cooking", "archery", "never")
    (split,) = protocol.splits
    assert split.candidates == protocol.classes
    assert split.clips == ("rowing.mp4", "archery.mp4", "surfing.mp4", "cooking.mp4")
    assert protocol.labels_of["surfing.mp4"] == ("surfing",)


def test_labels_may_be_left_out(tmp_path):
    assert manifest_protocol(write(tmp_path, {"clips": CLIPS})).classes == ("archery", "cooking", "rowing", "surfing")


@pytest.mark.parametrize("protocol", ["half_e2e", "half_bike"])
def test_halves(tmp_path, protocol):
    labels = ["surfing", "rowing", "cooking", "archery", "never"]
    resolved = manifest_protocol(write(tmp_path, {"labels": labels, "clips": CLIPS}), protocol)
    order = sorted(labels) if protocol == "half_e2e" else labels
    for seed, split in enumerate(resolved.splits):
        assert set(split.candidates) == set(half_classes(order, seed))
        assert {resolved.labels_of[clip][0] for clip in split.clips} == set(split.candidates) - {"never"}


def test_several_labels_a_clip(tmp_path):
    clips = [{"file": "a.mp4", "labels": ["rowing", "singing"]}, {"file": "b.mp4", "label": "singing"}]
    protocol = manifest_protocol(write(tmp_path, {"clips": clips}))
    assert protocol.multi_label
    assert protocol.labels_of["a.mp4"] == ("rowing", "singing")


def test_gzsl_takes_the_seen_labels(tmp_path):
    protocol = manifest_protocol(write(tmp_path, {"clips": CLIPS, "seen": ["rowing", "archery"]}), "gzsl")
    assert protocol.generalized
    assert protocol.splits[0].seen == {"rowing", "archery"}


@pytest.mark.parametrize("seen", [None, [], ["archery", "cooking", "rowing", "surfing"]])
def test_gzsl_needs_seen_and_unseen_labels(tmp_path, seen):
    content = {"clips": CLIPS} if seen is None else {"clips": CLIPS, "seen": seen}
    with pytest.raises(VideoDatasetError, match="'seen' must name some, not all"):
        manifest_protocol(write(tmp_path, content), "gzsl")


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (["flying", "rowing", "Archery"], r"names classes that 'labels' lacks: \['Archery', 'flying'\]"),
        (["rowing", "rowing"], r"'seen' has names that stand twice: \['rowing'\]"),
        ("rowing", "'seen' must be a list of names"),
        ([["rowing"]], "'seen' must be a list of names"),
    ],
)
def test_seen_labels_that_are_none_are_named(tmp_path, seen, message):
    with pytest.raises(VideoDatasetError, match=message):
        manifest_protocol(write(tmp_path, {"clips": CLIPS, "seen": seen}), "gzsl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ([], "lists no videos"),
        ({"clips": []}, "non-empty list 'clips'"),
        ({"clips": [{"label": "a"}]}, "clip 1 has no 'file'"),
        ({"clips": [{"file": "a.mp4"}]}, "'a.mp4' needs a 'label'"),
        ({"clips": [{"file": "a.mp4", "label": 20}]}, "a name, not a number"),
        ({"clips": [{"file": "a.mp4", "labels": []}]}, "'a.mp4' needs a 'label'"),
        ({"clips": [{"file": "a.mp4", "label": x} for x in "ab"]}, "the file 'a.mp4' stands twice, with .*'a'.*'b'"),
        ({"labels": ["b"], "clips": [{"file": "a.mp4", "label": "a"}]}, r"labels that 'labels' lacks: \['a'\]"),
        (
            {"labels": ["a", "a"], "clips": [{"file": "a.mp4", "label": "a"}]},
            r"names that stand twice: \['a'\]",
        ),
        ({"labels": [1], "clips": [{"file": "a.mp4", "label": "a"}]}, "must be a list of names"),
    ],
)
def test_a_broken_manifest_is_one_clear_error(tmp_path, content, message):
    with pytest.raises(VideoDatasetError, match=message) as error:
        manifest_protocol(write(tmp_path, content))
    assert "manifest.json" in str(error.value)


def test_no_manifest(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no manifest"):
        manifest_protocol(tmp_path / "none.json")


def test_a_protocol_that_manifests_do_not_have(tmp_path):
    with pytest.raises(ValueError, match="not defined on a manifest, but full, half_e2e"):
        manifest_protocol(write(tmp_path, {"clips": CLIPS}), "truze")


def test_files_lie_beside_the_manifest_or_elsewhere(tmp_path):
    path = write(tmp_path, {"clips": CLIPS})
    protocol = manifest_protocol(path)
    with pytest.raises(FileNotFoundError, match="None of the 4 clips"):
        find_manifest_clips(path, protocol.clips, None)
    (tmp_path / "rowing.mp4").touch()
    found = find_manifest_clips(path, protocol.clips, None)
    assert list(found.paths) == ["rowing.mp4"]
    assert len(found.missing) == 3
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "surfing.mp4").touch()
    assert list(find_manifest_clips(path, protocol.clips, tmp_path / "other").paths) == ["surfing.mp4"]


def test_the_real_clips_have_a_sound_manifest(clips_dir, clips_manifest):
    protocol = manifest_protocol(clips_dir / "manifest.json")
    assert list(protocol.classes) == clips_manifest["labels"]
    assert len(protocol.clips) == len(clips_manifest["clips"])
