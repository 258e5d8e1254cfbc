"""ResT on published video models without text: their features, prototypes by the command, and a pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, BertConfig, BertModel

import hf_zsar
from hf_zsar.cli import main
from hf_zsar.modeling.modeling_zsar import normalize
from tests.tiny_models import tiny_bert_config, tiny_bert_tokenizer, tiny_videos
from tests.videos import write_video


_TOWER = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, patch_size=8)
_FRAMES = dict(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}, resample=2, do_center_crop=True)
_FRAMES |= dict(image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4])
_PREDICTOR = dict(pred_hidden_size=16, pred_num_attention_heads=2, pred_num_hidden_layers=1)
# model_type -> fields of its configuration, and the name of the file that describes its frames
KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "vjepa2": (dict(_TOWER, crop_size=32, frames_per_clip=4, **_PREDICTOR), "video_preprocessor_config.json"),
    "videomae": (dict(_TOWER, image_size=32, num_frames=4, intermediate_size=48), "preprocessor_config.json"),
    "timesformer": (dict(_TOWER, image_size=32, num_frames=4, intermediate_size=48), "preprocessor_config.json"),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def backbone(kind: str) -> Any:
    torch.manual_seed(0)
    return AutoModel.from_config(AutoConfig.for_model(kind, **KINDS[kind][0])).eval()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    torch.manual_seed(1)
    BertModel(BertConfig(**tiny_bert_config())).save_pretrained(folder)
    tiny_bert_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(kind: str, tmp_path: Path) -> Path:
    backbone(kind).save_pretrained(tmp_path / kind)
    (tmp_path / kind / KINDS[kind][1]).write_text(json.dumps(_FRAMES))
    return tmp_path / kind


@torch.no_grad()
@every_kind
def test_features_of_each_time_are_those_of_its_patches(kind: str, text: Path) -> None:
    upstream, clips = backbone(kind), tiny_videos()
    model = hf_zsar.ResTModel.from_backbone(upstream, str(text))
    found = model.encode_videos(clips)
    hidden = upstream(clips).last_hidden_state
    expected = {"timesformer": lambda: hidden[:, 1:].view(2, 16, 4, 32).mean(1)}
    expected = expected.get(kind, lambda: hidden.view(2, 2, 16, 32).mean(2))()
    torch.testing.assert_close(found.frame_embeds[:, 0], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.video_embeds, normalize(expected.mean(1)), atol=1e-6, rtol=0)
    grid = hf_zsar.ResTModel.from_backbone(backbone(kind), str(text), visual_token_pooling="none").backbone
    assert grid(clips).shape == (2, 4 if kind == "timesformer" else 2, 16, 32)
    if kind == "videomae":
        with pytest.raises(ValueError, match="exactly 4 frames, got 6"):
            model.encode_videos(tiny_videos(frames=6))
    else:
        assert model.encode_videos(tiny_videos(frames=6)).video_embeds.isfinite().all()
        assert model.encode_videos(tiny_videos(frames=1)).video_embeds.isfinite().all()


@every_kind
def test_prototypes_are_fitted_on_a_folder_as_it_is_published(
    kind: str, folder: Path, text: Path, tmp_path: Path
) -> None:
    for number, name in enumerate(("cooking", "surfing")):
        (tmp_path / "data" / name).mkdir(parents=True)
        write_video(tmp_path / "data" / name / "a.mp4", 8, first_number=100 * number)
    command = ["fit-prototypes", str(folder), str(tmp_path / "out"), "--text-encoder", str(text)]
    assert main([*command, "--data", str(tmp_path / "data")]) == 0
    classifier = hf_zsar.pipeline(tmp_path / "out")
    video = classifier.processor.video_processor
    assert (video.image_mean, video.image_std) == (_FRAMES["image_mean"], _FRAMES["image_std"])
    assert (video.size, video.crop_size, video.num_frames) == (_FRAMES["size"], _FRAMES["crop_size"], 4)
    with torch.no_grad():
        pixels = video([str(tmp_path / "data" / "surfing" / "a.mp4")])["pixel_values_videos"]
        expected = normalize(
            hf_zsar.ResTModel.from_backbone(backbone(kind), str(text)).encode_videos(pixels).video_embeds
        )
    torch.testing.assert_close(classifier.model.seen_prototypes[1], expected[0], atol=1e-5, rtol=0)
    answers = classifier(str(tmp_path / "data" / "surfing" / "a.mp4"), candidate_labels=["cooking", "surfing"])
    assert answers[0]["label"] == "surfing"


@every_kind
def test_what_is_missing_is_said(kind: str, folder: Path, text: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="text_encoder="):
        hf_zsar.load(folder, method="rest")
    with pytest.raises(ValueError, match="is a 'vjepa2' model; a BERT is needed|is a 'videomae'|is a 'timesformer'"):
        hf_zsar.load(folder, method="rest", text_encoder=folder)
    model, processor = hf_zsar.load(folder, method="rest", text_encoder=text, num_frames=4, transfer_top_k=1)
    assert model.config.transfer_top_k == 1 and (processor.text_limit, model.text_limit) == (32, 64)
    with pytest.raises(ValueError, match="no prototypes of seen classes"):
        model.build_label_bank(processor, ["cooking"])
