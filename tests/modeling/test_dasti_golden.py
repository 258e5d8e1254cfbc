"""DA-STI with the `bike` preset against the official BIKE code (golden folder), through the converter."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hf_zsar.conversion.bike import convert
from hf_zsar.modeling.modeling_zsar import LabelBank, VideoFeatures, normalize
from hf_zsar.modeling.spatio_temporal_interaction import word_attention
from tests.golden_cases import GoldenCase, case_id, golden_cases
from tests.tiny_models import parameters_of


CASES = golden_cases(lambda case: "half_class" in case.config.get("expected_scalars", {}))

pytestmark = pytest.mark.skipif(not CASES, reason="no BIKE case in the golden folder (HF_ZSAR_GOLDEN)")


@pytest.fixture(params=CASES, ids=case_id)
def case(request) -> GoldenCase:
    return request.param


@functools.cache
def converted(path, **config):
    case = next(case for case in CASES if case.path == path)
    return convert(path / case.config["files"]["checkpoint"], num_frames=case.config["num_frames"], **config).model


def bank_of(model, ids) -> LabelBank:
    """All 77 positions are words and padding is 0, as the stored ids are."""
    return model.encode_labels(ids, labels=[str(i) for i in range(len(ids))])


@torch.no_grad()
def test_golden_towers_and_temporal_transformer(case):
    model = converted(case.path)
    ids = case.inputs["class_input_ids"]
    pooled, tokens = model.backbone.encode_words(ids, None, 77)
    case.check("class_features", pooled)
    case.check("token_features", tokens)
    videos = case.inputs["pixel_values"]
    frames, _ = model.backbone.encode_frames(videos.flatten(0, 1))
    frames = frames.view(*videos.shape[:2], -1)
    case.check("frame_features", frames)
    case.check("temporal_features", model.temporal_transformer(frames))
    case.check("eps_probe_output", model.temporal_transformer(case.inputs["eps_probe_frames"]), atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("head", ["Transf", "None"])
def test_golden_video_concept_spotting(case, head):
    model = converted(case.path)
    bank = bank_of(model, case.inputs["class_input_ids"])
    features = model.encode_videos(case.inputs["pixel_values"])
    if head == "None":
        features = VideoFeatures(frame_embeds=case.expected["frame_features"][:, None])
    parts = model.branch_scores(features, bank)
    case.check(f"{head}_VCS.saliency", parts["temporal_saliency"][:, 0])
    case.check(f"{head}_VCS.scores", parts["class_scores"][:, 0])
    frames = normalize(features.frame_embeds[:, 0])
    pooled = torch.einsum("bkt,btd->bkd", parts["temporal_saliency"][:, 0], frames)
    case.check(f"{head}_VCS.pooled", pooled)
    mean = normalize(features.frame_embeds[:, 0].mean(1)) @ bank["text_embeds"].t()
    case.check(f"{head}_DP.scores", mean)


@torch.no_grad()
def test_golden_word_frame_similarity(case):
    model = converted(case.path)
    bank = bank_of(model, case.inputs["class_input_ids"][:2])
    frames = normalize(model.encode_videos(case.inputs["pixel_values"][:1]).frame_embeds[:, 0])
    similarity = torch.einsum("kld,btd->bklt", bank["word_embeds"], frames)
    case.check("Transf_VCS.word_frame_similarity", similarity)
    temperature = case.config["saliency_temperature"]
    torch.testing.assert_close(word_attention(bank["word_embeds"], frames, temperature).sum(-1), torch.ones(1, 2, 77))


@torch.no_grad()
def test_golden_validation_scores(case):
    """The official validation: softmax of the scores, mean over views, softmax again."""
    model = converted(case.path, bike_compat=True)
    bank = bank_of(model, case.inputs["class_input_ids"])
    videos, views = case.inputs["pixel_values"], case.config["num_views_multiview"]
    single = model.score(model.encode_videos(videos), bank).softmax(-1)
    case.check("val.scores_single_view", single)
    several = model.score(model.encode_videos(videos.unflatten(0, (-1, views))), bank).softmax(-1)
    case.check("val.scores_multiview", several)


@torch.no_grad()
def test_golden_half_class_routine(case):
    """BIKE's own half-class routine scores raw frame features; kept as a check of the towers and of the split rule."""
    model, expected = converted(case.path), case.config["expected_scalars"]["half_class"]
    videos, labels = case.inputs["pixel_values"], case.inputs["labels"]
    frames, _ = model.backbone.encode_frames(videos.flatten(0, 1))
    frames = frames.view(*videos.shape[:2], -1)
    bank = bank_of(model, case.inputs["class_input_ids"])

    def scores(rows, classes):
        return (100 * frames[rows] @ bank["text_embeds"][classes].t()).softmax(-1).mean(1)

    everything = torch.arange(len(bank))
    case.check("half.full_scores", scores(slice(None), everything))
    accuracies = []
    for split in expected["splits"]:
        number, classes = split["split"], torch.tensor(split["candidate_classes"])
        drawn = np.random.RandomState(number).permutation(len(bank))[: len(bank) // 2]
        assert sorted(drawn.tolist()) == sorted(split["selected_classes"])
        rows = torch.isin(labels, classes).nonzero()[:, 0]
        case.check(f"half.split{number}.scores", scores(rows, classes))
        right = classes[scores(rows, classes).argmax(1)] == labels[rows]
        accuracies.append(100 * right.float().mean().item())
    assert accuracies == pytest.approx([split["top1"] for split in expected["splits"]])
    assert np.mean(accuracies) == pytest.approx(expected["top1_mean"])
    assert np.std(accuracies) == pytest.approx(expected["top1_std_population"])


def test_golden_training_step(case):
    config, expected = case.config, case.config["expected_scalars"]
    model = convert(case.path / config["files"]["checkpoint"], num_frames=config["num_frames"]).model
    labels = case.inputs["train_labels"]
    ids = case.inputs["class_input_ids"][labels]
    output = model(case.inputs["train_pixel_values"], input_ids=ids, labels=labels, label_ids=labels)
    case.check("train_logits", output.logits_per_video)
    case.check("train_loss", output.loss)
    output.loss.backward()
    vision, scale = model.backbone.model, model.backbone.model.logit_scale
    block = model.temporal_transformer.layers[0]
    weights = {
        "visual.conv1.weight": vision.vision_model.embeddings.patch_embedding.weight,
        "visual.proj": vision.visual_projection.weight,
        "logit_scale": scale,
        "fusion_model.frame_position_embeddings.weight": model.temporal_transformer.position_embedding.weight,
        "fusion_model.transformer.resblocks.0.mlp.c_fc.weight": block.mlp.fc1.weight,
    }
    assert expected["gradient_norms"].keys() <= weights.keys()
    for name, norm in expected["gradient_norms"].items():
        assert weights[name].grad.norm().item() == pytest.approx(norm, rel=1e-3), name
    assert all(p.grad is None for p in parameters_of(model, "text"))


def test_golden_attribute_branch_is_refused(case, tmp_path):
    from hf_zsar.conversion.checkpoint_files import ConversionError

    content = torch.load(case.path / case.config["files"]["checkpoint"], weights_only=True)
    content["fusion_model_state_dict"] = load_file(case.path / case.config["files"]["sentence_head"])
    torch.save(content, tmp_path / "attributes.pt")
    with pytest.raises(ConversionError, match="attribute branch"):
        convert(tmp_path / "attributes.pt", num_frames=4)
    del content["fusion_model_state_dict"]
    torch.save(content, tmp_path / "half.pt")
    with pytest.raises(ConversionError, match="not a checkpoint of BIKE"):
        convert(tmp_path / "half.pt", num_frames=4)


def test_golden_frames_are_asked_for_or_read_off_the_name(case, tmp_path):
    from hf_zsar.conversion.checkpoint_files import ConversionError

    source = case.path / case.config["files"]["checkpoint"]
    named = tmp_path / "k400-vit-tiny-f16.pt"
    named.symlink_to(source)
    assert convert(named).model.config.num_frames == 16
    with pytest.raises(ConversionError, match="num_frames"):
        convert(source)
