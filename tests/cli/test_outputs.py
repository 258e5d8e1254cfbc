"""What commands print and write: on any stream, and looked at before work starts."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hf_zsar.cli as cli
from hf_zsar.cli import classify, common
from hf_zsar.cli.common import CommandError, JsonList, check_output, check_output_folder, check_picture
from hf_zsar.files import replacing
from tests.tiny_models import tiny_folder


ENCODINGS = ["utf-8", "cp1252", "ascii", "cp437", "latin-1"]
ODD = os.fsdecode("дом 😀 é\x1b[2J\n".encode() + b"\xff.mp4")
RECORDS = [
    {"video": ODD, "scores": [{"label": "reiten 馬", "score": 0.9}, {"label": "yoga", "score": 0.1}]},
    {"video": ODD, "timeline": [{"start": 0.0, "end": 1.0, "labels": [{"label": "馬", "score": 1.0}]}]},
    {"video": ODD, "error": f"{ODD}: no such file."},
]


@contextlib.contextmanager
def streams(encoding: str):
    """Standard output and error in an encoding."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out, err
    out.flush()
    err.flush()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("record", RECORDS)
def test_tables_and_messages_come_out_in_any_encoding(encoding, record):
    with streams(encoding) as (out, err):
        classify.show(record)
        common.say(f"error: {record}")
    shown = out.buffer.getvalue().decode(encoding)
    assert ".mp4" in shown and "\x1b" not in shown and "\\xff" not in shown and "\\udcff" in shown
    if "scores" in record:
        assert ("█" if encoding in ("utf-8", "cp437") else "#") * 27 in shown
    assert ".mp4" in err.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_is_whole_and_right_in_any_encoding(encoding):
    with streams(encoding) as (out, _):
        common.print_json(RECORDS)
    assert json.loads(out.buffer.getvalue().decode(encoding)) == RECORDS
    with streams(encoding) as (out, _), JsonList() as items:
        for record in RECORDS:
            items.add(record)
    found = json.loads(out.buffer.getvalue().decode(encoding))
    assert found == RECORDS and os.fsencode(found[0]["video"]).endswith(b"\xff.mp4")


def test_a_json_list_is_whole_when_a_run_ends_early():
    with streams("utf-8") as (out, _), contextlib.suppress(KeyboardInterrupt), JsonList() as items:
        items.add(RECORDS[0])
        raise KeyboardInterrupt
    assert json.loads(out.buffer.getvalue()) == RECORDS[:1]
    with streams("utf-8") as (out, _), JsonList():
        pass
    assert json.loads(out.buffer.getvalue()) == []
    with streams("utf-8") as (out, _), contextlib.suppress(ValueError), JsonList():
        raise ValueError("before the first")
    assert out.buffer.getvalue() == b""


def test_numbers_that_json_does_not_have_are_refused():
    with streams("utf-8") as (out, _), pytest.raises(ValueError, match="JSON"), JsonList() as items:
        items.add(RECORDS[0])
        items.add({"score": float("nan")})
    assert json.loads(out.buffer.getvalue()) == RECORDS[:1]


@pytest.mark.parametrize("argv", [[command, "--help"] for command in cli.COMMANDS] + [["evaluate", "--list"]])
def test_help_of_every_command_in_ascii(argv):
    with streams("ascii") as (out, err), contextlib.suppress(SystemExit):
        cli.main(argv)
    assert len(out.buffer.getvalue()) > 200 and not err.buffer.getvalue()


def test_an_error_with_an_unprintable_name_is_one_line():
    with streams("ascii") as (_, err):
        assert cli.main(["search", ODD.replace("\n", ""), "yoga"]) == 2
    message = err.buffer.getvalue().decode("ascii")
    assert "\\udcff.mp4" in message and len(message.splitlines()) == 1


PROGRAM = """
import os, sys, types
import hf_zsar.cli as cli

def run(args):
    for number in range(20000):
        print("a line that fills the buffer of a pipe", number)
        cli.say(f"to the other stream {number}")
    return 0

cli.module = lambda name: types.SimpleNamespace(add_parser=lambda subparsers: subparsers.add_parser(name), run=run)
sys.exit(cli.main(["classify"]))
"""


@pytest.mark.parametrize(
    ("redirection", "status"),
    [
        ("2>/dev/null | head -1", 1),
        ("2>&1 | head -1", 1),
        (">&- 2>/dev/null", 0),
        ("2>&- >/dev/null", 0),
        (">&- 2>&-", 0),
        ("2>/dev/null >/dev/full", 2),
    ],
)
def test_streams_that_end_or_are_not_there(redirection, status):
    """A reader that leaves, streams that a service or a shell closed, a full disk: no complaint of the interpreter."""
    line = f'"$@" {redirection}; echo "${{PIPESTATUS[0]}}" >&3'
    command = ["bash", "-c", f"exec 3>&1; {{ {line}; }} 1>&2", "bash", sys.executable, "-c", PROGRAM]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == str(status)
    assert "Exception ignored" not in run.stderr and "Traceback" not in run.stderr


# -- looked at before work starts ------------------------------------------------------------------------------------


def test_outputs_that_cannot_be_written(tmp_path):
    check_output(None)
    check_output(str(tmp_path / "new.json"))
    with pytest.raises(CommandError, match="no folder"):
        check_output(str(tmp_path / "missing" / "out.json"))
    for suffixes in ((), (".json",)):
        with pytest.raises(CommandError, match="it is a folder"):
            check_output(str(tmp_path), suffixes)
    with pytest.raises(CommandError, match="must end in one of .json"):
        check_output(str(tmp_path / "out.xml"), (".json",))
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(CommandError, match="not a regular file"):
        check_output(str(tmp_path / "pipe.json"))
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="no folder"):
        check_output(str(tmp_path / "file" / "out.json"))
    assert sorted(os.listdir(tmp_path)) == ["file", "pipe.json"], "looking leaves nothing behind"
    with pytest.raises(CommandError, match="cannot write /proc/new.json"):  # where nobody may write
        check_output("/proc/new.json")


def test_output_folders(tmp_path):
    check_output_folder(None)
    check_output_folder(str(tmp_path / "a" / "b"), empty=True)
    check_output_folder(str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="not a folder"):
        check_output_folder(str(tmp_path / "file"))
    with pytest.raises(CommandError, match="not empty"):
        check_output_folder(str(tmp_path), empty=True)
    with pytest.raises(CommandError, match="cannot write .*below"):
        check_output_folder(str(tmp_path / "file" / "below"))


def test_pictures(tmp_path, monkeypatch):
    assert check_picture(None) is None
    assert check_picture(str(tmp_path / "out")) == str(tmp_path / "out.png")
    assert check_picture(str(tmp_path / "out.SVG")) == str(tmp_path / "out.SVG")
    with pytest.raises(CommandError, match=r"\.png, \.svg"):
        check_picture(str(tmp_path / "out.gif"))
    assert check_picture(str(tmp_path / "out.gif"), [".gif"])
    (tmp_path / "folder").mkdir()
    with pytest.raises(CommandError, match="is a folder"):
        check_picture(str(tmp_path / "folder"))
    monkeypatch.setattr(common, "find_spec", lambda name: None)
    with pytest.raises(CommandError, match="matplotlib"):
        check_picture(str(tmp_path / "out.png"))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a list of labels, class folders and a recipe; none of the models that are named exists."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "labels.txt").write_text("yoga\narchery\n")
    (folder / "data" / "yoga").mkdir(parents=True)
    (folder / "data" / "yoga" / "a.mp4").write_bytes(b"x")
    (folder / "texts.json").write_text('{"yoga": "a person bends"}')
    recipe = {"method": "stdd", "output": "placeholder", "model": {"pretrained": "no/model"}}
    recipe |= {"data": {"source": str(folder / "data")}, "optimization": {"learning_rates": {"default": 1e-3}}}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return folder


WRITES_A_FILE = {
    "classify --picture": ["classify", "data", "--labels", "a", "--model", "no/model", "--picture", "{out}.png"],
    "classify --explain": ["classify", "data", "--labels", "a", "--model", "no/model", "--explain", "{out}.gif"],
    "evaluate --json": ["evaluate", "--manifest", "data", "--model", "no/model", "--json", "{out}.json"],
    "evaluate --plot": ["evaluate", "--manifest", "data", "--model", "no/model", "--plot", "{out}.png"],
    "describe --out": ["describe", "--kind", "graph", "--llm", "no/model", "--labels", "a", "--out", "{out}.json"],
    "describe --draw": ["describe", "--kind", "graph", "--llm", "no/model", "--labels", "a"]
    + ["--out", "fine.json", "--draw", "{out}.png"],
    "describe --cache": ["describe", "--kind", "graph", "--llm", "no/model", "--labels", "a"]
    + ["--out", "fine.json", "--cache", "{out}.jsonl"],
    "explain-transfer --picture": ["explain-transfer", "--label", "a", "--model", "no/model"]
    + ["--picture", "{out}.pdf"],
    "filter-overlap --out": ["filter-overlap", "--train", "labels.txt", "--test", "ucf101", "--model", "no/model"]
    + ["--out", "{out}.json"],
}
WRITES_A_FOLDER = {
    "cache": ["cache", "data", "{out}"],
    "fit-prototypes": ["fit-prototypes", "no/model", "{out}", "--data", "data"],
    "export-onnx": ["export-onnx", "no/model", "{out}"],
    "train": ["train", "recipe.json", "--set", "output={out}"],
    "evaluate --store": ["evaluate", "--manifest", "data", "--model", "no/model", "--store", "{out}"],
    "evaluate --eval-results": ["evaluate", "--manifest", "data", "--model", "no/model", "--eval-results", "{out}"]
    + ["--hub-dataset", "org/x"],
}


def refused(argv: list[str], out: str, place: Path, monkeypatch, capsys) -> str:
    """What a command says that is refused at once: nothing is loaded (no such model), asked or written."""
    monkeypatch.chdir(place)
    before = sorted(str(path) for path in place.rglob("*"))
    status = cli.main([word.replace("{out}", out) for word in argv])
    captured = capsys.readouterr()
    assert status == 2 and captured.out == "" and len(captured.err.splitlines()) == 1, captured.err
    assert "no/model" not in captured.err
    assert sorted(str(path) for path in place.rglob("*")) == before
    return captured.err


@pytest.mark.parametrize("name", WRITES_A_FILE)
def test_files_are_looked_at_before_work(name, place, monkeypatch, capsys):
    argv = WRITES_A_FILE[name]
    assert "there is no folder" in refused(argv, "missing/out", place, monkeypatch, capsys)
    suffix = os.path.splitext(argv[-1])[1]
    folder = place / f"folder{suffix}"
    folder.mkdir(exist_ok=True)
    assert "it is a folder" in refused(argv, "folder", place, monkeypatch, capsys)
    if suffix in (".png", ".gif", ".pdf"):
        other = [word.replace(f"{{out}}{suffix}", "{out}.xyz") for word in argv]
        assert "out.xyz: the name must end in one of" in refused(other, "out", place, monkeypatch, capsys)


@pytest.mark.parametrize("name", WRITES_A_FOLDER)
def test_folders_are_looked_at_before_work(name, place, monkeypatch, capsys):
    argv = WRITES_A_FOLDER[name]
    said = refused(argv, "labels.txt", place, monkeypatch, capsys)
    assert "cannot write labels.txt: " in said and "is not a folder" in said
    assert "cannot write labels.txt/below" in refused(argv, "labels.txt/below", place, monkeypatch, capsys)


# -- classify --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def explaining_model(tmp_path_factory) -> str:
    return str(tiny_folder("dasti", tmp_path_factory.mktemp("dasti")))


LABELS = ["--labels", "cooking", "surfing"]


def no_decoding(*args, **kwargs):
    raise AssertionError("decoded")


def test_explain_is_refused_before_decoding_where_it_says_nothing(tiny_model_folder, clips, monkeypatch, capsys):
    from hf_zsar.pipeline_zero_shot_video_classification import ZeroShotVideoClassificationPipeline as pipeline_class

    monkeypatch.setattr(pipeline_class, "preprocess", no_decoding)
    argv = ["classify", str(clips), *LABELS, "--json", "--model", tiny_model_folder, "--explain", "x.png"]
    assert cli.main(argv) == 2
    assert "ResTModel does not explain itself" in capsys.readouterr().err
    assert cli.main([*argv, "--window", "1"]) == 2
    assert "leave out --window" in capsys.readouterr().err
    assert cli.main([*argv, "--picture", "x.png"]) == 2
    assert "the same file" in capsys.readouterr().err
    assert cli.main([*argv[:-2], "--template", "no gap"]) == 2
    assert "no gap" in capsys.readouterr().err


def test_a_picture_that_fails_costs_no_score(explaining_model, clips, tmp_path, monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("hf_zsar.plots.scores.draw_scores", fail)
    argv = ["classify", str(clips), *LABELS, "--json", "--model", explaining_model]
    argv += ["--picture", str(tmp_path / "p.png"), "--explain", str(tmp_path / "e.png")]
    assert cli.main(argv) == 1
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)) == 3
    assert captured.err.count("disk full") == 3
    assert sorted(os.listdir(tmp_path)) == ["e-a.png", "e-b.png", "e-c.png"]


def test_names_of_pictures_fit_into_a_file_system(tmp_path):
    names = classify.picture_names(str(tmp_path / "out.png"), ["é" * 125 + ".mp4", "é" * 125 + ".mkv", "a.mp4"])
    assert len(set(names.values())) == 3
    for name in names.values():
        with replacing(name) as temporary:
            temporary.write_text("")


@pytest.mark.parametrize("command", ["classify", "explain-transfer", "describe"])
@pytest.mark.parametrize("device", ["cuda:99", "nonsense", "meta"])
def test_a_device_that_is_not_there_is_one_line(command, device, monkeypatch, capsys, tmp_path):
    """The embedded default as well: it is not even built."""
    monkeypatch.setenv("HF_ZSAR_HOME", str(tmp_path / "home"))
    argv = {
        "classify": ["x.mp4", "--labels", "a", "b"],
        "explain-transfer": ["--label", "a"],
        "describe": ["--kind", "graph", "--llm", "no/model", "--labels", "a", "--out", str(tmp_path / "g.json")],
    }[command]
    assert cli.main([command, *argv, "--device", device]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"hf-zsar {command}: no device {device!r} here: ") and len(err.splitlines()) == 1
    assert os.listdir(tmp_path) == []
