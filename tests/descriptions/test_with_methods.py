"""Files made offline, in the hands of the methods: saved beside the processor, used by the command."""

from __future__ import annotations

import json

import pytest

from hf_zsar.cli import main
from tests.tiny_models import tiny_folder
from tests.videos import write_video


KINDS = {"stdd": "graphs", "dasti": "attributes"}


@pytest.mark.parametrize("method", KINDS)
def test_saved_beside_the_processor_and_read_again(method, request, tmp_path, texts):
    from transformers import AutoProcessor

    made = request.getfixturevalue(KINDS[method])
    folder = tiny_folder(method, tmp_path / "model")
    processor = AutoProcessor.from_pretrained(folder)
    bare = processor.prepare_labels(list(texts))
    processor.descriptions = made
    processor.save_pretrained(tmp_path / "again")
    again = AutoProcessor.from_pretrained(tmp_path / "again")
    assert again.descriptions == made
    inputs = again.prepare_labels(list(texts))
    assert inputs["input_ids"].shape[0] > bare["input_ids"].shape[0]
    if method == "stdd":  # every label: its 8 templates, alone and with each clause
        sizes = [8 * (1 + len(made.for_label(label).clause_list())) for label in texts]
        assert (inputs["prompt_index"] >= 0).sum(dim=1).tolist() == sizes


@pytest.mark.parametrize("method", KINDS)
def test_classify_takes_what_describe_writes(method, tmp_path, texts, capsys):
    kind = {"stdd": "graph", "dasti": "attributes"}[method]
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    out, clip = str(tmp_path / "known.json"), str(write_video(tmp_path / "clip.mp4", num_frames=16))
    assert main(["describe", "--kind", kind, "--texts", str(tmp_path / "texts.json"), "--out", out]) == 0
    model = str(tiny_folder(method, tmp_path / "model"))
    command = ["classify", clip, "--model", model, "--device", "cpu", "--labels", *texts, "--descriptions", out]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert any(label in said for label in texts)
    other = "graph" if kind == "attributes" else "attributes"
    assert main(["describe", "--kind", other, "--texts", str(tmp_path / "texts.json"), "--out", out]) == 0
    assert main(command) == 2
    assert f"--kind {kind}" in capsys.readouterr().err
