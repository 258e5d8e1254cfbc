"""Checkpoints of open_clip through their adapter: with open_clip where it is installed, else with a stand-in."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import hf_zsar
from hf_zsar.hub import ExportError, export
from tests import open_clip_stand_in
from tests.tiny_encoders import some_videos
from tests.tiny_models import IMAGE_SIZE, LABELS


MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]


@pytest.fixture
def open_clip(monkeypatch):
    if importlib.util.find_spec("open_clip") is None:
        stand_in = open_clip_stand_in.module()
        monkeypatch.setitem(sys.modules, "open_clip", stand_in)
        monkeypatch.setitem(sys.modules, "open_clip.tokenizer", stand_in.tokenizer)
    return importlib.import_module("open_clip")


@pytest.fixture(params=[None, -3.0], ids=["softmax", "sigmoid"])
def folder(request, open_clip, tmp_path) -> Path:
    """As open_clip pushes one, with random weights."""
    vocabulary = len(open_clip.tokenizer.SimpleTokenizer().encoder)
    fields = dict(
        embed_dim=32,
        vision_cfg=dict(image_size=IMAGE_SIZE, layers=2, width=64, patch_size=8, head_width=32),
        text_cfg=dict(context_length=77, vocab_size=vocabulary, width=32, heads=2, layers=2),
        **({} if request.param is None else {"init_logit_bias": request.param}),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model("ViT-B-32", load_weights=False, **fields)
    folder = tmp_path / "model"
    folder.mkdir()
    described = {"model_cfg": fields, "preprocess_cfg": {"mean": MEAN, "std": STD}}
    (folder / "open_clip_config.json").write_text(json.dumps(described), encoding="utf-8")
    save_file(
        {name: each.contiguous() for name, each in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder


@torch.no_grad()
def by_hand(open_clip, folder: Path, videos: list, texts: list[str]) -> torch.Tensor:
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    labels = F.normalize(model.encode_text(open_clip.tokenizer.SimpleTokenizer()(texts)), dim=-1)
    rows = []
    for video in videos:
        pixels = torch.from_numpy(video).permute(0, 3, 1, 2) / 255
        pixels = (pixels - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1)
        rows.append(F.normalize(F.normalize(model.encode_image(pixels), dim=-1).mean(dim=0), dim=-1))
    logits = torch.stack(rows) @ labels.T * model.logit_scale.exp()
    return logits if model.logit_bias is None else logits + model.logit_bias


def test_scores_are_those_of_open_clip_and_a_saved_model_keeps_them(open_clip, folder, tmp_path):
    videos, labels = some_videos([1, 8]), list(LABELS)
    expected = by_hand(open_clip, folder, videos, labels)
    model, processor = hf_zsar.load(folder)
    with torch.no_grad():
        bank = model.build_label_bank(processor, labels, templates=["{}"])
        inputs = [processor(videos=[video], do_sample_frames=False) for video in videos]
        found = torch.cat([model.score(model.encode_videos(**each), bank) for each in inputs])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert expected.std() > 1e-2 and model.scores_each_label == (
        b"init_logit_bias" in (folder / "open_clip_config.json").read_bytes()
    )
    classifier = hf_zsar.pipeline(str(folder))
    classifier.save_pretrained(tmp_path / "saved")
    again = hf_zsar.pipeline(tmp_path / "saved")
    assert again(videos[1], candidate_labels=labels) == classifier(videos[1], candidate_labels=labels)


def test_frames_are_resized_as_the_checkpoint_says(open_clip, folder):
    described = json.loads((folder / "open_clip_config.json").read_text())
    assert hf_zsar.load(folder)[1].video_processor.size == {"shortest_edge": IMAGE_SIZE}
    for mode, expected in (("squash", {"height": IMAGE_SIZE, "width": IMAGE_SIZE}), ("longest", None)):
        described["preprocess_cfg"]["resize_mode"] = mode
        (folder / "open_clip_config.json").write_text(json.dumps(described))
        if expected is None:
            with pytest.raises(ValueError, match="not 'longest'"):
                hf_zsar.load(folder)
        else:
            assert hf_zsar.load(folder)[1].video_processor.size == expected


def test_it_does_not_travel_with_an_export(folder, tmp_path):
    with pytest.raises(ExportError, match="push the original"):
        export(*hf_zsar.load(folder), tmp_path / "export", verify=False)
    assert not (tmp_path / "export").exists()
