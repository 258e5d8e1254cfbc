"""What `embed` can be pointed at: every kind of source names the same clips, and the workers can read them."""

from __future__ import annotations

import json
import shutil
import tarfile

import pytest

from hf_zsar.cli.common import CommandError, find_videos
from hf_zsar.features.encoding import EncodingOptions, VideoEncoder, read_warnings
from hf_zsar.features.sources import SourceError, readable, video_files
from hf_zsar.features.store import VideoFile
from hf_zsar.processing.video_sources import VideoReadError
from tests.evaluation.toy import color_pair, write_clip


NUMBERS = (10, 20, 30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three clips in the colors of their numbers, and lists of them in every form."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("sources")
    paths = [write_clip(folder / "clips" / f"{number}.avi", number) for number in NUMBERS]
    names = [f"clips/{path.name}" for path in paths]
    (folder / "list.txt").write_text("# of mine\n\n" + "\n".join(names) + "\n")
    (folder / "urls.txt").write_text("\n".join(f"file://{path}" for path in paths))
    rows = [{"file": name, "label": "a"} for name in names]
    (folder / "manifest.json").write_text(json.dumps({"clips": rows}))
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "table.csv").write_text("video,label\n" + "\n".join(f"{name},a" for name in names))
    pq.write_table(pa.table({"size": [1, 2, 3], "url": [str(path) for path in paths]}), folder / "urls.parquet")
    with tarfile.open(folder / "shard.tar", "w") as archive:
        for path in paths:
            archive.add(path, f"{path.stem}.avi")
            (folder / "note.json").write_text("{}")
            archive.add(folder / "note.json", f"{path.stem}.json")
    (folder / "videos").mkdir()
    data = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
    pq.write_table(pa.table({"video": data}), folder / "videos" / "train-00000.parquet")
    return folder


def in_memory(folder) -> str:
    import fsspec

    store = fsspec.filesystem("memory")
    for number in NUMBERS:
        store.pipe(f"/archive/{number}.avi", (folder / "clips" / f"{number}.avi").read_bytes())
    store.pipe("/archive/notes.txt", b"no video")
    store.pipe("/archive/.trash/99.avi", b"junk")
    store.pipe("/archive/shard.tar", (folder / "shard.tar").read_bytes())
    return "memory://archive"


SOURCES = {
    "folder": lambda folder: [f"{folder}/clips"],
    "pattern": lambda folder: [f"{folder}/clips/*.avi"],
    "files": lambda folder: [f"{folder}/clips/{number}.avi" for number in NUMBERS],
    "the same twice": lambda folder: [f"{folder}/clips", f"{folder}/clips/20.avi"],
    "list": lambda folder: [f"{folder}/list.txt"],
    "list of URLs": lambda folder: [f"{folder}/urls.txt"],
    "manifest": lambda folder: [f"{folder}/manifest.json"],
    "JSON lines": lambda folder: [f"{folder}/rows.jsonl"],
    "table": lambda folder: [f"{folder}/table.csv"],
    "Parquet column": lambda folder: [f"{folder}/urls.parquet"],
    "webdataset shard": lambda folder: [f"{folder}/shard.tar"],
    "file://": lambda folder: [f"file://{folder}/clips/"],
    "object store": lambda folder: [f"{in_memory(folder)}/"],
    "pattern in an object store": lambda folder: [f"{in_memory(folder)}/*.avi"],
    "shard in an object store": lambda folder: [f"{in_memory(folder)}/shard.tar"],
    "data set": lambda folder: [f"datasets://{folder}/videos"],
    "split of a data set": lambda folder: [f"datasets://{folder}/videos/train"],
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_names_the_same_clips_and_they_can_be_read(folder, kind, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    videos = video_files(SOURCES[kind](folder), find_videos)
    assert len({video.row.id for video in videos}) == 3, "names that the store can tell apart"
    encoder = VideoEncoder(*color_pair([]), EncodingOptions(batch_size=3))
    with read_warnings() as notes:
        (step,) = encoder.steps([videos], notes)
    assert not step.failed and sorted(step.features.video_embeds[:, 0].tolist()) == list(NUMBERS)
    if not kind.endswith("data set") and kind != "list of URLs":  # which would cost a request each
        assert all(video.size > 0 for video in videos), "work is shared out by size"


def test_a_changed_shard_or_object_has_another_signature(folder, tmp_path):
    import fsspec

    shutil.copy(folder / "shard.tar", tmp_path / "shard.tar")
    before = [video.signature for video in video_files([f"{tmp_path}/shard.tar"], find_videos)]
    with tarfile.open(tmp_path / "shard.tar", "a") as archive:
        archive.add(folder / "clips" / "10.avi", "11.avi")
    after = [video.signature for video in video_files([f"{tmp_path}/shard.tar"], find_videos)]
    assert len(after) == 4 and not set(before) & set(after)
    place = f"{in_memory(folder)}/10.avi"
    (first,) = video_files([place], find_videos)
    fsspec.filesystem("memory").pipe("/archive/10.avi", b"something else")
    (second,) = video_files([place], find_videos)
    assert first.id == second.id and first.signature != second.signature


WRONG = {
    "empty list": ("list.txt", b"# nothing\n", "names no video"),
    "no text": ("list.txt", b"\xff\xfe\x00", "cannot be read as a source"),
    "no manifest": ("clips.json", b'{"clips": 5}', "cannot be read as a source.*list of clips"),
    "no Parquet": ("urls.parquet", b"PAR1", "cannot be read as a source"),
    "no archive": ("shard.tar", b"no archive at all", "cannot be read as a source"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_names_no_video_is_said(kind, tmp_path):
    name, content, message = WRONG[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        video_files([str(tmp_path / name)], find_videos)


def test_other_sources_that_name_no_video(folder, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"size": [1]}), tmp_path / "x.parquet")
    with pytest.raises(SourceError, match="no column of texts"):
        video_files([str(tmp_path / "x.parquet")], find_videos)
    for source in ("memory://nowhere/", "memory://nowhere/x.tar", f"datasets://{tmp_path}/none/train"):
        with pytest.raises(SourceError, match="cannot be read as a source|names no video"):
            video_files([source], find_videos)
    with pytest.raises(CommandError, match="nothing matches"):
        video_files([f"{tmp_path}/*.mp4"], find_videos)


def test_a_video_that_is_gone_is_an_error_of_that_video(folder, tmp_path):
    gone = [
        VideoFile("a", f"tar://a.avi::{tmp_path}/none.tar", "1-x", (0, 10)),
        VideoFile("b", "datasets:///none/at/all/train/5"),
    ]
    for video in gone:
        with pytest.raises(VideoReadError, match=video.source.partition("://")[0]):
            readable(video)
