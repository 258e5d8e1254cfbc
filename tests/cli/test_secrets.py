"""Passwords and signatures of URLs: no command shows or keeps one."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest

from hf_zsar.cli import main
from hf_zsar.features.store import FeatureStore
from hf_zsar.processing import video_download
from hf_zsar.processing.urls import redacted
from hf_zsar.processing.video_sources import MediaSource


SECRET = "s3cret"
# Nothing listens there, and private addresses are refused before anything is asked.
URLS = [
    f"http://alice:{SECRET}@127.0.0.1:9/a.mp4",
    f"http://127.0.0.1:9/a.mp4?X-Amz-Signature={SECRET}&page=1",
    f"http://127.0.0.1:9/a.mp4?X-Amz-Signature={SECRET}2&page=1",
    f"http://127.0.0.1:9/a.mp4#{SECRET}",
    f"http://alice:{SECRET}@[::1/a.mp4",
    f"ftp://alice:{SECRET}@127.0.0.1/a.mp4",
    f"http://alice:p/{SECRET}@127.0.0.1/a.mp4",
]
LABELS = ["--labels", "cooking", "surfing"]


@pytest.fixture
def run(tiny_model_folder, capsys, caplog):
    def call(*argv: str) -> tuple[int, str, str]:
        caplog.set_level(logging.DEBUG)
        status = main([*argv, "--model", tiny_model_folder])
        out, err = capsys.readouterr()
        for where, text in {"output": out, "errors": err, "log": caplog.text}.items():
            assert SECRET not in text, where
        return status, out, err

    return call


def files_without_secret(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("options", [["--json"], [], ["--window", "2"]])
def test_classify(run, options):
    status, out, err = run("classify", *URLS, *LABELS, *options)
    assert status == 1 and err.count("error: ") == len(URLS)
    if options == ["--json"]:
        records = json.loads(out)
        assert len(records) == len(URLS) and all("error" in record for record in records)
        assert all("***" in record["video"] for record in records)


def test_names_of_pictures(run, tmp_path):
    run("classify", *URLS, *LABELS, "--picture", str(tmp_path / "out.png"))
    files_without_secret(tmp_path)


def test_embed_keeps_no_secret_and_tells_urls_apart(run, clips, tmp_path, monkeypatch):
    store = tmp_path / "store"
    run("embed", *URLS, str(clips / "b.mp4"), "--out", str(store))
    files_without_secret(store)
    errors = [json.loads(line) for line in (store / "errors.jsonl").read_text().splitlines()]
    assert len({error["id"] for error in errors}) == len(URLS)
    assert errors[1]["source"] == errors[2]["source"] and errors[1]["id"] != errors[2]["id"]

    data = (clips / "b.mp4").read_bytes()
    monkeypatch.setattr(video_download, "download", lambda url, *_: MediaSource(redacted(url), file=io.BytesIO(data)))
    for expected in ("0 were there already", f"{len(URLS)} were there already"):
        status, _, err = run("embed", *URLS, "--out", str(store))
        assert status == 0 and expected in err
    files_without_secret(store)
    assert len({row.id for row in FeatureStore.open(store).rows}) == len(URLS) + 1
    run("search", str(store), "words", "--json")


@pytest.mark.parametrize("command", ["evaluate", "cache", "train"])
@pytest.mark.parametrize("kind", ["manifest.json", "list.csv"])
def test_urls_in_lists(command, kind, clips, tiny_model_folder, tmp_path, capsys, caplog):
    listed = tmp_path / kind
    rows = [(url, "cooking") for url in URLS[:4]] + [(str(clips / "b.mp4"), "surfing")]
    if kind.endswith("json"):
        listed.write_text(json.dumps({"clips": [{"file": file, "label": label} for file, label in rows]}))
    else:
        listed.write_text("video,label\n" + "".join(f'"{file}",{label}\n' for file, label in rows))
    recipe = tmp_path / "recipe.yaml"
    model = {"pretrained": tiny_model_folder}
    content = {"method": "rest", "output": str(tmp_path / "out"), "model": model, "data": {"source": str(listed)}}
    recipe.write_text(json.dumps({**content, "optimization": {"learning_rates": {"default": 0.1}}}))
    argv = {
        "evaluate": ["--manifest", str(listed), "--model", tiny_model_folder, "--json", str(tmp_path / "out")],
        "cache": [str(listed), str(tmp_path / "out")],
        "train": [str(recipe)],
    }[command]
    assert main([command, *argv]) == 2
    assert SECRET not in "".join(capsys.readouterr()) + caplog.text and not (tmp_path / "out").exists()


def test_a_model_that_is_named_by_a_url(clips, capsys, caplog, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["classify", str(clips / "b.mp4"), *LABELS, "--model", URLS[0]]) == 2
    assert SECRET not in "".join(capsys.readouterr()) + caplog.text
