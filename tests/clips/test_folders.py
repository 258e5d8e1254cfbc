"""What is a video, what is a folder of them: the same for every command."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from hf_zsar.cli.common import CommandError
from hf_zsar.cli.common import find_videos as of_arguments
from hf_zsar.clips.datasets import load_video_dataset
from hf_zsar.clips.folders import VIDEO_SUFFIXES, find_videos, is_junk
from hf_zsar.clips.layouts import dataset_info, find_clips
from hf_zsar.clips.manifests import find_manifest_clips
from hf_zsar.evaluation.manifest import manifest_protocol


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def by_find_videos(root: Path) -> list[str]:
    return find_videos(root)


def by_classify_and_embed(root: Path) -> list[str]:
    return of_arguments([str(root)])


def by_a_pattern(root: Path) -> list[str]:
    return of_arguments([str(root / "**" / "*.avi")])


def by_train_and_cache(root: Path) -> list[str]:
    return [row["video"]["path"] for row in load_video_dataset(root)]


def by_evaluate(root: Path) -> list[str]:
    protocol = manifest_protocol(root)
    return [str(path) for path in find_manifest_clips(root, protocol.clips, None).paths.values()]


def by_protocols_of_the_field(root: Path) -> list[str]:
    there = [*root.rglob("*"), *(root.parent / "elsewhere").rglob("*")]
    stems = {path.stem: "yoga" for path in there}
    return [str(path) for path in find_clips(root, dataset_info("kinetics400"), stems).paths.values()]


WAYS = [by_find_videos, by_classify_and_embed, by_train_and_cache, by_evaluate, by_protocols_of_the_field]


def names(root: Path, paths: list[str]) -> list[str]:
    return sorted(Path(path).relative_to(root).as_posix() for path in paths)


JUNK = [
    "__MACOSX/yoga/._a.avi",
    "__MACOSX/yoga/z.avi",
    "yoga/._b.avi",
    "yoga/.hidden.mp4",
    "yoga/.hidden/c.mp4",
    "yoga/.ipynb_checkpoints/b-checkpoint.avi",
    "yoga/@eaDir/d.avi",
    "yoga/@EADIR/e.avi",
    "#recycle/yoga/f.avi",
    "$RECYCLE.BIN/g.avi",
    "System Volume Information/h.avi",
    "lost+found/i.avi",
    "yoga/Thumbs.db",
    "yoga/notes.txt",
]


@pytest.mark.parametrize("way", [*WAYS, by_a_pattern])
def test_junk_is_left_out(tmp_path, way):
    wanted = ["archery/a.avi", "yoga/b.avi", "yoga/deep/er/k.avi"]
    put(tmp_path, *wanted, *JUNK)
    assert names(tmp_path, way(tmp_path)) == wanted


def test_junk_that_is_named_itself_is_taken(tmp_path):
    put(tmp_path, "@eaDir/a.avi", ".hidden/b.avi")
    assert names(tmp_path, of_arguments([str(tmp_path / "@eaDir"), str(tmp_path / ".hidden")])) == [
        ".hidden/b.avi",
        "@eaDir/a.avi",
    ]
    assert names(tmp_path, of_arguments([str(tmp_path / "@eaDir" / "*.avi")])) == ["@eaDir/a.avi"]


@pytest.mark.parametrize("way", WAYS)
def test_suffixes_are_one_list_in_any_case(tmp_path, way):
    """Ogg and camcorders were skipped by training, in silence."""
    wanted = [f"yoga/{number}{suffix}" for number, suffix in enumerate(sorted(VIDEO_SUFFIXES))]
    wanted += ["yoga/camera.MTS", "yoga/phone.MoV", "yoga/x.y.OGV"]
    put(tmp_path, *wanted)
    assert names(tmp_path, way(tmp_path)) == sorted(wanted)


@pytest.mark.parametrize("way", WAYS)
def test_links_are_followed_and_loops_are_not(tmp_path, way):
    """To a file, to a folder elsewhere, to the folder itself, above it, and two folders that hold each other."""
    root = tmp_path / "root"
    put(root, "yoga/a.avi", "archery/b.avi")
    put(tmp_path, "elsewhere/c.avi", "elsewhere/d.avi")
    (root / "yoga" / "linked.avi").symlink_to(tmp_path / "elsewhere" / "c.avi")
    (root / "diving").symlink_to(tmp_path / "elsewhere")
    (root / "yoga" / "itself").symlink_to(".")
    (root / "yoga" / "up").symlink_to(root)
    (root / "all").symlink_to(tmp_path)
    (root / "dangling.d").symlink_to("dangling.d")
    found = names(root, way(root))
    assert found == ["archery/b.avi", "diving/c.avi", "diving/d.avi", "yoga/a.avi", "yoga/linked.avi"]


def test_two_folders_that_link_to_each_other_end(tmp_path):
    put(tmp_path, "a/x.avi", "b/y.avi")
    (tmp_path / "a" / "to_b").symlink_to("../b")
    (tmp_path / "b" / "to_a").symlink_to("../a")
    assert names(tmp_path, find_videos(tmp_path)) == ["a/x.avi", "b/y.avi"], "under their own names"
    assert names(tmp_path, find_videos(tmp_path / "a")) == ["a/to_b/y.avi", "a/x.avi"]
    pattern = of_arguments([str(tmp_path / "**" / "*.avi")])
    assert len({os.path.realpath(path) for path in pattern}) == len(pattern) == 2


@pytest.mark.parametrize("way", WAYS)
def test_only_regular_files_and_what_is_left_out_is_named(tmp_path, way, caplog):
    """A pipe would hang, a socket cannot be opened, a link leads nowhere (git-annex without its content)."""
    put(tmp_path, "yoga/a.avi", "yoga/folder.mp4/b.avi")
    os.mkfifo(tmp_path / "yoga" / "pipe.mp4")
    (tmp_path / "yoga" / "gone.mp4").symlink_to("annex/object.mp4")
    with socket.socket(socket.AF_UNIX) as listening:
        place = Path.cwd()
        os.chdir(tmp_path)  # names of sockets are short
        try:
            listening.bind("yoga/socket.mp4")
        finally:
            os.chdir(place)
        assert names(tmp_path, way(tmp_path)) == ["yoga/a.avi", "yoga/folder.mp4/b.avi"]
    assert all(name in caplog.text for name in ("pipe.mp4", "gone.mp4", "socket.mp4"))


def test_a_pipe_that_is_named_is_an_error_and_no_wait(tmp_path):
    from hf_zsar import VideoReadError
    from hf_zsar.processing.video_reading import open_video

    os.mkfifo(tmp_path / "x.mp4")
    (named,) = of_arguments([str(tmp_path / "x.mp4")])
    with pytest.raises(VideoReadError, match="a pipe or device"), open_video(named):
        pass


@pytest.mark.parametrize("way", [by_train_and_cache, by_evaluate])
def test_an_empty_class_folder_is_named(tmp_path, way, caplog):
    """Empty, with files of no known suffix only, with junk only; and videos that lie in no class folder."""
    put(tmp_path, "yoga/a.avi", "archery/b.xyz", "diving/._c.avi", "loose.mp4")
    (tmp_path / "rowing").mkdir()
    assert names(tmp_path, way(tmp_path)) == ["yoga/a.avi"]
    assert "without a video, so without a class: archery, diving, rowing" in caplog.text
    assert "no class folder: loose.mp4" in caplog.text


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch, caplog):
    put(tmp_path, "yoga/a.avi", "locked/b.avi")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert names(tmp_path, find_videos(tmp_path)) == ["yoga/a.avi"]
    assert "Permission denied" in caplog.text and "locked" in caplog.text
    with pytest.raises(PermissionError):
        find_videos(tmp_path / "locked")


@pytest.mark.parametrize("way", WAYS)
def test_glob_characters_are_characters_of_a_name(tmp_path, way):
    root = tmp_path / "take[1]*"
    wanted = ["yo?ga/a[1].mp4", "yo?ga/{b}*.avi", "[x]/c!.avi"]
    put(root, *wanted)
    assert names(root, way(root)) == sorted(wanted)
    assert of_arguments([str(root / name) for name in wanted]) == [str(root / name) for name in wanted]


def test_names_that_are_no_utf8(tmp_path, caplog):
    """They survive where names are only opened; a data set's columns cannot hold them, and say so."""
    put(tmp_path, "yoga/a.avi")
    odd = os.fsdecode(b"caf\xe9.avi")
    (tmp_path / "yoga" / odd).write_bytes(b"x")
    assert names(tmp_path, find_videos(tmp_path)) == names(tmp_path, by_evaluate(tmp_path))
    assert f"yoga/{odd}" in names(tmp_path, by_evaluate(tmp_path))
    with pytest.raises(ValueError, match=r"1 of 2 videos are not named in UTF-8.*caf\\udce9"):
        load_video_dataset(tmp_path)
    assert len(load_video_dataset(tmp_path, on_missing="report")) == 1
    assert "caf\\udce9" in caplog.text
    (tmp_path / odd).mkdir()
    with pytest.raises(ValueError, match="is not a class name: it is not UTF-8"):
        load_video_dataset(tmp_path)


def test_a_folder_without_videos_is_an_error_that_says_what_was_looked_for(tmp_path):
    put(tmp_path, "yoga/a.xyz", "yoga/._b.avi")
    with pytest.raises(CommandError, match=r"no video in the folder.*\.mts"):
        of_arguments([str(tmp_path)])
    with pytest.raises(ValueError, match="lists no videos in class folders"):
        load_video_dataset(tmp_path)


@pytest.mark.parametrize("name", ["._a.avi", ".b", "__MACOSX", "@eadir", "@eaDir", "LOST+FOUND"])
def test_what_is_junk(name):
    assert is_junk(name) and not is_junk(name.strip("._@") + "x")
