"""`hf-zsar adapt`, and `classify` and `evaluate` with the bank that it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hf_zsar import LabelBank
from hf_zsar.cli import main
from tests.tiny_models import tiny_folder
from tests.videos import write_video


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny_folder("actionclip", tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Two clips of each of three classes."""
    folder = tmp_path_factory.mktemp("data")
    for number, name in enumerate(("cooking", "state 3", "surfing")):
        (folder / name).mkdir()
        for clip in range(2):
            write_video(folder / name / f"{clip}.mp4", 8, first_number=100 * number + 10 * clip)
    return folder


@pytest.fixture(scope="module")
def bank(model, clips, tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("bank") / "bank.safetensors")
    arguments = ["--model", model, "--no-name", "state 3", "--labels", "rowing", "--out", path]
    arguments += ["--method", "cache", "--strength", "400"]
    assert main(["adapt", str(clips), *arguments]) == 0
    return path


def test_the_bank_holds_labels_and_examples(bank):
    found = LabelBank.load(bank)
    assert found.labels == ("rowing", "cooking", "state 3", "surfing")
    assert found.examples.targets.tolist() == [1, 1, 2, 2, 3, 3]
    assert found.examples.named.tolist() == [True, True, False, True]
    assert found.examples.chosen.strength == 400


@pytest.mark.parametrize("window", [[], ["--window", "0.2"]])
def test_classify_with_a_bank(bank, model, clips, window, capsys):
    videos = [str(clips / name / "0.mp4") for name in ("cooking", "state 3", "surfing")]
    assert main(["classify", *videos, "--bank", bank, "--model", model, "--json", *window]) == 0
    records = json.loads(capsys.readouterr().out)
    best = [(record.get("scores") or record["timeline"][0]["labels"])[0]["label"] for record in records]
    if not window:  # the very clips that are examples
        assert best == ["cooking", "state 3", "surfing"]
    assert all(len(record.get("scores") or record["timeline"][0]["labels"]) == 4 for record in records)


def test_evaluate_with_a_bank(bank, model, clips, tmp_path, capsys):
    record = tmp_path / "record.json"
    store = ["--store", str(tmp_path / "store")]
    arguments = ["evaluate", "--manifest", str(clips), "--model", model, *store, "--json", str(record)]
    assert main([*arguments, "--bank", bank]) == 0
    assert json.loads(record.read_text())["results"][0]["metrics"]["top1"] == 1
    (clips / "skating").mkdir()
    write_video(clips / "skating" / "0.mp4", 8)
    assert main([*arguments, "--bank", bank]) == 2
    assert "the bank lacks 1 of the 4 classes, 'skating'" in capsys.readouterr().err


def test_a_broken_example_is_left_out_and_named(model, clips, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    write_video(tmp_path / "data" / "cooking.mp4", 8)
    (tmp_path / "data" / "bad.mp4").write_bytes(b"no video" * 50)
    (tmp_path / "data" / "list.csv").write_text("video,label\ncooking.mp4,cooking\nbad.mp4,surfing\n")
    arguments = ["adapt", str(tmp_path / "data" / "list.csv"), "--model", model]
    assert main([*arguments, "--out", str(tmp_path / "bank.safetensors")]) == 1
    assert "bad.mp4" in capsys.readouterr().err
    found = LabelBank.load(tmp_path / "bank.safetensors")
    assert found.labels == ("cooking", "surfing") and found.examples.targets.tolist() == [0]
    (tmp_path / "data" / "list.csv").write_text("video,label\nbad.mp4,surfing\n")
    assert main([*arguments, "--out", str(tmp_path / "none.safetensors")]) == 2
    assert "none of the 1 examples" in capsys.readouterr().err and not (tmp_path / "none.safetensors").exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["adapt", "CLIPS", "--out", "OUT", "--no-name", "flying"], "no example has this label"),
        (["adapt", "CLIPS", "--out", "bank.txt"], ".safetensors"),
        (["adapt", "CLIPS", "--out", "OUT", "--no-name", "cooking", "--no-name", "surfing"], "must have a name"),
        (["classify", "CLIPS", "--bank", "BANK", "--labels", "a"], "leave out --labels"),
        (["classify", "CLIPS", "--bank", "BANK", "--template", "{}"], "leave out --template"),
        (["classify", "CLIPS", "--bank", "BANK", "--explain", "a.png"], "leave out --bank"),
        (["classify", "CLIPS", "--bank", "missing.safetensors"], "missing.safetensors"),
    ],
)
def test_what_cannot_be(command, words, bank, model, clips, tmp_path, capsys):
    two = tmp_path / "two"
    two.mkdir()
    for name in ("cooking", "surfing"):
        (two / name).symlink_to(clips / name)
    places = {"CLIPS": str(two), "OUT": str(tmp_path / "o.safetensors"), "BANK": bank}
    assert main([*(places.get(word, word) for word in command), "--model", model]) == 2
    assert words in capsys.readouterr().err


def test_a_bank_of_another_model_is_refused_before_a_video_is_read(bank, clips, tmp_path, capsys):
    other = str(tiny_folder("stdd", tmp_path / "other"))
    assert main(["classify", "nothing.mp4", "--bank", bank, "--model", other]) == 2
    assert "made by another model" in capsys.readouterr().err


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """Twenty clips of two classes, one of them broken."""
    folder = tmp_path_factory.mktemp("many")
    lines = ["video,label"]
    for number in range(20):
        write_video(folder / f"{number}.mp4", 4, first_number=20 * number)
        lines.append(f"{number}.mp4,{('cooking', 'surfing')[number % 2]}")
    (folder / "bad.mp4").write_bytes(b"no video" * 50)
    (folder / "good.csv").write_text("\n".join(lines) + "\n")
    (folder / "list.csv").write_text("\n".join([*lines, "bad.mp4,cooking"]) + "\n")
    return folder


def test_calibrate_then_classify(bank, model, many, tmp_path, capsys):
    out = str(tmp_path / "calibrated.safetensors")
    command = ["calibrate", str(many / "list.csv"), "--bank", bank, "--model", model, "--unknown", "--out", out]
    assert main(command) == 1
    captured = capsys.readouterr()
    assert "bad.mp4" in captured.err and "from 20 clips" in captured.out
    found = LabelBank.load(out)
    assert len(found.calibration.wrong) == len(found.calibration.unknown) == 10
    assert "calibration" not in LabelBank.load(bank).metadata
    ask = ["classify", str(many / "0.mp4"), "--bank", out, "--model", model]
    assert main([*ask, "--json", "--coverage", "0.8"]) == 0
    scores = json.loads(capsys.readouterr().out)[0]["scores"]
    least = found.calibration.least_probability(0.8)
    assert len(scores) >= 1 and all(each["score"] >= least for each in scores[1:])
    assert main([*ask, "--json", "--unknown", "--false-alarms", "0.2"]) == 0
    record = json.loads(capsys.readouterr().out)[0]
    assert len(record["scores"]) == 4 and record["is_unknown"] is (
        record["unknown"] > found.calibration.unknown_above(0.2)
    )
    assert main([*ask, "--unknown"]) == 0
    assert "none of these  " in capsys.readouterr().out
    assert main([*ask, "--window", "0.1", "--unknown", "--json"]) == 0
    assert "unknown" in json.loads(capsys.readouterr().out)[0]["timeline"][0]
    assert main([*ask, "--coverage", "0.99"]) == 2
    assert "needs 99 calibration clips" in capsys.readouterr().err


def test_what_a_calibration_refuses(bank, model, many, capsys, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text(f"video,label\n{many / '0.mp4'},skating\n{many / '1.mp4'},cooking\n")
    assert main(["calibrate", str(other), "--bank", bank, "--model", model]) == 2
    assert "no label 'skating'" in capsys.readouterr().err
    command = ["calibrate", str(many / "list.csv"), "--bank", bank, "--model", model, "--multi-label"]
    assert main(command) == 2
    assert "8 of either are the least" in capsys.readouterr().err  # nothing shows "rowing"
    assert "calibration" not in LabelBank.load(bank).metadata


def test_a_calibration_refuses_the_examples_of_its_bank_under_any_name(bank, model, clips, many, tmp_path, capsys):
    copy = tmp_path / "another name.mp4"
    copy.write_bytes((clips / "cooking" / "1.mp4").read_bytes())
    listed = tmp_path / "list.csv"
    listed.write_text(f"video,label\n{many / '0.mp4'},cooking\n{copy},cooking\n{many / '1.mp4'},surfing\n")
    assert main(["calibrate", str(listed), "--bank", bank, "--model", model]) == 2
    assert "another name.mp4 is an example of the bank" in capsys.readouterr().err
    listed.write_text(f"video,label\n{many / '0.mp4'},cooking\n{many / '1.mp4'},surfing\n")
    out = ["--out", str(tmp_path / "calibrated.safetensors")]
    assert main(["calibrate", str(listed), "--bank", bank, "--model", model, *out]) == 0


def test_other_frames_than_those_of_the_bank_are_warned_of(bank, model, clips, many, tmp_path, capsys):
    def warned(*command: str) -> bool:
        assert main([*command, "--model", model]) == 0
        return "sampled in another way (num_frames" in capsys.readouterr().err

    ask = ["classify", str(many / "0.mp4")]
    assert not warned(*ask, "--bank", bank) and warned(*ask, "--bank", bank, "--num-frames", "2")
    assert not warned(*ask, "--bank", bank, "--num-frames", "2", "--window", "0.1")
    few = str(tmp_path / "few.safetensors")
    calibrate = ["calibrate", str(many / "good.csv"), "--bank", bank, "--out", few]
    assert not warned(*calibrate) and warned(*calibrate, "--num-frames", "2")
    assert warned(*ask, "--bank", few) and not warned(*ask, "--bank", few, "--num-frames", "2")
    evaluate = ["evaluate", "--manifest", str(many / "good.csv"), "--store", str(tmp_path / "store"), "--bank", few]
    assert warned(*evaluate) and not warned(*evaluate, "--num-frames", "2")
