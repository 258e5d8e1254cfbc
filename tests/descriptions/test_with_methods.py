"""Files made offline, in the hands of the methods: saved beside the processor, used by the command."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F

from hf_zsar import METHODS
from hf_zsar.cli import main
from tests.tiny_models import tiny_folder, tiny_model, tiny_processor
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


@pytest.mark.parametrize("kind", ["graphs", "attributes"])
@pytest.mark.parametrize("method", sorted(METHODS.keys() - KINDS.keys()))
def test_others_take_descriptions_as_an_ensemble(method, kind, request, texts):
    """Half of a label's prompts are of its name, half of its descriptions; a label without any keeps its name."""
    made, model, processor = request.getfixturevalue(kind), tiny_model(method), tiny_processor(method)
    labels = [*list(texts)[:3], "an undescribed label"]
    with torch.no_grad():
        bank = model.build_label_bank(processor, labels, templates=["{}"], descriptions=made)
        bare = model.build_label_bank(processor, labels, templates=["{}"])
    apart = (bank["text_embeds"] - bare["text_embeds"]).abs().amax(dim=1)
    assert (apart > 1e-4).tolist() == [True, True, True, False]
    known = made.for_label(labels[0])
    known = known if isinstance(known, tuple) else known.clause_list()
    prompts = processor.build_prompts(labels, ["do {}"], made)
    assert prompts[0].count(f"do {labels[0]}") == len(known) == len(prompts[0]) / 2
    assert prompts[0][len(known) :] == [f"do {labels[0]}, {each}" for each in known] and prompts[3] == [
        f"do {labels[3]}"
    ]
    if method == "video_text":
        each = model.encode_labels(**processor.tokenize([labels[0], *(f"{labels[0]}, {one}" for one in known)]))
        mean = F.normalize(each["text_embeds"][0] + each["text_embeds"][1:].mean(dim=0), dim=-1)
        torch.testing.assert_close(bank["text_embeds"][0], mean, atol=1e-5, rtol=0)


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
