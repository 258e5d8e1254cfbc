"""What the commands share: finding videos, reading labels, writing files whole or not at all."""

from __future__ import annotations

import io
import json
import os
import warnings

import pytest

from hf_zsar import VideoReadError, VideoReadWarning
from hf_zsar.cli import common, main
from hf_zsar.cli.common import CommandError, find_videos, read_labels_file


def names(paths: list[str]) -> list[str]:
    return [os.path.basename(path) for path in paths]


def test_a_folder_gives_its_videos_sorted_and_those_of_folders_inside(clips):
    assert names(find_videos([str(clips)])) == ["a.mkv", "b.mp4", "c.avi"]


def test_globs_files_and_folders_mix_and_nothing_comes_twice(clips):
    found = find_videos([str(clips / "b.mp4"), str(clips / "*.m*"), str(clips / "inn*")])
    assert names(found) == ["b.mp4", "a.mkv", "c.avi"]


def test_recursive_globs(clips):
    assert names(find_videos([str(clips / "**" / "*.avi")])) == ["c.avi"]


def test_a_named_file_is_taken_whatever_its_ending_and_a_missing_one_is_kept(clips):
    assert names(find_videos([str(clips / "notes.txt"), "missing.mp4"])) == ["notes.txt", "missing.mp4"]


def test_a_file_named_like_a_pattern_is_that_file(clips, tmp_path):
    odd = tmp_path / "a[1]*.mp4"
    odd.write_bytes(b"")
    assert find_videos([str(odd)]) == [str(odd)]


def test_urls_are_passed_on():
    assert find_videos(["https://example.org/a*.mp4"]) == ["https://example.org/a*.mp4"]


def test_a_pattern_or_folder_without_videos_is_an_error(tmp_path):
    with pytest.raises(CommandError, match="nothing matches"):
        find_videos([str(tmp_path / "*.mp4")])
    with pytest.raises(CommandError, match="no video in the folder"):
        find_videos([str(tmp_path)])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", "# comment\n\n riding a bike \ncooking, slowly\n"),
        ("labels.txt", "\ufeffriding a bike\r\ncooking, slowly\r\n"),
        ("labels.json", json.dumps(["riding a bike", "cooking, slowly"])),
        ("labels.json", json.dumps({"labels": ["riding a bike", "cooking, slowly"]})),
        ("labels.json", json.dumps({"classes": ["riding a bike", "cooking, slowly"]})),
        ("labels.csv", 'id,name\n0,riding a bike\n1,"cooking, slowly"\n'),
    ],
)
def test_labels_files(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert read_labels_file(str(tmp_path / name)) == ["riding a bike", "cooking, slowly"]


def test_labels_from_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("a\nb\n"))
    assert read_labels_file("-") == ["a", "b"]


def test_labels_from_no_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)  # as under pythonw
    with pytest.raises(CommandError, match="no standard input"):
        read_labels_file("-")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.txt", b"# only a comment\n", "holds no label"),
        ("labels.txt", b"\xff\xfe\x00broken", "cannot read"),
        ("labels.json", b"{", "is not JSON"),
        ("labels.json", b'{"labels": [1, 2]}', "list of strings"),
        ("labels.json", b'"riding"', "list of strings"),
        ("labels.csv", b"id,label\n0,a\n", "no column 'name'"),
        ("labels.csv", b"", "no column 'name'"),
    ],
)
def test_bad_labels_files_say_what_is_wrong(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CommandError, match=message) as caught:
        read_labels_file(str(tmp_path / name))
    assert name in str(caught.value)


def test_a_missing_labels_file_is_named(tmp_path):
    with pytest.raises(CommandError, match=r"no\.txt"):
        read_labels_file(str(tmp_path / "no.txt"))


def results_with_warnings():
    """Results of "a" and "b" where the reading of "b", running ahead, warns before "a" is done."""
    warnings.warn("b: half of it is missing; the readable frames were used.", VideoReadWarning, stacklevel=1)
    warnings.warn("something else", UserWarning, stacklevel=1)
    yield 1
    yield 2


def test_a_warning_goes_to_the_video_that_it_names():
    with pytest.warns(UserWarning, match="something else"):
        records = list(common.collect(["a", "b"], results_with_warnings(), "answer"))
    assert records[0] == {"video": "a", "answer": 1}
    assert records[1]["answer"] == 2 and len(records[1]["warnings"]) == 1


def test_only_unreadable_videos_are_skipped_over():
    results = [VideoReadError("a: no such file."), 2]
    assert list(common.collect(["a", "b"], results, "answer")) == [
        {"video": "a", "error": "a: no such file."},
        {"video": "b", "answer": 2},
    ]
    with pytest.raises(ValueError, match="num_crops"):
        list(common.collect(["a", "b"], [ValueError("num_crops must be 1 or 3"), 2], "answer"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("classify a.mp4 --labels a b --stride 1", "--stride needs --window"),
        ("classify a.mp4 --labels a b --window 2 --num-views 3", "--num-views changes nothing with --window"),
        ("classify a.mp4 --labels a b --revision main", "--revision needs --model"),
        ("classify a.mp4 --labels a b --trust-remote-code", "--trust-remote-code needs --model"),
        ("embed a.mp4 --out f --stride 1", "--stride needs --window"),
        ("embed a.mp4 --out f --labels a b", "--labels needs --label-bank"),
        ("embed --labels a b --label-bank b.safetensors --window 2", "--window needs --out"),
        ("describe --kind graph --texts t --out o --device cpu", "--device needs --llm"),
        ("describe --kind graph --texts t --out o --num-attributes 3", "use --kind attributes"),
        ("describe --kind attributes --llm m --out o --scorer yake", "--scorer changes nothing with --llm"),
        ("describe --kind graph --import-from f --out o --texts t", "--texts changes nothing with --import-from"),
        ("describe --kind graph --texts t --out o --draw-label a", "--draw-label needs --draw"),
        ("describe --kind graph --texts t --out o --tokenizer x", "--tokenizer needs --validate"),
        ("fit-prototypes m out --select-transfer --root r", "--root needs --data"),
        ("evaluate --manifest m.json --hub-dataset org/x", "--hub-dataset needs --eval-results"),
        ("filter-overlap --train ucf101 --test hmdb51 --threshold 0.1", "--threshold needs --word-vectors or --model"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(argv.split()) == 2
    assert message in capsys.readouterr().err
    assert os.listdir(tmp_path) == []
