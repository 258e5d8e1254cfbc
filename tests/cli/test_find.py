"""`hf-zsar find`: segments for people, for tools, from one tool to another, live."""

from __future__ import annotations

import json

import pytest

import hf_zsar
from hf_zsar.cli import main
from hf_zsar.segments.formats import FORMATS, read_segments


LABELS = ["cooking", "surfing"]
# The weights are random: everything is found, everywhere.
OPTIONS = ["--window", "0.5", "--stride", "0.25", "--high", "0.1", "--low", "0.01", "--all-known"]


@pytest.fixture
def find(tiny_model_folder, capsys):
    def run(*argv):
        model = [] if "--read" in argv else ["--model", tiny_model_folder, "--device", "cpu"]
        status = main(["find", *map(str, argv), *model])
        return (status, *capsys.readouterr())

    return run


def test_a_table_and_json(find, clips, tiny_model_folder):
    status, out, _ = find(clips / "b.mp4", "--labels", *LABELS, *OPTIONS)
    assert status == 0 and "b.mp4" in out and "0:00.0 - 0:01.0  " in out
    status, out, _ = find(clips, "--labels", *LABELS, *OPTIONS, "--json")
    records = json.loads(out)
    assert status == 0 and len(records) == 3
    pipe = hf_zsar.pipeline(tiny_model_folder, device="cpu")
    wanted = pipe.segments(str(clips / "b.mp4"), LABELS, window=0.5, stride=0.25, high=0.1, low=0.01, unknown=False)
    (found,) = [record["segments"] for record in records if record["video"].endswith("b.mp4")]
    assert found == [{**each, "score": pytest.approx(each["score"], abs=1e-6)} for each in wanted] and found


def test_nothing_found_is_said(find, clips):
    options = [*OPTIONS, "--min-length", "60"]
    assert "nothing found" in find(clips / "b.mp4", "--labels", *LABELS, *options)[1]


@pytest.mark.parametrize("format", FORMATS)
def test_every_format(find, clips, tmp_path, format):
    path = tmp_path / f"out{FORMATS[format].suffix}"
    status, out, _ = find(
        clips / "b.mp4", "--labels", *LABELS, *OPTIONS, "--json", "--format", format, "--output", path
    )
    (record,) = json.loads(out)
    (found,) = read_segments(path, format)
    assert status == 0 and len(found.segments) == len(record["segments"])
    for one, other in zip(found.segments, record["segments"], strict=True):
        assert one["label"] == other["label"] and one["start"] == pytest.approx(other["start"], abs=1 / 24)


def test_one_file_a_video_where_the_format_asks_for_it(find, clips, tmp_path):
    assert find(clips, "--labels", *LABELS, *OPTIONS, "--output", tmp_path / "out.vtt")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out-a.vtt", "out-b.vtt", "out-c.vtt"]


def test_pictures_and_pages(find, clips, tmp_path):
    paths = ["--picture", tmp_path / "p.png", "--page", tmp_path / "p.html"]
    assert find(clips / "b.mp4", "--labels", *LABELS, *OPTIONS, *paths)[0] == 0
    assert (tmp_path / "p.png").stat().st_size > 5000 and "data-start" in (tmp_path / "p.html").read_text()


def test_a_broken_video_does_not_stop_the_others(find, clips, broken_clip, tmp_path):
    path = tmp_path / "all.csv"
    status, out, err = find(broken_clip, clips / "b.mp4", "--labels", *LABELS, *OPTIONS, "--output", path)
    assert status == 1 and "not searched" in out and "broken.mp4" in err
    assert [each.video for each in read_segments(path)] == [str(clips / "b.mp4")]


def test_from_one_format_to_another(find, clips, tmp_path):
    first, second = tmp_path / "a.csv", tmp_path / "m.json"
    find(clips / "b.mp4", "--labels", *LABELS, *OPTIONS, "--output", first)
    status, _, err = find("--read", first, "--read", first, "--format", "manifest", "--output", second)
    assert status == 0 and "2 videos" in err
    assert len(read_segments(second)) == 2
    (tmp_path / "empty.srt").write_text("")
    assert find("--read", tmp_path / "empty.srt", "--output", first)[0] == 2


def test_live(find, clips):
    options = ["--live", "--labels", *LABELS, *OPTIONS]
    status, out, _ = find(clips / "b.mp4", *options, "--json")
    assert status == 0 and {json.loads(line)["label"] for line in out.splitlines()} <= set(LABELS) and out
    assert find(clips / "b.mp4", *options)[1].startswith("0:00.0 - ")
    status, _, err = find("rtsp://user:secret@camera/1", *options)
    assert status == 2 and "--allow-devices" in err and "secret" not in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["x.mp4"], "no labels"),
        ([], "name the videos"),
        (["x.mp4", "--read", "a.csv"], "name the videos"),
        (["x.mp4", "--labels", "a", "b", "--format", "elan"], "--output"),
        (["x.mp4", "--labels", "a", "b", "--output", "out.json"], "--format"),
        (["x.mp4", "--labels", "a", "b", "--fps", "25"], "--read"),
        (["x.mp4", "--labels", "a", "b", "--allow-devices"], "--live"),
        (["x.mp4", "y.mp4", "--labels", "a", "b", "--live"], "one video"),
        (["x.mp4", "--labels", "a", "b", "--live", "--picture", "a.png"], "--live"),
        (["x.mp4", "--labels", "a", "b", "--window", "1", "--stride", "0.7"], "whole number of strides"),
        (["x.mp4", "--labels", "a", "b", "--page", "a.txt"], ".html"),
        (["--read", "a.csv"], "--output"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(find, argv, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = find(*argv)
    assert status == 2 and message in err
