"""ResT: backbone, passes, losses, prototypes, and that it learns."""

from __future__ import annotations

import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch import nn
from transformers import BertConfig

from hf_zsar import ResTConfig, ResTModel
from hf_zsar.modeling.modeling_rest import VisualEmbedding
from hf_zsar.modeling.modeling_zsar import normalize
from hf_zsar.modeling.r2plus1d import R2Plus1D, TemporalConvolution
from hf_zsar.modeling.rest_losses import alignment_loss, classification_loss, hard_negatives, matching_loss
from hf_zsar.modeling.visual_backbone import build_backbone, drop_special_tokens, grid_size
from tests.tiny_models import (
    LABELS,
    TINY,
    score_any,
    tiny_inputs,
    tiny_model,
    tiny_processor,
    tiny_videos,
)


SEEN = TINY["rest"].config()["seen_class_names"]


# -- backbone --------------------------------------------------------------------------------------------------------


def test_r2plus1d_has_the_published_size_shapes_and_names():
    with torch.device("meta"):
        model = R2Plus1D()
        hidden, shapes = torch.zeros(1, 3, 16, 112, 112), []
        for name in ("stem", "layer1", "layer2", "layer3", "layer4"):
            hidden = model.get_submodule(name)(hidden)
            shapes.append(tuple(hidden.shape[1:]))
    assert sum(p.numel() for p in model.parameters()) == 31_300_125
    assert shapes == [(64, 16, 56, 56), (64, 16, 56, 56), (128, 8, 28, 28), (256, 4, 14, 14), (512, 2, 7, 7)]
    middle = [model.state_dict()[f"layer{s}.{b}.conv1.0.0.weight"].shape[0] for s in range(1, 5) for b in (0, 1)]
    assert middle == [144, 144, 230, 288, 460, 576, 921, 1152]
    names = {"stem.0.weight", "stem.4.running_mean", "layer2.0.downsample.0.weight", "layer4.1.conv2.0.3.weight"}
    assert names <= model.state_dict().keys()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("num_frames", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_temporal_convolution_is_the_3d_one_and_so_are_its_gradients(dtype, num_frames, stride):
    convolution = TemporalConvolution(46, 8, stride)
    clips = torch.randn(2, 46, num_frames, 2, 2, requires_grad=True)
    expected = nn.functional.conv3d(clips, convolution.weight, stride=(stride, 1, 1), padding=(1, 0, 0))
    of_clips, of_weight = torch.autograd.grad(expected.square().sum(), (clips, convolution.weight))

    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        found = convolution(clips)
    assert found.dtype is dtype
    gradients = torch.autograd.grad(found.float().square().sum(), (clips, convolution.weight))
    for value, reference in zip((found, *gradients), (expected, of_clips, of_weight), strict=True):
        error = (value.float() - reference).abs().max() / reference.abs().max()
        assert error < (1e-5 if dtype is torch.float32 else 0.03)


@pytest.mark.parametrize(
    ("preset", "tokens", "parameters"),
    [
        (dict(), (2, 49), 142_346_784),
        (
            dict(
                backbone_type="transformers",
                backbone_config=dict(model_type="resnet", depths=[3, 4, 23, 3], hidden_sizes=[256, 512, 1024, 2048]),
                num_frames=8,
                image_size=224,
                visual_token_pooling="spatial",
            ),
            (8, 1),
            154_693_443,
        ),
    ],
)
def test_presets_have_the_known_size(preset, tokens, parameters):
    config = ResTConfig(num_seen_classes=664, text_config=BertConfig(), **preset)
    with torch.device("meta"):
        model = ResTModel(config)
    assert grid_size(config) == tokens
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("variant", [None, "r2plus1d", "grid_tokens", "vision_transformer"])
def test_tokens_fill_the_grid(variant):
    model = tiny_model("rest", **(TINY["rest"].variants[variant] if variant else {}))
    with torch.no_grad():
        tokens = model.backbone(tiny_videos())
    assert tokens.shape[:3] == (2, *grid_size(model.config))


def test_special_tokens_of_a_vision_transformer_are_dropped():
    hidden = torch.arange(21.0).view(1, 21, 1)
    assert drop_special_tokens(hidden).flatten().tolist() == list(range(5, 21))
    assert build_backbone(ResTConfig(backbone_widths=[4, 4, 4, 8], backbone_stem_width=4)).model.stem[0].bias is None


def test_time_table_is_interpolated_and_places_are_checked():
    embedding = VisualEmbedding(4, 8, times=2, places=3, eps=1e-5)
    torch.nn.init.normal_(embedding.time_embedding)
    torch.testing.assert_close(embedding._times(2), embedding.time_embedding)
    torch.testing.assert_close(embedding._times(3)[1], embedding.time_embedding.mean(0))
    assert embedding(torch.zeros(1, 5, 3, 4)).shape == (1, 16, 8)
    with pytest.raises(ValueError, match="image_size"):
        embedding(torch.zeros(1, 2, 4, 4))


# -- passes ----------------------------------------------------------------------------------------------------------


def test_video_features_do_not_depend_on_any_text():
    model, inputs = tiny_model("rest").train(), tiny_inputs("rest")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    features = model.encode_videos(inputs["pixel_values_videos"])
    bank = model.encode_labels(**tiny_processor("rest").prepare_labels(list(LABELS)))
    targets = torch.eye(2, len(LABELS), dtype=torch.bool)
    loss = model.training_losses(features, bank, targets)["cls"]
    loss.backward()
    words = model.text_model.embeddings.word_embeddings.weight.grad
    assert words is None or (words == 0).all()


@torch.no_grad()
def test_padding_changes_nothing_and_the_joint_pass_reads_the_text():
    model = tiny_model("rest")
    processor = tiny_processor("rest")
    short = processor.tokenize(["a dog"])
    ids, mask = short["input_ids"], short["attention_mask"]
    padded = torch.nn.functional.pad(ids, (0, 4)), torch.nn.functional.pad(mask, (0, 4))
    torch.testing.assert_close(model.encode_texts(ids, mask), model.encode_texts(*padded), atol=1e-5, rtol=1e-5)
    tokens = model.visual_embedding(model.backbone(tiny_videos(1)))
    joint = model.get_match_logits(tokens, ids, mask)
    torch.testing.assert_close(joint, model.get_match_logits(tokens, *padded), atol=1e-5, rtol=1e-5)
    other = processor.tokenize(["a guitar"])
    assert not torch.allclose(joint, model.get_match_logits(tokens, **other), atol=1e-5)


# -- losses ----------------------------------------------------------------------------------------------------------


def test_losses_at_degenerate_points():
    targets = torch.tensor([[True, False, False], [False, True, False], [True, False, False]])
    assert classification_loss(torch.zeros(3, 7), torch.tensor([0, 1, 6])).item() == pytest.approx(math.log(7))
    equal = torch.zeros(3, 3)
    # text side: label 0 has 2 of 3 videos, label 1 has 1 of 3, label 2 none
    expected = (math.log(3) + (math.log(3 / 2) + math.log(3)) / 2) / 2
    assert alignment_loss(equal, targets).item() == pytest.approx(expected)
    assert alignment_loss(torch.randn(4, 1), torch.ones(4, 1, dtype=torch.bool)).item() == pytest.approx(0, abs=1e-6)
    assert matching_loss(torch.zeros(5, 2), positives=3).item() == pytest.approx(math.log(2))
    assert matching_loss(torch.tensor([[-9.0, 9], [9, -9]]), positives=1).item() == pytest.approx(0, abs=1e-6)


def test_alignment_takes_all_videos_of_a_class_as_positives():
    similarity = torch.tensor([[4.0, 0], [0, 4], [4, 0]])
    targets = similarity > 1
    good = alignment_loss(similarity, targets)
    assert good < 0.05
    assert alignment_loss(-similarity, targets) > 2


def test_hard_negatives_are_wrong_and_prefer_the_similar():
    torch.manual_seed(0)
    targets = torch.eye(3, 4, dtype=torch.bool)
    similarity = torch.zeros(3, 4)
    similarity[:, 3] = 3.0
    drawn = torch.stack([hard_negatives(similarity, targets) for _ in range(300)])
    assert not targets.expand(300, 3, 4).gather(2, drawn[..., None]).any()
    share = (drawn == 3).float().mean().item()
    assert share == pytest.approx(math.exp(3) / (math.exp(3) + 2), abs=0.05)
    assert hard_negatives(torch.zeros(3, 1), torch.ones(3, 1, dtype=torch.bool)) is None


def test_loss_weights_choose_the_losses():
    inputs = tiny_inputs("rest")
    videos = inputs.pop("pixel_values_videos")
    for off, names in (
        ({}, {"cls", "align", "match"}),
        ({"match": 0.0}, {"cls", "align"}),
        ({"cls": 0.0}, {"align", "match"}),
    ):
        model = tiny_model("rest", loss_weights=off).train()
        losses = model.training_losses(
            model.encode_videos(videos), model.encode_labels(**inputs), torch.eye(2, len(LABELS), dtype=torch.bool)
        )
        assert losses.keys() == names
    with pytest.raises(StrictDataclassClassValidationError, match="unknown losses"):
        tiny_model("rest", loss_weights={"other": 1.0})


@torch.no_grad()
def test_cosines_of_the_losses_are_float32_under_autocast():
    inputs = tiny_inputs("rest")
    videos = inputs.pop("pixel_values_videos")
    model = tiny_model("rest", loss_weights={"match": 0.0}).train()
    features, bank = model.encode_videos(videos), model.encode_labels(**inputs)
    targets = torch.eye(2, len(LABELS), dtype=torch.bool)
    reference = model.training_losses(features, bank, targets)
    with torch.autocast("cpu", torch.bfloat16):
        found = model.training_losses(features, bank, targets)
    for name in ("cls", "align"):
        torch.testing.assert_close(found[name], reference[name], atol=1e-6, rtol=1e-6, msg=name)


def test_every_parameter_learns_from_the_three_losses():
    model, inputs = tiny_model("rest").train(), tiny_inputs("rest")
    model(**inputs, labels=torch.tensor([1, 3])).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


# -- prototypes ------------------------------------------------------------------------------------------------------


def fitted_model(**fields):
    model = tiny_model("rest", **fields)
    tokens = tiny_processor("rest").tokenize(SEEN)
    videos = tiny_videos(batch=8)
    classes = torch.tensor([0, 1, 2, 3, 4, 5, 0, 1])

    @torch.no_grad()
    def class_sums():
        sums = torch.zeros(len(SEEN), 24).index_add(0, classes, model.encode_videos(videos).video_embeds)
        return sums, classes.bincount(minlength=len(SEEN))

    model.finish_training(tiny_processor("rest"), SEEN, class_sums)
    return model, videos, classes, tokens


@torch.no_grad()
def test_prototypes_are_class_means():
    model, videos, classes, tokens = fitted_model()
    embeds = model.encode_videos(videos).video_embeds
    torch.testing.assert_close(model.seen_prototypes[0], normalize(embeds[classes == 0].mean(0)))
    assert model.seen_counts.tolist() == [2, 2, 1, 1, 1, 1]
    torch.testing.assert_close(model.seen_text_embeds, model.encode_texts(**tokens))


@torch.no_grad()
def test_prototypes_may_be_the_classifier():
    model, *_ = fitted_model(prototype_source="classifier")
    torch.testing.assert_close(model.seen_prototypes, normalize(model.class_head.weight))


@torch.no_grad()
def test_a_seen_candidate_uses_its_own_prototype_and_may_be_held_back():
    model, videos, *_ = fitted_model()
    labels = ["Swimming", "surfing"]
    inputs = tiny_processor("rest").prepare_labels(labels)
    bank = model.encode_labels(**inputs, labels=labels)
    torch.testing.assert_close(bank["prototypes"][0], model.seen_prototypes[1])
    assert bank["is_seen"].tolist() == [True, False]
    features = model.encode_videos(videos)
    before = score_any(model, features, bank)
    model.config.gzsl_offset = 0.1
    after = score_any(model, features, bank)
    torch.testing.assert_close(before - after, torch.tensor([2.0, 0]).expand(8, 2), atol=1e-5, rtol=1e-5)
    model.config.exact_match_uses_seen_prototype = False
    mixed = model.encode_labels(**inputs, labels=labels)
    assert not torch.allclose(mixed["prototypes"][0], model.seen_prototypes[1])


@torch.no_grad()
@pytest.mark.parametrize(
    "label", ["RidingABike", "riding_a_bike", "Riding-a-bike", "riding / a bike", " riding  a Bike"]
)
def test_a_seen_class_is_known_in_every_spelling_that_makes_its_prompt(label):
    """Else its offset and its own prototype are lost without a word."""
    model, *_ = fitted_model(gzsl_offset=0.2)
    model.config.seen_class_names = ["riding a bike", *model.config.seen_class_names[1:]]
    tokens = tiny_processor("rest").prepare_labels([label])
    bank = model.encode_labels(**tokens, labels=[label])
    assert bank["is_seen"].tolist() == [True]
    torch.testing.assert_close(bank["prototypes"][0], model.seen_prototypes[0])
    assert model.encode_labels(**tokens, labels=["riding a horse"])["is_seen"].tolist() == [False]


@torch.no_grad()
def test_classes_without_clips_take_no_part():
    model, *_ = fitted_model()
    model.seen_counts[2] = 0
    bank = model.encode_labels(**tiny_processor("rest").prepare_labels(["surfing"]))
    assert bank["transfer_weights"][0, 2] == 0
    assert bank["transfer_weights"].sum().item() == pytest.approx(1)


@torch.no_grad()
def test_without_prototypes_text_stands_in_or_an_error_says_so(caplog):
    model = tiny_model("rest")
    model.seen_counts.zero_()
    inputs = tiny_processor("rest").prepare_labels(["surfing"])
    bank = model.encode_labels(**inputs)
    torch.testing.assert_close(bank["prototypes"], bank["text_embeds"])
    transfer = tiny_model("rest", cross_modal=False)
    transfer.seen_counts.zero_()
    with pytest.raises(ValueError, match="no prototypes"):
        transfer.encode_labels(**inputs)


def test_prototypes_and_scores_survive_saving(tmp_path):
    model, videos, *_ = fitted_model()
    model.save_pretrained(tmp_path)
    loaded = ResTModel.from_pretrained(tmp_path)
    inputs = tiny_processor("rest").prepare_labels(list(LABELS))
    with torch.no_grad():
        first = model(videos, **inputs).logits_per_video
        torch.testing.assert_close(loaded(videos, **inputs).logits_per_video, first)
    assert loaded.config.seen_class_names == SEEN
    torch.testing.assert_close(loaded.seen_prototypes, model.seen_prototypes)


def test_wrong_numbers_of_classes_are_refused():
    model = tiny_model("rest")
    with pytest.raises(ValueError, match="one row per seen class"):
        model.set_prototypes(torch.zeros(6, 24), torch.zeros(6, 24), torch.ones(5), SEEN)
    with pytest.raises(ValueError, match="class head has 6 classes"):
        model.set_prototypes(torch.zeros(2, 24), torch.zeros(2, 24), torch.ones(2), SEEN[:2])
