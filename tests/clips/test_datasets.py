"""Labeled videos from every layout: what is found, what is missing, what is refused."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path

import datasets
import pytest
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader

from hf_zsar.clips.datasets import VideoDatasetError, few_shot, load_video_dataset, with_classes


datasets.disable_progress_bars()
CLASSES = {"cooking": 3, "ApplyEyeMakeup": 2, "riding a bike": 4}


@pytest.fixture
def folder(tmp_path) -> Path:
    """Class folders of files that only have a name and some bytes: nothing here decodes."""
    root = tmp_path / "videos"
    for name, count in CLASSES.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"v_{number}.avi").write_bytes(f"{name} {number}".encode())
    (root / "cooking" / "notes.txt").write_text("no video")
    (root / ".hidden").mkdir()
    (root / ".hidden" / "v.mp4").write_bytes(b"x")
    return root


def listed(dataset):
    names = dataset.features["label"].names
    return [(Path(row["video"]["path"]).name, names[row["label"]]) for row in dataset]


def every(root):
    return [(path.name, path.parent.name) for name in sorted(CLASSES) for path in sorted((root / name).glob("*.avi"))]


# -- layouts ---------------------------------------------------------------------------------------------------------


def test_class_folders(folder):
    dataset = load_video_dataset(folder)
    assert dataset.features["label"].names == sorted(CLASSES)
    assert listed(dataset) == every(folder)
    assert dataset["index"][:] == list(range(9))
    assert dataset[0]["video"]["bytes"] is None  # not read until it is needed


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv"])
@pytest.mark.parametrize("column", ["file", "video", "path"])
def test_manifests(folder, suffix, column):
    rows = [{column: f"{label}/{name}", "label": label} for name, label in every(folder)]
    path = folder / f"manifest.{suffix}"
    if suffix == "json":
        path.write_text(json.dumps({"labels": ["x", *sorted(CLASSES)], "clips": rows}))
    elif suffix == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [column, "label"])
            writer.writeheader()
            writer.writerows(rows)
    dataset = load_video_dataset(path)
    assert listed(dataset) == every(folder)
    assert dataset.features["label"].names == (["x"] if suffix == "json" else []) + sorted(CLASSES)
    moved = path.rename(folder.parent / path.name)
    assert listed(load_video_dataset(moved, root=folder)) == every(folder)


def test_ucf101_lists(folder):
    """Trainlists number the class from 1, testlists leave the number out; the folder names it in both."""
    train = folder / "trainlist01.txt"
    train.write_text("ApplyEyeMakeup/v_0.avi 1\ncooking/v_2.avi 2\n")
    assert listed(load_video_dataset(train)) == [("v_0.avi", "ApplyEyeMakeup"), ("v_2.avi", "cooking")]
    test = folder / "testlist01.txt"
    test.write_text("ApplyEyeMakeup/v_1.avi\n\n")
    dataset = load_video_dataset(test, label_names=["cooking", "ApplyEyeMakeup"])
    assert dataset["label"][:] == [1]


def test_hmdb51_lists(folder):
    path = folder / "cooking_test_split1.txt"
    path.write_text("v_0.avi 1 \nv_1.avi 2 \nv_2.avi 0 \n")
    assert listed(load_video_dataset(path)) == [("v_0.avi", "cooking")]
    assert listed(load_video_dataset(path, split="test")) == [("v_1.avi", "cooking")]
    (folder / "ApplyEyeMakeup_test_split1.txt").write_text("v_0.avi 1 \nv_1.avi 2 \n")
    (folder / "ApplyEyeMakeup_test_split2.txt").write_text("v_1.avi 1 \n")
    lists = folder.parent / "lists"
    lists.mkdir()
    for each in folder.glob("*_split*.txt"):
        each.rename(lists / each.name)
    every_class = load_video_dataset(lists / "*_test_split1.txt", root=folder)
    assert listed(every_class) == [("v_0.avi", "ApplyEyeMakeup"), ("v_0.avi", "cooking")]


def test_lists_of_the_repositories_of_the_field(folder):
    """`path frames label` with numbers from 0, as ActionCLIP and BIKE write them; a name may stand there too."""
    path = folder / "train.txt"
    names = ["cooking", "ApplyEyeMakeup"]
    full = folder / "ApplyEyeMakeup" / "v_1.avi"
    path.write_text(f"{full} 120 1\n")
    dataset = load_video_dataset(path, label_names=names)
    assert dataset["label"][:] == [1]
    (folder / "flat.avi").write_bytes(b"x")
    path.write_text("flat.avi 120 0\n")
    assert load_video_dataset(path, label_names=names)["label"][:] == [0]
    path.write_text("flat.avi cooking\n")
    assert load_video_dataset(path, label_names=names)["label"][:] == [0]
    path.write_text("flat.avi 7\n")
    with pytest.raises(VideoDatasetError, match="not among the 2 classes"):
        load_video_dataset(path, label_names=names)


@pytest.mark.parametrize(
    "name", ["{id}_{start:06d}_{end:06d}.mp4", "{id}.mp4", "riding a bike/{id}_{start:06d}_{end:06d}.mp4"]
)
def test_kinetics_lists(tmp_path, name):
    """The official CSV names a clip by its YouTube id and its seconds; downloaders name the file in several ways."""
    file = tmp_path / name.format(id="-abc_1", start=7, end=17)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"x")
    path = tmp_path / "train.csv"
    path.write_text("label,youtube_id,time_start,time_end,split\nriding a bike,-abc_1,7,17,train\n")
    assert listed(load_video_dataset(path)) == [(file.name, "riding a bike")]


def test_activitynet_list(tmp_path):
    """One JSON of all videos: those of a subset, each with the label of its first annotation."""
    database = {
        "abc": {"subset": "training", "annotations": [{"label": "Zumba", "segment": [1, 2]}]},
        "def": {"subset": "validation", "annotations": [{"label": "Archery", "segment": [1, 2]}]},
        "ghi": {"subset": "testing", "annotations": []},
    }
    (tmp_path / "v_abc.mp4").write_bytes(b"x")
    (tmp_path / "def.webm").write_bytes(b"x")
    path = tmp_path / "activity_net.v1-3.min.json"
    path.write_text(json.dumps({"version": "VERSION 1.3", "database": database}))
    train, validation = load_video_dataset(path), load_video_dataset(path, split="validation")
    assert listed(train) == [("v_abc.mp4", "Zumba")] and listed(validation) == [("def.webm", "Archery")]
    assert train.features["label"].names == validation.features["label"].names == ["Archery", "Zumba"]


def test_parquet(folder, tmp_path):
    rows = {"video": [], "label": []}
    for name, label in every(folder):
        rows["video"].append({"bytes": (folder / label / name).read_bytes(), "path": name})
        rows["label"].append(label)
    shards = tmp_path / "shards"
    shards.mkdir()
    datasets.Dataset.from_dict(rows).to_parquet(shards / "part-0.parquet")
    names = sorted(CLASSES)
    for streaming in (False, True):
        dataset = load_video_dataset(shards, label_names=names, streaming=streaming)
        first = next(iter(dataset))
        assert first["video"]["bytes"] == b"ApplyEyeMakeup 0" and first["label"] == 0 and first["index"] == 0
        assert sum(1 for _ in dataset) == 9
    with pytest.raises(VideoDatasetError, match="label_names"):
        load_video_dataset(shards)
    (shards / "part-0.parquet").unlink()
    datasets.Dataset.from_dict({"clip": ["a"], "label": ["x"]}).to_parquet(shards / "part-0.parquet")
    with pytest.raises(VideoDatasetError, match=r"columns \['clip', 'label'\]: none for the video"):
        load_video_dataset(shards, label_names=["x"])


def test_webdataset(folder, tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    with tarfile.open(shards / "part-0.tar", "w") as tar:
        for number, (name, label) in enumerate(every(folder)):
            for suffix, data in (("mp4", (folder / label / name).read_bytes()), ("txt", label.encode())):
                member = tarfile.TarInfo(f"{number:03d}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    dataset = load_video_dataset(shards, label_names=sorted(CLASSES), streaming=True)
    rows = list(dataset)
    assert len(rows) == 9 and rows[0]["video"]["bytes"] == b"ApplyEyeMakeup 0"
    assert [row["label"] for row in rows] == [0, 0, 1, 1, 1, 2, 2, 2, 2]


# -- streaming -------------------------------------------------------------------------------------------------------


def test_streams_are_shared_out_over_nodes_and_workers(folder):
    """Every video once, whoever reads it."""
    stream = load_video_dataset(folder, streaming=True)
    assert [row["index"] for row in stream] == list(range(9))
    seen = []
    for rank in (0, 1):
        part = split_dataset_by_node(stream, rank=rank, world_size=2)
        loader = DataLoader(part, batch_size=None, num_workers=3 if rank == 0 else 0)
        seen.append([row["index"] for row in loader])
    assert all(seen) and sorted(seen[0] + seen[1]) == list(range(9))


# -- what is wrong ---------------------------------------------------------------------------------------------------


def test_missing_files_are_counted_named_and_only_then_left_out(folder, caplog):
    path = folder / "manifest.jsonl"
    rows = [{"file": f"cooking/v_{number}.avi", "label": "cooking"} for number in range(5)]
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(VideoDatasetError, match=r"2 of 5 videos are missing.*v_3\.avi"):
        load_video_dataset(path)
    dataset = load_video_dataset(path, on_missing="report")
    assert len(dataset) == 3 and "2 of 5" in caplog.text and "v_3.avi" in caplog.text
    with pytest.raises(VideoDatasetError, match="5 of 5"):
        load_video_dataset(path, root=folder.parent, on_missing="report")
    with pytest.raises(ValueError, match="on_missing"):
        load_video_dataset(path, on_missing="ignore")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "not JSON"),
        ("a.json", '{"videos": []}', "list 'clips'"),
        ("a.json", '[{"file": "x.avi"}]', "entry 0"),
        ("a.jsonl", '{"file": "x.avi", "label": "a"}\n{"label": "a"}', "entry 2"),
        ("a.jsonl", "no json", "line 1 is not JSON"),
        ("a.csv", "file,label\nx.avi,\n", "entry 2"),
        ("a.txt", "lonely\n", "line 1"),
        ("a.txt", "\n\n", "lists no videos"),
    ],
)
def test_files_that_say_nothing_are_refused_with_their_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(VideoDatasetError, match=message):
        load_video_dataset(tmp_path / name)


def test_empty_and_absent_sources(tmp_path):
    with pytest.raises(VideoDatasetError, match="lists no videos"):
        load_video_dataset(tmp_path)
    with pytest.raises(VideoDatasetError, match="no such"):
        load_video_dataset(tmp_path / "nothing")
    with pytest.raises(VideoDatasetError, match="no such"):
        load_video_dataset("nothing.csv")


def test_labels_must_be_among_the_classes(folder):
    with pytest.raises(VideoDatasetError, match="riding a bike"):
        load_video_dataset(folder, label_names=["cooking", "ApplyEyeMakeup"])


# -- parts -----------------------------------------------------------------------------------------------------------


def test_few_shot_is_seeded_and_balanced(folder):
    dataset = load_video_dataset(folder)
    subset = few_shot(dataset, 2, seed=1)
    assert subset["label"][:] == [0, 0, 1, 1, 2, 2]
    assert subset["index"][:] == few_shot(dataset, 2, seed=1)["index"][:]
    assert len({tuple(few_shot(dataset, 2, seed=seed)["index"][:]) for seed in range(10)}) > 3
    with pytest.raises(VideoDatasetError, match="'ApplyEyeMakeup' has 2 videos, 3"):
        few_shot(dataset, 3)


def test_some_classes_are_numbered_anew(folder):
    dataset = load_video_dataset(folder)
    part = with_classes(dataset, ["riding a bike", "ApplyEyeMakeup"])
    assert part.features["label"].names == ["riding a bike", "ApplyEyeMakeup"]
    assert listed(part) == [pair for pair in every(folder) if pair[1] != "cooking"]
    assert part["index"][:] == [i for i, (_, label) in enumerate(every(folder)) if label != "cooking"]
    with pytest.raises(VideoDatasetError, match="no such classes"):
        with_classes(dataset, ["swimming"])


def test_a_manifest_of_real_clips(clips_dir, clips_manifest):
    dataset = load_video_dataset(clips_dir / "manifest.json")
    assert len(dataset) == len(clips_manifest["clips"])
    assert listed(dataset) == [(Path(clip["file"]).name, clip["label"]) for clip in clips_manifest["clips"]]
