"""ONNX export of every method: the graphs, what lies beside them, and the example that scores with them."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import torch

from hf_zsar import METHODS, onnx
from hf_zsar.cli import main
from tests.tiny_models import LABELS, TINY, tiny_folder, tiny_model, tiny_processor, tiny_videos


onnxruntime = pytest.importorskip("onnxruntime", reason="the extra hf-zsar[export] is not installed")
pytest.importorskip("onnxscript", reason="the extra hf-zsar[export] is not installed")

GRAPHS = {
    "riding a bike": ["where the person is on the bike", "where the road is below the bike"],
    "cooking": ["where the pan is on the stove"],
}
SIGLIP = dict(text_padding="max_length")
# What changes the graphs or the text side: method, fields of the configuration, options of the processor.
CASES = {
    **{method: (method, {}, {}) for method in sorted(METHODS)},
    "actionclip two templates": ("actionclip", {}, {"prompt_templates": ["a video of {}", "{} this is an action"]}),
    "actionclip joint": ("actionclip", TINY["actionclip"].variants["joint_space_time"], {}),
    "stdd graphs": ("stdd", {}, {"descriptions": GRAPHS}),
    "stdd mean": ("stdd", dict(matching="mean"), {}),
    "dasti bike text": ("dasti", {}, dict(word_source="class", word_mask_mode="all", text_pad_token_id=0)),
    "dasti whole rows": ("dasti", dict(class_chunk_size=1), dict(word_mask_mode="valid")),
    "dasti rows": ("dasti", dict(use_spatial_interaction=False), dict(attribute_encoding="per_attribute")),
    "siglip": ("video_text", TINY["video_text"].variants["siglip"], SIGLIP),
    **{
        f"{method} siglip": (method, TINY[method].variants["siglip"], SIGLIP)
        for method in ("actionclip", "dasti", "stdd")
    },
    "xclip": ("video_text", TINY["video_text"].variants["xclip"], {}),
    "rest a seen label": ("rest", dict(seen_class_names=["RidingABike", *"bcdef"], gzsl_offset=0.3), {}),
    "rest text alone": ("rest", dict(exact_match_uses_seen_prototype=False, transfer_top_k=2), {}),
}
FAST = "rest a seen label"


def check_case(name: str, folder: Path) -> None:
    """The example as it stands against the model, for several numbers of videos and labels."""
    method, config, options = CASES[name]
    model, processor = tiny_model(method, **config), tiny_processor(method, **options)
    assert max(onnx.export_onnx(model, processor, folder).values()) < 1e-4
    probabilities = runpy.run_path(str(folder / "example.py"))["probabilities"]
    for batch, labels in ((1, LABELS[:2]), (3, LABELS), (3, LABELS[1:3]), (1, LABELS)):
        videos = tiny_videos(batch=batch, seed=5)
        with torch.no_grad():
            bank = model.encode_labels(**processor.prepare_labels(labels, warn=False), labels=labels)
            expected = model.score(model.encode_videos(videos), bank).softmax(dim=1)
        found = torch.from_numpy(probabilities(videos.numpy(), list(labels)))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
        assert expected.std() > 1e-3, "all alike: this would not notice"


@pytest.mark.parametrize(
    "name", [name if name == FAST else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_the_example_gives_the_probabilities_of_the_model(name, tmp_path):
    folder = tmp_path / "out"
    check_case(name, folder)
    assert list(tmp_path.iterdir()) == [folder]
    assert len((folder / "example.py").read_text(encoding="utf-8").splitlines()) <= 30
    assert METHODS[CASES[name][0]].processor_class.from_pretrained(folder).tokenizer("a text")["input_ids"]
    scoring = json.loads((folder / "scoring.json").read_text(encoding="utf-8"))
    assert scoring["frames"]["num_frames"] == 4 and scoring["text"]["templates"]
    for graph in ("video", "text", "score"):
        session = onnxruntime.InferenceSession(folder / f"{graph}.onnx")
        for side, values in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
            assert {each.name: each.shape for each in values} == {
                tensor: each["shape"] for tensor, each in scoring[graph][side].items()
            }
    made = scoring["video"]["outputs"].keys() | scoring["text"]["outputs"].keys()
    assert "video_embeds" in made and scoring["score"]["inputs"].keys() <= made
    assert scoring["score"]["outputs"]["logits_per_video"]["shape"] == ["batch", "labels"]


@pytest.mark.parametrize(
    ("method", "config", "options", "reason"),
    [
        ("rest", dict(transfer_method="ridge"), {}, "no solver"),
        ("stdd", dict(eval_temporal_shuffle=True), {}, "at random"),
        ("video_text", dict(video_prompt={"before": [1], "after": []}), {}, "language model"),
        ("stdd", {}, dict(prompt_padding="cycle", descriptions=GRAPHS), 'prompt_padding="mask"'),
    ],
)
def test_what_cannot_be_exported_is_refused_in_words(method, config, options, reason, tmp_path):
    with pytest.raises(onnx.OnnxExportError, match=reason):
        onnx.export_onnx(tiny_model(method, **config), tiny_processor(method, **options), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_export_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "_write_graph", lambda graph, inputs, path: path.write_bytes(b""))
    monkeypatch.setattr(onnx, "_compare", lambda *args: (0.5, {}))
    with pytest.raises(onnx.OnnxExportError, match="video.onnx is off by 0.5"):
        onnx.export_onnx(tiny_model("rest"), tiny_processor("rest"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_left_alone(tmp_path, capsys):
    folder = tiny_folder("rest", tmp_path / "model")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    assert main(["export-onnx", str(folder), str(tmp_path / "out")]) == 2
    assert "not empty" in capsys.readouterr().err
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"
