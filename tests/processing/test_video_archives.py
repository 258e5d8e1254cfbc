"""Rows of streamed data sets: what lies in archives and stores is opened through fsspec, and nothing else is."""

from __future__ import annotations

import gzip
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from hf_zsar.processing.video_processing_zsar import ZSARVideoProcessor
from hf_zsar.processing.video_reading import VideoReadError, open_video
from tests.processing.test_video_download import sends, server  # noqa: F401 - a fixture
from tests.videos import frame_number


fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def archives(synthetic, tmp_path) -> dict[str, str]:
    """The same video in every place that a row of a data set may name."""
    video = synthetic("h264.mp4")
    with zipfile.ZipFile(tmp_path / "clips.zip", "w") as archive:
        archive.write(video, "yoga/ä b.mp4")
    with tarfile.open(tmp_path / "clips.tar.gz", "w:gz") as archive:
        archive.add(video, "yoga/a.mp4")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.write(tmp_path / "clips.zip", "clips.zip")
    (tmp_path / "a.mp4.gz").write_bytes(gzip.compress(video.read_bytes()))
    with fsspec.open("memory://clips/a.mp4", "wb") as file:
        file.write(video.read_bytes())
    return {
        "zip": f"zip://yoga/ä b.mp4::{tmp_path}/clips.zip",
        "zip by address": f"zip://yoga/ä b.mp4::file://{tmp_path}/clips.zip",
        "tar": f"tar://yoga/a.mp4::{tmp_path}/clips.tar.gz",
        "zip in a zip": f"zip://yoga/ä b.mp4::zip://clips.zip::{tmp_path}/outer.zip",
        "store": "memory://clips/a.mp4",
        "local address": f"file://{video}",
    }


NAMES = ["zip", "zip by address", "tar", "zip in a zip", "store", "local address"]


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_opened_where_it_lies(archives, name):
    with open_video({"path": archives[name], "bytes": None}) as reader:
        assert [frame_number(picture) for picture in reader.read_at([0.0, 1.0]).frames] == [0, 24]
        assert reader.info.num_frames == 48 and reader.info.name == archives[name]


def test_rows_of_a_column_are_a_batch(archives):
    rows = [{"path": archives[name], "bytes": None} for name in ("zip", "store")]
    assert ZSARVideoProcessor(num_frames=2)(rows)["pixel_values_videos"].shape[0] == 2


def test_bytes_come_before_an_address(synthetic):
    with open_video({"path": "zip://gone.mp4::/gone.zip", "bytes": synthetic("h264.mp4").read_bytes()}) as reader:
        assert reader.info.num_frames == 48


def test_streamed_rows_of_datasets(archives, tmp_path, synthetic):
    datasets = pytest.importorskip("datasets")
    files = {"data_files": str(tmp_path / "clips.tar.gz"), "cache_dir": str(tmp_path / "cache")}
    rows = datasets.load_dataset("videofolder", streaming=True, split="train", drop_labels=True, **files)
    for row in rows.cast_column("video", datasets.Video(decode=False)):
        with open_video(row["video"]) as reader:
            assert reader.info.num_frames == 48


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("zip://a.mp4::{folder}/gone.zip", "cannot be opened .*FileNotFoundError"),
        ("zip://gone.mp4::{folder}/clips.zip", r"cannot be opened \(\w*Error: .*gone.mp4"),
        ("zip://a.mp4::{folder}/a.mp4.gz", "cannot be opened .*BadZipFile"),
        ("tar://a.mp4::{folder}/clips.zip", "cannot be opened"),
        ("ssh://host/a.mp4", "'ssh://host/a.mp4' is not opened"),
        ("reference://::{folder}/a.json", "is not opened"),
        ("filecache://::http://127.0.0.1/a.mp4", "is not opened"),
        ("memory://a::zip://b", "is not opened"),
        ("a.mp4::zip://{folder}/clips.zip", "no such file"),
        ("http://127.0.0.1:9/a.mp4", "not a public address"),
        ("zip://a.mp4::http://127.0.0.1:9/clips.zip", "not a public address"),
        ("zip://a.mp4::https://[::1]/clips.zip", "not opened|not a public address"),
    ],
)
def test_what_is_not_opened_says_why(archives, tmp_path, path, words):
    path = path.replace("{folder}", str(tmp_path))
    with pytest.raises(VideoReadError, match=words):
        open_video({"path": path, "bytes": None})


def test_a_string_is_no_row(archives):
    """What somebody types into a page must not open archives and stores of this machine."""
    for address in (archives["zip"], archives["store"], archives["local address"]):
        with pytest.raises(VideoReadError, match="only http and https are read|no such file"):
            open_video(address)


def test_an_archive_in_the_network(archives, tmp_path, server):  # noqa: F811
    server.routes["/clips.zip"] = sends((tmp_path / "clips.zip").read_bytes())
    row = {"path": f"zip://yoga/ä b.mp4::{server.url('/clips.zip')}", "bytes": None}
    with open_video(row, allow_private_urls=True) as reader:
        assert reader.info.num_frames == 48
    with pytest.raises(VideoReadError, match="max_bytes"):
        open_video(row, allow_private_urls=True, max_bytes=1000)


def test_a_bomb_in_an_archive_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.mp4", bytes(10**7))
    with pytest.raises(VideoReadError, match="more than the 1000000 bytes allowed"):
        open_video({"path": f"zip://a.mp4::{tmp_path}/bomb.zip", "bytes": None}, max_bytes=10**6)


# Names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"caf\xe9.mp4", b"\xff\xfe.mp4", b"a%03d?*[x].mp4", "線 'b'.mp4".encode()])
@pytest.mark.parametrize("form", ["str", "PathLike", "row"])
def test_any_file_name(synthetic, tmp_path, name, form):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
    Path(path).write_bytes(synthetic("h264.mp4").read_bytes())
    with open_video({"str": path, "PathLike": Path(path), "row": {"path": path}}[form]) as reader:
        assert frame_number(reader.read_at([1.0]).frames[0]) == 24
        reader.info.name.encode("utf-8")  # messages can be printed
    os.truncate(path, 100)
    with pytest.raises(VideoReadError) as caught:
        open_video(path)
    str(caught.value).encode("utf-8")
