"""Lists and manifests as people save and write them: read right, or refused in words."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

from hf_zsar.clips.datasets import VideoDatasetError, load_video_dataset
from hf_zsar.clips.lists import labeled_files, read_list
from hf_zsar.clips.manifests import find_manifest_clips
from hf_zsar.evaluation.manifest import manifest_protocol


datasets.disable_progress_bars()
ROWS = [("archery/a b.avi", "archery"), ("riding a bike/c[1].avi", "riding a bike")]


@pytest.fixture
def clips(tmp_path) -> Path:
    for name, _ in ROWS:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def of_training(path: Path) -> list[tuple[str, str]]:
    dataset = load_video_dataset(path)
    names = dataset.features["label"].names
    return [(Path(row["video"]["path"]).relative_to(path.parent).as_posix(), names[row["label"]]) for row in dataset]


def of_evaluation(path: Path) -> list[tuple[str, str]]:
    protocol = manifest_protocol(path)
    found = find_manifest_clips(path, protocol.clips, None)
    assert not found.missing
    return [
        (place.relative_to(path.parent).as_posix(), protocol.labels_of[clip][0]) for clip, place in found.paths.items()
    ]


def table(separator: str, rows: list[tuple[str, str]], quote: str = "") -> str:
    return "".join(f"{quote}{a}{quote}{separator}{quote}{b}{quote}\r\n" for a, b in [("file", "label"), *rows])


LISTS = {
    "l.csv": table(",", ROWS),
    "semicolons.csv": table(";", ROWS),
    "tabs.csv": table("\t", ROWS),
    "excel.csv": "sep=;\r\n" + table(";", ROWS, '"'),
    "l.tsv": table("\t", ROWS),
    "UPPER.CSV": table(",", ROWS).replace("file,label", "Path, LABEL"),
    "l.jsonl": "\r\n".join(json.dumps({"video": file, "label": label}) for file, label in ROWS),
    "list.json": json.dumps([{"path": file, "label": label} for file, label in ROWS]),
    "manifest.json": json.dumps({"clips": [{"file": file, "label": label} for file, label in ROWS]}),
    "ucf.txt": "".join(f"{file} {number}\n" for number, (file, _) in enumerate(ROWS)),
    "test.txt": "".join(f"{file}\n" for file, _ in ROWS),
    "tabs.txt": "".join(f"{file}\t{label}\n" for file, label in ROWS),
    "frames.txt": "".join(f"{file}\t120\t{label}\n" for file, label in ROWS),
    "blanks.txt": "".join(f"{file} {label}\n" for file, label in ROWS),
    "windows.csv": table(";", [(file.replace("/", "\\"), label) for file, label in ROWS]),
    "windows.txt": "".join(f"{file} {n}\r\n".replace("/", "\\") for n, (file, _) in enumerate(ROWS)),
    "windows.jsonl": "\n".join(json.dumps({"file": f.replace("/", "\\"), "label": label}) for f, label in ROWS),
    "repeated.csv": table(",", [*ROWS, ROWS[0], ("./" + ROWS[1][0], ROWS[1][1])]),
}


@pytest.mark.parametrize("mark", ["", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", LISTS)
def test_training_and_evaluation_read_the_same_lists(clips, name, mark):
    (clips / name).write_bytes(LISTS[name].encode(mark or "utf-8"))
    assert of_training(clips / name) == ROWS
    assert of_evaluation(clips / name) == ROWS


def test_repeated_rows_count_once_and_are_named(clips, caplog):
    (clips / "l.csv").write_text(LISTS["repeated.csv"])
    assert len(labeled_files(clips / "l.csv")[0]) == 2
    assert "count once: ./riding a bike/c[1].avi, archery/a b.avi" in caplog.text
    rows = [{"file": "a.avi", "label": "x"}] * 3
    (clips / "m.json").write_text(json.dumps({"clips": rows}))
    assert manifest_protocol(clips / "m.json").clips == ("a.avi",)
    assert "clips that stand twice count once: a.avi, a.avi" in caplog.text


@pytest.mark.parametrize("name", ["l.csv", "m.json"])
@pytest.mark.parametrize("read", [of_training, of_evaluation])
def test_one_video_of_two_classes_is_refused(clips, name, read):
    rows = [{"file": ROWS[0][0], "label": label} for label in ("archery", "yoga")]
    text = json.dumps({"clips": rows}) if name == "m.json" else table(",", [(ROWS[0][0], r["label"]) for r in rows])
    (clips / name).write_text(text)
    with pytest.raises(ValueError, match=r"archery/a b\.avi.*'archery'.*'yoga'"):
        read(clips / name)


def test_a_backslash_in_a_name_is_one_where_the_file_is_there(clips):
    (clips / "archery\\a.avi").write_bytes(b"x")
    (clips / "l.csv").write_text(table(",", [("archery\\a.avi", "archery")]))
    assert of_training(clips / "l.csv") == [("archery\\a.avi", "archery")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.txt", "a.avi 120 riding a bike", "line 1: is 120 a number of frames or part of the label"),
        ("l.txt", "lonely.avi", "line 1: expected"),
        ("l.csv", "clip;class\na.avi;yoga", "expected columns 'file' and 'label', got 'clip', 'class'"),
        ("l.csv", "", "got an empty file"),
        ("l.csv", "file,label\na.avi,yoga, slowly", "entry 2: 3 cells under 2 columns"),
        ("l.csv", "file,label\na.avi,yoga\n,yoga", "entry 3"),
        ("l.jsonl", '{"file": "a.avi", "label": 1.5}', "entry 1"),
        ("l.jsonl", '{"file": "a.avi", "label": true}', "entry 1"),
        ("l.jsonl", '{"file": ["a.avi"], "label": "x"}', "entry 1"),
        ("l.json", '{"labels": "yoga", "clips": [{"file": "a.avi", "label": "yoga"}]}', "must be a list of names"),
        ("l.json", '{"labels": ["a", "a"], "clips": []}', "stand twice"),
        ("l.json", '{"database": {"abc": 1}}', "not in the form of ActivityNet"),
        ("l.csv", "youtube_id,label,time_start,time_end\nabc,yoga,x,10", "entry 2: not in the form of Kinetics"),
    ],
)
def test_what_is_unclear_is_refused_with_its_place(tmp_path, name, text, message):
    (tmp_path / "a.avi").write_bytes(b"x")
    (tmp_path / name).write_text(text)
    with pytest.raises(VideoDatasetError, match=message) as error:
        load_video_dataset(tmp_path / name)
    assert name in str(error.value)


def test_labels_are_text_and_names_need_not_be(tmp_path):
    (tmp_path / "l.csv").write_bytes(b"file,label\ncaf\xe9.avi,yoga\n")
    ((file,), _) = read_list(tmp_path / "l.csv", tmp_path)
    assert file.name == "caf\udce9.avi" and file.label == "yoga"
    (tmp_path / "l.csv").write_bytes(b"file,label\na.avi,\xfcben\n")
    with pytest.raises(VideoDatasetError, match="label of a.avi is not UTF-8"):
        read_list(tmp_path / "l.csv", tmp_path)


def test_numbers_need_names(tmp_path):
    """Else the prompts would be numbers."""
    for name in "abc":
        (tmp_path / f"{name}.avi").write_bytes(name.encode())
    (tmp_path / "l.txt").write_text("a.avi 0\nb.avi 1\nc.avi 0\n")
    with pytest.raises(VideoDatasetError, match="numbers for labels"):
        load_video_dataset(tmp_path / "l.txt")
    with pytest.raises(ValueError, match="a name, not a number"):
        manifest_protocol(tmp_path / "l.txt")
    assert load_video_dataset(tmp_path / "l.txt", label_names=["x", "y"])["label"][:] == [0, 1, 0]
    (tmp_path / "l.jsonl").write_text('{"file": "a.avi", "label": -1}')
    with pytest.raises(VideoDatasetError, match="not among the 2 classes"):
        load_video_dataset(tmp_path / "l.jsonl", label_names=["x", "y"])


def test_a_folder_is_a_class_only_where_the_numbers_agree(tmp_path):
    """`train/a.avi 3` lies in no class folder: all rows would be of the class "train"."""
    (tmp_path / "l.txt").write_text("train/a.avi 0\ntrain/b.avi 1\n")
    files, _ = read_list(tmp_path / "l.txt", tmp_path)
    assert [file.label for file in files] == [0, 1]
    (tmp_path / "l.txt").write_text("train/yoga/a.avi 5\ntrain/archery/b.avi 1\ntrain/yoga/c.avi 5\n")
    files, _ = read_list(tmp_path / "l.txt", tmp_path)
    assert [file.label for file in files] == ["yoga", "archery", "yoga"]


def test_official_lists_find_every_kind_of_file_below_the_root(tmp_path):
    """Kinetics and ActivityNet name ids; the file may end in anything and lie in any folder."""
    (tmp_path / "videos" / "deep").mkdir(parents=True)
    (tmp_path / "videos" / "deep" / "abc_000007_000017.MTS").write_bytes(b"x")
    (tmp_path / "videos" / "def.ogv").write_bytes(b"x")
    header = "label,youtube_id,time_start,time_end,split\n"
    (tmp_path / "l.csv").write_text(header + "yoga,abc,7,17,train\narchery,def,0,10,train\nyoga,ghi,0,10,train\n")
    files, names = labeled_files(tmp_path / "l.csv", tmp_path / "videos")
    assert [file.name for file in files] == ["deep/abc_000007_000017.MTS", "def.ogv", "ghi_000000_000010.mp4"]
    assert names == ["archery", "yoga"]


def test_evaluation_takes_the_test_part_of_a_list(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / "yoga").mkdir(exist_ok=True)
        (tmp_path / "yoga" / f"{name}.avi").write_bytes(name.encode())
    (tmp_path / "yoga_test_split1.txt").write_text("a.avi 1 \nb.avi 2 \nc.avi 0 \n")
    assert manifest_protocol(tmp_path / "yoga_test_split1.txt").clips == ("yoga/b.avi",)
    assert manifest_protocol(tmp_path / "*_split1.txt").clips == ("yoga/b.avi",)
    database = {"a": {"subset": "training", "annotations": [{"label": "x"}]}}
    database["b"] = {"subset": "validation", "annotations": [{"label": "y"}]}
    (tmp_path / "net.json").write_text(json.dumps({"database": database}))
    protocol = manifest_protocol(tmp_path / "net.json", videos=tmp_path)
    assert protocol.clips == ("yoga/b.avi",) and protocol.classes == ("x", "y")


def test_a_list_whose_name_is_a_pattern_is_itself(clips):
    (clips / "l*.csv").write_text(table(",", ROWS[:1]))
    (clips / "l2.csv").write_text(table(",", ROWS))
    assert len(load_video_dataset(clips / "l*.csv")) == 1


def test_shards_in_folders_with_any_name(clips):
    """`datasets` takes names for patterns; macOS leaves `._part.parquet` beside shards."""
    folder = clips / "take[1]*?"
    folder.mkdir()
    rows = {"video": [{"bytes": b"x", "path": "a.avi"}], "label": ["yoga"]}
    datasets.Dataset.from_dict(rows).to_parquet(folder / "part[0].parquet")
    (folder / "._part[0].parquet").write_bytes(b"junk")
    for streaming in (False, True):
        dataset = load_video_dataset(folder, label_names=["yoga"], streaming=streaming)
        assert [row["label"] for row in dataset] == [0]
    assert len(load_video_dataset(folder / "part[0].parquet", label_names=["yoga"])) == 1


def test_shards_beside_class_folders_are_refused(clips):
    (clips / "backup.tar").write_bytes(b"x")
    with pytest.raises(VideoDatasetError, match=r"class folders, and shards such as backup\.tar"):
        load_video_dataset(clips)
