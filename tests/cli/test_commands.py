"""The commands, run in this process on a tiny model: what they print, write and return."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings

import pytest
import torch
from PIL import Image
from transformers import pipeline

import hf_zsar
from hf_zsar.cli import COMMANDS, main
from hf_zsar.retrieval import VideoIndex
from tests.videos import write_video


LABELS = ["riding a bike", "cooking", "walking a dog"]


@pytest.fixture
def hf_zsar_command(tiny_model_folder, capsys):
    """Runs a command on the tiny model: (exit status, standard output, standard error)."""

    def run(*argv: str) -> tuple[int, str, str]:
        status = main([*argv, "--model", tiny_model_folder])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


# classify


def test_classify_prints_a_table_a_video(hf_zsar_command, clips):
    status, out, err = hf_zsar_command("classify", str(clips), "--labels", *LABELS)
    assert status == 0
    lines = out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        str(clips / name) for name in ("a.mkv", "b.mp4", os.path.join("inner", "c.avi"))
    ]
    assert len(lines) == 3 * (1 + len(LABELS))
    assert err == ""


def test_classify_json_is_what_the_pipeline_says(hf_zsar_command, clips, tiny_model_folder):
    status, out, _ = hf_zsar_command("classify", str(clips / "b.mp4"), "--labels", *LABELS, "--json", "--top-k", "2")
    assert status == 0
    expected = pipeline(hf_zsar.registration.TASK, model=tiny_model_folder)(
        str(clips / "b.mp4"), candidate_labels=LABELS, top_k=2
    )
    assert json.loads(out) == [{"video": str(clips / "b.mp4"), "scores": expected}]


def test_scores_of_all_labels_add_up_to_one(hf_zsar_command, clips):
    _, out, _ = hf_zsar_command("classify", str(clips / "b.mp4"), "--labels", *LABELS, "--json", "--top-k", "99")
    scores = json.loads(out)[0]["scores"]
    assert sorted(each["label"] for each in scores) == sorted(LABELS)
    assert sum(each["score"] for each in scores) == pytest.approx(1, abs=1e-5)


def test_labels_in_one_argument(hf_zsar_command, clips):
    video = str(clips / "b.mp4")
    one = hf_zsar_command("classify", video, "--labels", ", ".join(LABELS), "--json")
    assert one == hf_zsar_command("classify", video, "--labels", *LABELS, "--json")
    _, out, _ = hf_zsar_command("classify", video, "--labels", "cutting, slowly", "cooking", "--json")
    assert {each["label"] for each in json.loads(out)[0]["scores"]} == {"cutting, slowly", "cooking"}


@pytest.mark.parametrize("labels", [["cooking"], ["cooking", "cooking"], ["cooking,"], ["", "cooking"]])
def test_one_label_is_refused_before_any_video_is_read(hf_zsar_command, labels):
    status, out, err = hf_zsar_command("classify", "missing.mp4", "--labels", *labels, "--json")
    assert (status, out) == (2, "") and "only label" in err and "missing.mp4" not in err


def test_what_of_the_labels_is_lost_stands_on_standard_error_once(hf_zsar_command, clips, tmp_path, monkeypatch):
    shown = lambda *args: sys.stderr.write(warnings.formatwarning(*args[:4]))  # noqa: E731 - as outside pytest
    monkeypatch.setattr(warnings, "showwarning", shown)
    labels = ["cooking " * 90 + "soup", "cooking " * 90 + "rice", "射箭", "surfing"]
    status, out, err = hf_zsar_command("classify", str(clips), "--labels", *labels, "--json")
    assert status == 0 and len(json.loads(out)) == 3
    assert err.startswith("warning: ") and err.count("\n") == 1
    assert all(part in err for part in ("soup", "rice", "射箭", "cut off", "does not know", "same"))
    bank = str(tmp_path / "bank.safetensors")
    status, _, err = hf_zsar_command("embed", "--labels", *labels, "--label-bank", bank)
    assert status == 0 and err.startswith("warning: Not everything of these labels reaches the model")


def test_a_bad_file_is_reported_and_the_rest_scored(hf_zsar_command, clips, broken_clip):
    status, out, err = hf_zsar_command(
        "classify", broken_clip, str(clips / "b.mp4"), "missing.mp4", "--labels", *LABELS, "--json"
    )
    assert status == 1
    bad, good, missing = json.loads(out)
    assert "scores" in good and "error" not in good
    assert "broken.mp4" in bad["error"] and "scores" not in bad
    assert "missing.mp4" in missing["error"]
    assert err.count("error: ") == 2 and "broken.mp4" in err


def test_a_bad_file_in_the_table(hf_zsar_command, broken_clip):
    status, out, err = hf_zsar_command("classify", broken_clip, "--labels", *LABELS)
    assert status == 1
    assert "not scored" in out and "broken.mp4" in err


def test_a_partly_readable_file_is_scored_with_a_warning(hf_zsar_command, clips, tmp_path):
    whole = write_video(
        tmp_path / "whole.mp4", num_frames=48, container_options={"movflags": "faststart"}
    ).read_bytes()
    partial = tmp_path / "partial.mp4"
    partial.write_bytes(whole[: len(whole) * 2 // 3])
    status, out, err = hf_zsar_command("classify", str(partial), str(clips / "b.mp4"), "--labels", *LABELS, "--json")
    first, second = json.loads(out)
    assert status == 0
    assert "scores" in first and "partial.mp4" in first["warnings"][0]
    assert "warnings" not in second
    assert "warning: " in err


def test_options_change_what_is_computed(hf_zsar_command, clips):
    def scores(*options: str) -> list[float]:
        _, out, _ = hf_zsar_command("classify", str(clips / "a.mkv"), "--labels", *LABELS, "--json", *options)
        return [round(each["score"], 6) for each in sorted(json.loads(out)[0]["scores"], key=lambda e: e["label"])]

    plain = scores()
    assert scores("--template", "{}") == plain, "the tiny model's own template"
    other = scores("--template", "a video of {}")
    assert other != plain
    assert scores("--template", "{}", "--template", "a video of {}") not in (plain, other)
    assert scores("--num-frames", "2") != plain
    assert scores("--num-views", "2") != plain


def test_labels_from_all_sources_are_joined(hf_zsar_command, clips, tmp_path):
    (tmp_path / "labels.txt").write_text("singing\ncooking\n")
    argv = ["--labels", "cooking", "--labels-file", str(tmp_path / "labels.txt"), "--preset", "olympic_sports16"]
    status, out, _ = hf_zsar_command("classify", str(clips / "b.mp4"), *argv, "--json", "--top-k", "99")
    labels = {each["label"] for each in json.loads(out)[0]["scores"]}
    assert status == 0
    assert len(labels) == 18 and {"cooking", "singing", "clean and jerk"} <= labels


def test_picture(hf_zsar_command, clips, tmp_path):
    path = tmp_path / "out.png"
    status, _, _ = hf_zsar_command("classify", str(clips / "b.mp4"), "--labels", *LABELS, "--picture", str(path))
    assert status == 0
    assert os.listdir(tmp_path) == ["out.png"]
    with Image.open(path) as picture:
        colors = picture.convert("RGB").getcolors(maxcolors=1 << 24)
        assert picture.width >= 900 and picture.height >= 200
    assert len(colors) > 500, "frames and bars are drawn"


def test_one_picture_a_video_and_none_for_a_bad_one(hf_zsar_command, clips, broken_clip, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    status, _, _ = hf_zsar_command(
        "classify", str(clips), broken_clip, "--labels", *LABELS, "--picture", str(folder / "p.png")
    )
    assert status == 1
    assert sorted(os.listdir(folder)) == ["p-a.png", "p-b.png", "p-c.png"]


def test_timeline(hf_zsar_command, clips, tmp_path):
    path = tmp_path / "timeline.png"
    argv = ["classify", str(clips / "a.mkv"), "--labels", *LABELS, "--window", "0.5", "--stride", "0.25"]
    status, out, _ = hf_zsar_command(*argv, "--json", "--picture", str(path))
    timeline = json.loads(out)[0]["timeline"]
    assert status == 0
    assert [part["start"] for part in timeline[:3]] == pytest.approx([0, 0.25, 0.5])
    assert all(sum(each["score"] for each in part["labels"]) == pytest.approx(1, abs=1e-5) for part in timeline)
    with Image.open(path) as picture:
        assert picture.height > 300
    status, out, _ = hf_zsar_command(*argv, "--top-k", "1")
    assert out.splitlines()[1].startswith("  0:00.0 - 0:00.5  ")
    assert len(out.splitlines()) == 1 + len(timeline)


def test_cells_of_overlapping_windows_share_the_time_out():
    from hf_zsar.plots.scores import cells

    windows = [{"start": 0.0, "end": 2.0}, {"start": 1.0, "end": 3.0}, {"start": 2.0, "end": 4.0}]
    assert cells(windows) == [(0.0, 1.5), (1.5, 2.5), (2.5, 4.0)]
    assert cells(windows[:1]) == [(0.0, 2.0)]


def test_picture_names_do_not_collide():
    from hf_zsar.cli.classify import picture_names

    videos = ["x/a.mp4", "y/a.mp4", "a-2.mp4"]
    assert picture_names("out.png", videos[:1]) == {"x/a.mp4": "out.png"}
    assert len(set(picture_names("out.png", videos).values())) == 3
    assert all(name.endswith(".png") for name in picture_names("out.png", videos).values())


# embed and search


def test_embed_then_search_scores_each_text_by_itself(
    hf_zsar_command, clips, broken_clip, tiny_model_folder, tmp_path
):
    index, bank = str(tmp_path / "clips"), str(tmp_path / "labels.safetensors")
    status, _, err = hf_zsar_command(
        "embed", str(clips), broken_clip, "--out", index, "--labels", *LABELS, "--label-bank", bank
    )
    assert status == 1 and "broken.mp4" in err
    stored = VideoIndex.load(index)
    assert [os.path.basename(video) for video in stored.videos] == ["a.mkv", "b.mp4", "c.avi"]
    assert hf_zsar.LabelBank.load(bank).labels == tuple(LABELS)

    status, out, _ = hf_zsar_command("search", index, *LABELS, "--json", "--top-k", "2")
    assert status == 0
    assert [(answer["text"], len(answer["videos"])) for answer in json.loads(out)] == [(text, 2) for text in LABELS]
    table = {}
    _, out, _ = hf_zsar_command("search", index, *LABELS, "--json", "--top-k", "3")
    for answer in json.loads(out):
        assert [each["score"] for each in answer["videos"]] == sorted(
            (each["score"] for each in answer["videos"]), reverse=True
        )
        table[answer["text"]] = {each["video"]: each["score"] for each in answer["videos"]}
    # By itself: whatever other texts are searched for, and as the pipeline scores one label.
    _, out, _ = hf_zsar_command("search", index, LABELS[1], "--json", "--top-k", "3")
    assert {each["video"]: each["score"] for each in json.loads(out)[0]["videos"]} == pytest.approx(
        table[LABELS[1]], abs=1e-4
    )
    pipe = pipeline(hf_zsar.registration.TASK, model=tiny_model_folder)
    for video, score in table[LABELS[1]].items():
        (alone,) = pipe(video, candidate_labels=[LABELS[1]], function_to_apply="none")
        assert alone["score"] == pytest.approx(score, rel=1e-3), "but for float16"


def test_search_refuses_features_of_another_model(hf_zsar_command, clips, tmp_path, capsys):
    from tests.tiny_models import tiny_folder

    index = str(tmp_path / "clips")
    assert hf_zsar_command("embed", str(clips / "b.mp4"), "--out", index)[0] == 0
    other = tiny_folder("rest", tmp_path / "other", seed=1)
    assert main(["search", index, "cooking", "--model", str(other)]) == 2
    assert "another model" in capsys.readouterr().err


def test_embed_says_why_no_video_can_be_read(hf_zsar_command, broken_clip, tmp_path):
    status, _, err = hf_zsar_command("embed", broken_clip, "--out", str(tmp_path / "out"))
    assert status == 2 and "no video could be read; the reasons are in" in err
    assert "broken.mp4: not a readable video" in (tmp_path / "out" / "errors.jsonl").read_text()
    status, _, err = hf_zsar_command("search", str(tmp_path / "out"), "cooking")
    assert status == 2 and "holds no video" in err


def test_embed_goes_on_and_adds_without_encoding_again(hf_zsar_command, clips, tmp_path, monkeypatch):
    store = str(tmp_path / "store")
    assert hf_zsar_command("embed", str(clips / "b.mp4"), "--out", store)[0] == 0
    status, _, err = hf_zsar_command("embed", str(clips), "--out", store, "--batch-size", "1", "--workers", "1")
    assert status == 0 and "2 videos encoded, 1 were there already, 0 could not be read; 3 rows in all" in err

    def refuse(*args):
        raise AssertionError("encoded again")

    monkeypatch.setattr("hf_zsar.features.encoding.encode_batch", refuse)
    status, _, err = hf_zsar_command("embed", str(clips), "--out", store)
    assert status == 0 and "0 videos encoded, 3 were there already" in err
    monkeypatch.undo()
    status, _, err = hf_zsar_command("embed", str(clips), "--out", store, "--num-frames", "2")
    assert status == 2 and "num_frames 4 instead of 2" in err and len(err.splitlines()) == 1


def test_embed_stores_half_numbers_of_what_is_scored_with_and_plans(hf_zsar_command, clips, tmp_path):
    store = str(tmp_path / "store")
    status, out, _ = hf_zsar_command("embed", str(clips), "--out", store, "--dry-run")
    assert status == 0 and out.startswith("3 videos, of which 3 were measured (0 broken): ")
    assert not os.path.exists(store)
    (tmp_path / "list.txt").write_text(f"{clips}/b.mp4\n")
    assert hf_zsar_command("embed", str(tmp_path / "list.txt"), "--out", store)[0] == 0
    features = VideoIndex.load(store).features
    assert list(features.keys()) == ["video_embeds"] and features.video_embeds.dtype == torch.float16
    status, _, err = hf_zsar_command("embed", str(clips), "--out", store, "--dtype", "float32")
    assert status == 2 and "stored_as float16 instead of float32" in err


def test_embed_windows_and_search_in_them(hf_zsar_command, clips, tmp_path):
    store = str(tmp_path / "store")
    video = str(clips / "a.mkv")  # 1.5 s
    assert hf_zsar_command("embed", video, "--out", store, "--window", "1", "--stride", "0.5")[0] == 0
    status, out, _ = hf_zsar_command("search", store, "cooking", "--json")
    names = {each["video"] for each in json.loads(out)[0]["videos"]}
    assert status == 0 and names == {f"{video}#t=0.000,1.000", f"{video}#t=0.500,1.500"}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["v.mp4"], "--out FOLDER belong together"),
        (["--out", "x"], "--out FOLDER belong together"),
        ([], "nothing to do"),
        (["--labels", "a"], "nothing to do"),
        (["v.mp4", "--out", "x", "--stride", "1"], "--stride needs --window"),
        (["v.mp4", "--out", "x", "--window", "1", "--num-views", "2"], "--num-views"),
        (["v.mp4", "--out", "file"], "file is not a folder"),
        (["v.mp4", "--out", "file/x"], "file is not a folder"),
        (["v.mp4", "--out", "mine"], "not empty and no store"),
        (["v.mp4", "--out", "x", "--num-actors", "3"], "--num-actors needs --engine ray"),
        (["v.mp4", "--out", "x", "--gpus-per-actor", "0"], "--gpus-per-actor needs --engine ray"),
        (["v.mp4", "--out", "x", "--engine", "ray"], "pip install 'hf-zsar\\[ray\\]'"),
        (["--labels", "a", "--label-bank", "b", "--dry-run"], "--dry-run needs --out"),
        (["--labels", "a", "--label-bank", "b", "--pooled"], "--pooled needs --out"),
        (["--labels", "a", "--label-bank", "mine"], "it is a folder"),
        (["--labels", "a", "--label-bank", "none/x"], "there is no folder"),
    ],
)
def test_embed_says_what_is_wrong_before_a_model_is_loaded(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()

    def refuse(*args):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("hf_zsar.cli.common.load_pipeline", refuse)
    monkeypatch.setattr("hf_zsar.cli.embed.find_spec", lambda name: None)
    assert main(["embed", *argv]) == 2
    err = capsys.readouterr().err
    assert re.search(f"^hf-zsar embed: .*({message})", err) and len(err.splitlines()) == 1
    assert sorted(os.listdir(tmp_path)) == ["file", "mine"]


@pytest.mark.parametrize("content", ["nothing", "a file", "no store", "a damaged header"])
def test_search_in_what_is_no_store(hf_zsar_command, tmp_path, content):
    path = tmp_path / "features"
    if content == "a file":
        path.write_bytes(b"no store at all")
    elif content != "nothing":
        path.mkdir()
        if content == "a damaged header":
            (path / "features.json").write_text("{")
    status, _, err = hf_zsar_command("search", str(path), "cooking")
    assert status == 2 and "features" in err and len(err.splitlines()) == 1


def test_an_index_is_a_store_in_memory(tmp_path):
    features = hf_zsar.VideoFeatures(video_embeds=torch.arange(8.0).reshape(2, 4))
    index = VideoIndex(("a", "b"), features, "m")
    for _ in range(2):  # an older one is replaced
        index.save(tmp_path / "index")
    again = VideoIndex.load(tmp_path / "index")
    assert again.videos == ("a", "b") and again.fingerprint == "m" and len(again) == 2
    assert torch.equal(again.features.video_embeds, features.video_embeds)
    assert os.listdir(tmp_path) == ["index"]


def test_an_index_needs_a_row_a_video():
    features = hf_zsar.VideoFeatures(video_embeds=torch.zeros(2, 4))
    with pytest.raises(ValueError, match="2 rows of features for 1 videos"):
        VideoIndex(("a",), features, "")


# evaluate (the protocols have their own tests)


@pytest.fixture
def manifest(clips, tmp_path, broken_clip):
    """A manifest over copies of the clips, one of them broken."""
    folder = tmp_path / "labeled"
    folder.mkdir()
    for name in ("a.mkv", "b.mp4"):
        (folder / name).write_bytes((clips / name).read_bytes())
    os.rename(broken_clip, folder / "broken.mp4")
    entries = [{"file": "a.mkv", "label": LABELS[0]}, {"file": "b.mp4", "label": LABELS[1]}]
    entries.append({"file": "broken.mp4", "label": LABELS[2]})
    path = folder / "manifest.json"
    path.write_text(json.dumps({"labels": LABELS, "clips": entries}))
    return path


def test_evaluate_reports_a_bad_clip_and_scores_the_others(hf_zsar_command, manifest, tmp_path):
    status, out, _ = hf_zsar_command("evaluate", "--manifest", str(manifest), "--store", str(tmp_path / "store"))
    assert status == 1
    assert "broken.mp4" in out and "top1" in out.lower().replace("-", "")


# errors and the frame


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["classify", "x.mp4"], "no labels"),
        (["classify", "x.mp4", "--preset", "ucf10"], "Did you mean 'ucf101'"),
        (["classify", "x.mp4", "--labels", "a", "--stride", "1"], "--window"),
        (["classify", "nothing/*.mp4", "--labels", "a"], "nothing matches"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_status_2(hf_zsar_command, argv, message):
    status, out, err = hf_zsar_command(*argv)
    assert status == 2 and out == ""
    assert message in err and "Traceback" not in err and len(err.splitlines()) == 1


def test_a_bad_template_is_a_usage_error(hf_zsar_command, clips):
    status, _, err = hf_zsar_command("classify", str(clips / "b.mp4"), "--labels", "a", "--template", "no gap")
    assert status == 2 and "no gap" in err


def test_a_model_that_is_not_there(clips, capsys, tmp_path):
    status = main(["classify", str(clips / "b.mp4"), "--labels", "a", "--model", str(tmp_path / "no-model")])
    assert status == 2 and "no-model" in capsys.readouterr().err


def test_traceback_on_demand():
    with pytest.raises(Exception, match="no labels"):
        main(["--traceback", "classify", "x.mp4"])


@pytest.mark.parametrize("argv", [[], ["clasify"], ["classify"], ["classify", "v", "--top-k", "0"], ["search", "x"]])
def test_wrong_usage_is_status_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert "usage: hf-zsar" in capsys.readouterr().err


@pytest.mark.parametrize("span", ["0", "-1", "inf", "nan", "soon"])
def test_window_is_a_time(span, capsys):
    with pytest.raises(SystemExit):
        main(["classify", "v", "--labels", "a", "--window", span])
    assert "--window" in capsys.readouterr().err


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    named = {line.split()[0] for line in shown.splitlines() if line.startswith("    ") and line[4] != " "}
    assert named >= set(COMMANDS)


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"hf-zsar {hf_zsar.__version__}\n"


ONE_LINE = """
import sys, time, types
import hf_zsar.cli as cli

def run(args):
    time.sleep(0.2)
    print("one line, shorter than any buffer")
    return 0

cli.module = lambda name: types.SimpleNamespace(add_parser=lambda subparsers: subparsers.add_parser(name), run=run)
sys.exit(cli.main(["classify"]))
"""


@pytest.mark.parametrize("command", [["-m", "hf_zsar.cli", "evaluate", "--list"], ["-c", ONE_LINE]])
def test_as_a_program_whose_reader_leaves(command):
    """`hf-zsar ... | head -1`: no complaint when nobody reads on."""
    pipe = ["bash", "-c", '"$@" | true', "bash", sys.executable, *command]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    assert subprocess.run(pipe, capture_output=True, text=True, timeout=120, env=environment).stderr == ""
