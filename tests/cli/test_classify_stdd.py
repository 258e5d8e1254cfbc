"""STDD from end to end: a graph file made by the offline route, then `hf-zsar classify` with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hf_zsar.cli import main
from tests.tiny_models import tiny_folder


TEXTS = Path(__file__).resolve().parent.parent / "descriptions" / "texts_42.json"


@pytest.fixture(scope="module")
def graph_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("graphs") / "graph.json"
    assert main(["describe", "--kind", "graph", "--texts", str(TEXTS), "--out", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def stdd_folder(tmp_path_factory) -> str:
    return str(tiny_folder("stdd", tmp_path_factory.mktemp("stdd")))


def scores(capsys, *argv: str) -> dict[str, float]:
    assert main(["classify", *argv, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return {item["label"]: item["score"] for item in json.loads(captured.out)[0]["scores"]}


def test_classify_with_a_graph_file(capsys, clips, graph_file, stdd_folder):
    labels = list(json.loads(graph_file.read_text(encoding="utf-8"))["classes"])[:5]
    base = (str(clips / "b.mp4"), "--model", stdd_folder, "--labels", *labels)
    capsys.readouterr()
    with_graphs = scores(capsys, *base, "--descriptions", str(graph_file))
    assert set(with_graphs) == set(labels)
    assert sum(with_graphs.values()) == pytest.approx(1, abs=1e-5)
    assert with_graphs != scores(capsys, *base)


def test_all_labels_of_the_real_clips_have_graphs(
    capsys, clips_dir, clips_manifest, graph_file, stdd_folder, tmp_path
):
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps(clips_manifest["labels"]), encoding="utf-8")
    video = str(clips_dir / clips_manifest["clips"][0]["file"])
    options = ("--labels-file", str(labels), "--descriptions", str(graph_file), "--template", "a video of {}.")
    capsys.readouterr()
    found = scores(capsys, video, "--model", stdd_folder, *options, "--top-k", "50")
    assert set(found) == set(clips_manifest["labels"])
