"""ActionCLIP: what its scores, losses and variants must be, whatever the weights."""

from __future__ import annotations

import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from hf_zsar import ActionCLIPConfig, LabelBank, VideoFeatures
from hf_zsar.modeling.modeling_actionclip import repeat_prompts, shift_channels
from hf_zsar.modeling.modeling_zsar import normalize
from tests.modeling.test_all_methods import SLOW
from tests.tiny_models import (
    LABELS,
    NUM_FRAMES,
    TINY,
    score_any,
    tiny_clip_tokenizer,
    tiny_inputs,
    tiny_model,
    tiny_processor,
    tiny_videos,
)


VARIANTS = {name: fields for name, fields in TINY["actionclip"].variants.items() if name not in SLOW}
variants = pytest.mark.parametrize("variant", VARIANTS)


def model_of(variant: str = "Transf", **overrides):
    return tiny_model("actionclip", **{**VARIANTS[variant], **overrides})


@pytest.fixture
def model():
    return model_of()


def bank_and_features(model, labels=LABELS, batch=3, views=2, **processor):
    inputs = tiny_inputs("actionclip", labels=labels, batch=batch, views=views, **processor)
    with torch.no_grad():
        features = model.encode_videos(inputs.pop("pixel_values_videos"))
        return model.encode_labels(**inputs, labels=labels), features


def close(a, b, atol=1e-5):
    return torch.allclose(a, b, atol=atol)


# -- features ---------------------------------------------------------------------------------------------------------


@variants
@torch.no_grad()
def test_features_of_every_variant(variant):
    model = model_of(variant)
    dim = model.backbone.dim
    features = model.encode_videos(tiny_videos(batch=3, views=2))
    assert features.view_embeds.shape == (3, 2, dim)
    if model.config.joint_space_time:
        assert features.frame_embeds is None
    else:
        assert features.frame_embeds.shape == (3, 2, NUM_FRAMES, dim)
    assert close(features.video_embeds.norm(dim=-1), torch.ones(3))
    assert close(features.video_embeds, normalize(normalize(features.view_embeds).mean(1)))
    # Views and videos do not see each other.
    alone = model.encode_videos(tiny_videos(batch=3, views=2)[1:2, 1])
    assert close(alone.view_embeds[0, 0], features.view_embeds[1, 1])


@torch.no_grad()
def test_mean_of_one_frame_repeated_is_the_image():
    model = model_of("meanP")
    frame = tiny_videos(batch=1)[:, :1]
    image = model.backbone.model.get_image_features(frame[:, 0]).pooler_output
    for count in (1, NUM_FRAMES):
        view = model.encode_videos(frame.expand(-1, count, -1, -1, -1)).view_embeds[:, 0]
        assert close(view, image)


# -- temporal shift ---------------------------------------------------------------------------------------------------


def test_shift_moves_two_folds_and_no_class_token():
    batch, frames, tokens, width, divisor = 2, 3, 5, 24, 8
    x = torch.randn(batch, frames, tokens, width)
    fold, zero = width // divisor, torch.zeros(batch, tokens - 1, width // divisor)
    shifted = shift_channels(x, divisor)
    assert torch.equal(shifted[:, :, 0], x[:, :, 0])
    assert torch.equal(shifted[..., 2 * fold :], x[..., 2 * fold :])
    patches, moved = x[:, :, 1:], shifted[:, :, 1:]
    for t in range(frames):
        after = patches[:, t + 1, :, :fold] if t + 1 < frames else zero
        before = patches[:, t - 1, :, fold : 2 * fold] if t else zero
        assert torch.equal(moved[:, t, :, :fold], after)
        assert torch.equal(moved[:, t, :, fold : 2 * fold], before)


@torch.no_grad()
def test_shift_reaches_as_many_frames_as_there_are_blocks():
    model = model_of("temporal_shift", sim_header="meanP")
    model.backbone.model.vision_model.encoder.layers = model.backbone.vision_layers[:1]
    videos = tiny_videos(batch=1, frames=6)
    changed = videos.clone()
    changed[:, 3] += 1
    difference = model.encode_videos(changed).frame_embeds - model.encode_videos(videos).frame_embeds
    assert (difference[0, 0].abs().amax(-1) > 1e-6).tolist() == [False, False, True, True, True, False]


@torch.no_grad()
def test_shift_by_no_channel_is_plain_clip():
    videos = tiny_videos()
    plain, shifted, none = (
        model_of("meanP", temporal_shift=flag, temporal_shift_div=divisor).encode_videos(videos).view_embeds
        for flag, divisor in ((False, 8), (True, 8), (True, 1000))
    )
    assert torch.equal(plain, none) and not close(plain, shifted, 1e-3)


@torch.no_grad()
def test_shift_of_one_frame_is_not_plain_clip():
    frame = tiny_videos(frames=1)
    plain, shifted = (model_of("meanP", temporal_shift=flag).encode_videos(frame) for flag in (False, True))
    assert not close(plain.view_embeds, shifted.view_embeds, 1e-3)


# -- joint space-time -------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_joint_space_time_is_one_sequence_of_all_patches():
    model, videos = model_of("joint_space_time"), tiny_videos()
    tower = model.backbone.model.vision_model
    embeddings = tower.embeddings(videos.flatten(0, 1)).view(2, NUM_FRAMES, 17, -1)
    sequence = [embeddings[:, 0, 0]]
    for patch in range(16):
        sequence += [embeddings[:, frame, 1 + patch] + model.time_embedding[frame] for frame in range(NUM_FRAMES)]
    hidden = tower.pre_layrnorm(torch.stack(sequence, dim=1))
    hidden = tower.encoder(hidden).last_hidden_state[:, 0]
    expected = model.backbone.model.visual_projection(tower.post_layernorm(hidden))
    assert close(model.encode_videos(videos).view_embeds[:, 0], expected)


@torch.no_grad()
def test_joint_space_time_knows_order_through_its_time_embedding_only():
    model, videos = model_of("joint_space_time"), tiny_videos()
    swapped = videos[:, [1, 0, 3, 2]]
    assert not close(model.encode_videos(videos).view_embeds, model.encode_videos(swapped).view_embeds, 1e-4)
    model.time_embedding.zero_()
    assert close(model.encode_videos(videos).view_embeds, model.encode_videos(swapped).view_embeds)


def test_time_embedding_starts_at_the_size_of_the_other_embeddings():
    weight = model_of("joint_space_time").time_embedding
    assert weight.std().item() == pytest.approx(weight.shape[1] ** -0.5, rel=0.2)
    with pytest.raises(ValueError, match="exactly 4 frames, got 3"):
        model_of("joint_space_time").encode_videos(tiny_videos(frames=3))


# -- scores -----------------------------------------------------------------------------------------------------------


class Cosines:
    """Features and a bank whose cosines are given: `[V, P, K]` for one video."""

    def __init__(self, cosines: torch.Tensor):
        views, templates, labels = cosines.shape
        # One axis per view carries its cosine with each prompt; one more per prompt makes it a unit vector.
        dim = views + templates * labels
        self.features = VideoFeatures(
            video_embeds=torch.eye(dim)[:1], view_embeds=torch.eye(dim)[None, :views], frame_embeds=None
        )
        prompts = torch.zeros(labels, templates, dim)
        for k in range(labels):
            for p in range(templates):
                prompts[k, p, :views] = cosines[:, p, k]
                rest = 1 - cosines[:, p, k].square().sum()
                prompts[k, p, views + k * templates + p] = rest.sqrt()
        self.bank = LabelBank(
            labels=tuple(map(str, range(labels))), tensors={"prompt_embeds": prompts, "text_embeds": prompts[:, 0]}
        )


def test_probabilities_are_averaged_not_logits():
    scores = torch.tensor([[1.0, 2, 3], [3, 1, 0]])
    expected = torch.tensor([0.4669, 0.1795, 0.3536])
    model = model_of(eval_logit_scale=100.0)
    templates, views = Cosines(scores[None] / 100), Cosines(scores[:, None] / 100)
    for case in (templates, views):
        logits = score_any(model, case.features, case.bank)[0]
        assert close(logits.exp(), expected, 1e-4) and close(logits.softmax(-1), expected, 1e-4)
    assert close(model.score_prompts(templates.features, templates.bank)[0, 0], scores, 1e-4)


def test_scores(model):
    bank, features = bank_and_features(model)
    probabilities = score_any(model, features, bank).softmax(-1)
    per_prompt = model.score_prompts(features, bank)
    assert per_prompt.shape == (3, 2, 16, len(LABELS)) and per_prompt.dtype == torch.float32
    assert close(probabilities, per_prompt.softmax(-1).mean((1, 2)))
    assert close(probabilities.sum(-1), torch.ones(3))
    # The learned scale has no say.
    with torch.no_grad():
        model.backbone.model.logit_scale.fill_(0)
    assert torch.equal(score_any(model, features, bank).softmax(-1), probabilities)


def test_scores_do_not_depend_on_the_order_of_labels_or_templates(model):
    bank, features = bank_and_features(model)
    logits = score_any(model, features, bank)
    order = [3, 0, 4, 1, 2]
    assert close(score_any(model, features, bank.select(order)), logits[:, order])

    def with_prompts(prompts):
        return LabelBank(bank.labels, {**bank.tensors, "prompt_embeds": prompts})

    prompts = bank["prompt_embeds"]
    assert close(score_any(model, features, with_prompts(prompts.flip(1))), logits)
    assert close(score_any(model, features, with_prompts(prompts.repeat(1, 2, 1))), logits)
    alone = with_prompts(prompts[:, :1])
    views = model.score_prompts(features, alone)[:, :, 0].softmax(-1)
    assert close(score_any(model, features, alone), views.mean(1).log())


def test_very_different_scores_stay_finite(model):
    cosines = torch.zeros(1, 1, 2)
    cosines[..., 0] = 0.99
    case = Cosines(cosines)
    model.config.eval_logit_scale = 1e4
    logits = score_any(model, case.features, case.bank)
    assert logits.isfinite().all() and logits[0, 1].item() == pytest.approx(-9900, rel=1e-3)


# -- texts ------------------------------------------------------------------------------------------------------------


def test_default_templates_are_the_official_ones():
    templates = tiny_processor("actionclip").prompt_templates
    assert len(templates) == len(set(templates)) == 16
    assert templates[0] == "a photo of action {}" and templates[7] == "{}" and templates[-1] == "The woman is {}"


@torch.no_grad()
def test_bank_holds_every_prompt_of_every_label(model):
    processor = tiny_processor("actionclip")
    bank = model.encode_labels(**processor.prepare_labels(list(LABELS)), labels=LABELS)
    assert bank.labels == LABELS and bank["prompt_embeds"].shape[:2] == (len(LABELS), 16)
    tokens = processor.tokenize([t.replace("{}", LABELS[2]) for t in processor.prompt_templates])
    pooled = model.backbone.model.text_model(input_ids=tokens["input_ids"]).pooler_output
    expected = normalize(model.backbone.model.text_projection(pooled))
    assert close(bank["prompt_embeds"][2], expected)
    assert close(bank["text_embeds"], normalize(bank["prompt_embeds"].mean(1)))


def test_labels_with_fewer_prompts_repeat_their_own():
    index = torch.tensor([[0, 1, 2, 3, 4], [5, 6, -1, -1, -1], [-1, 7, -1, -1, -1]])
    assert repeat_prompts(index).tolist() == [[0, 1, 2, 3, 4], [5, 6, 5, 6, 5], [7, 7, 7, 7, 7]]
    full = torch.tensor([[1, 0], [2, 2]])
    assert torch.equal(repeat_prompts(full), full)
    with pytest.raises(ValueError, match="1 labels have no prompt"):
        repeat_prompts(torch.tensor([[0], [-1]]))


@torch.no_grad()
def test_uneven_prompts_weigh_labels_equally(model):
    """A label with one prompt scores as if that prompt were given as often as the others have prompts."""
    tokens = tiny_processor("actionclip").tokenize(["surfing", "riding a bike", "a bike", "cooking"])
    _, features = bank_and_features(model)
    uneven, even = (
        model.encode_labels(**tokens, prompt_index=torch.tensor(index))
        for index in ([[0, -1, -1], [1, 2, 3]], [[0, 0, 0], [1, 2, 3]])
    )
    assert torch.equal(score_any(model, features, uneven), score_any(model, features, even))


def make_labels(count: int) -> list[str]:
    words = ["riding", "playing", "cooking", "walking", "surfing", "lower", "newer", "dog", "bike", "guitar", "video"]
    labels = [f"{a} the {b} of {c}" for a in words for b in words for c in ("dog", "x" * 9)]
    return labels[:count]


@torch.no_grad()
def test_bank_equals_the_official_path_over_the_full_context(model):
    """101 labels, 16 templates: every prompt padded with zeros to 77 tokens, no mask, a row per label and template."""
    processor = tiny_processor("actionclip")
    labels = make_labels(101)
    bank = model.encode_labels(**processor.prepare_labels(labels), labels=labels)
    sentences = [template.replace("{}", label) for template in processor.prompt_templates for label in labels]
    tokens = processor.tokenizer(sentences, padding="max_length", max_length=77, return_tensors="pt")
    ids = tokens["input_ids"] * tokens["attention_mask"]
    assert ids.shape == (16 * 101, 77)
    clip = model.backbone.model
    rows = [clip.text_projection(clip.text_model(input_ids=part).pooler_output) for part in ids.split(256)]
    official = normalize(torch.cat(rows)).view(16, 101, -1).transpose(0, 1)
    assert (bank["prompt_embeds"] - official).abs().max() < 1e-5


def test_prompts_are_encoded_once_however_often_they_occur(model):
    processor = tiny_processor("actionclip", prompt_templates=["{}", "a video of {}"])
    inputs = processor.prepare_labels(["surfing", "cooking", "surfing", "a video of surfing"])
    assert len(inputs["input_ids"]) == 5  # "a video of surfing" is a prompt of two labels
    with torch.no_grad():
        bank = model.encode_labels(**inputs)
    assert torch.equal(bank["prompt_embeds"][0], bank["prompt_embeds"][2])
    assert torch.equal(bank["prompt_embeds"][0, 1], bank["prompt_embeds"][3, 0])


# -- loss -------------------------------------------------------------------------------------------------------------


def training_batch(labels=(4, 1, 4)):
    """One sentence per video, of its own class."""
    tokens = tiny_processor("actionclip").tokenize([LABELS[label] for label in labels])
    return dict(pixel_values_videos=tiny_videos(batch=len(labels)), input_ids=tokens["input_ids"]), torch.tensor(
        labels
    )


def test_loss_by_hand(model):
    inputs, classes = training_batch()
    output = model(**inputs, labels=classes, label_ids=classes)
    scale = model.backbone.model.logit_scale.exp()
    logits = scale * output.video_embeds @ output.text_embeds.t()
    same = (classes[:, None] == classes).float()
    wanted = (10 * same).softmax(-1)

    def divergence(rows):
        return torch.nn.functional.kl_div(rows.log_softmax(-1), wanted, reduction="batchmean")

    expected = (divergence(logits) + divergence(logits.t())) / 2
    assert output.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    # Without class ids every sentence is right for its own video alone.
    own = model(**inputs, return_loss=True).loss
    assert own.item() == pytest.approx(model(**inputs, labels=torch.arange(3)).loss.item())
    assert abs(own.item() - output.loss.item()) > 1e-3
    assert model(**inputs, labels=classes, label_ids=classes, return_loss=False).loss is None


def test_loss_among_distinct_candidates(model):
    inputs = tiny_inputs("actionclip", batch=3)
    loss = model(**inputs, labels=torch.tensor([2, 0, 2])).loss
    loss.backward()
    assert loss.item() > 0 and model.backbone.model.logit_scale.grad.abs() > 0
    with pytest.raises(ValueError, match="1 of 3 labels match no candidate"):
        model(**inputs, labels=torch.tensor([2, 0, len(LABELS)]))
    with pytest.raises(ValueError, match="pass labels"):
        model(**inputs, return_loss=True)


def test_settings_of_the_loss():
    inputs, classes = training_batch()
    losses = {}
    for settings in ({}, {"loss_type": "ce"}, {"label_temperature": 2.0}):
        model = model_of(**settings)
        losses[str(settings)] = model(**inputs, labels=classes, label_ids=classes).loss.item()
    assert len({round(loss, 4) for loss in losses.values()}) == 3


@variants
def test_every_weight_gets_a_gradient(variant):
    model = model_of(variant).train()
    inputs, classes = training_batch()
    model(**inputs, labels=classes, label_ids=classes).loss.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []


# -- stochastic depth -------------------------------------------------------------------------------------------------


def test_stochastic_depth_is_training_only_and_grows_with_depth():
    plain, deep = model_of(), model_of(drop_path_rate=0.5)
    assert plain.state_dict().keys() == deep.state_dict().keys()
    videos = tiny_videos()
    with torch.no_grad():
        assert torch.equal(plain.encode_videos(videos).view_embeds, deep.encode_videos(videos).view_embeds)
        deep.train()
        torch.manual_seed(0)
        runs = [deep.encode_videos(videos).view_embeds for _ in range(2)]
        assert not close(*runs, 1e-3)
        plain.train()
        assert torch.equal(plain.encode_videos(videos).view_embeds, plain.encode_videos(videos).view_embeds)
    for layers in (deep.backbone.vision_layers, deep.backbone.text_layers):
        assert [layer.self_attn.dropout for layer in layers] == [0.0, 0.5]


def test_stochastic_depth_keeps_the_mean():
    from hf_zsar.modeling.stochastic_depth import drop_path

    torch.manual_seed(0)
    branch = drop_path(torch.ones(4000, 2, 3), 0.25)
    kept = branch[:, 0, 0]
    assert torch.equal(kept.unique(), torch.tensor([0, 1 / 0.75]))
    assert torch.equal(branch, kept[:, None, None].expand_as(branch))  # whole samples
    assert kept.mean().item() == pytest.approx(1, abs=0.03)


def test_stochastic_depth_of_a_clip_that_is_started_from():
    from tests.modeling.test_dual_encoder import tiny_clip

    model = type(model_of()).from_encoder(tiny_clip(), drop_path_rate=0.5)
    assert [layer.self_attn.dropout for layer in model.backbone.vision_layers] == [0.0, 0.5]


# -- configuration ----------------------------------------------------------------------------------------------------


def test_names_of_the_paper_are_understood():
    names = {"seqTransf": "Transf", "seqLSTM": "LSTM", "seqTransf_cls": "Transf_cls", "conv_1D": "Conv_1D"}
    for alias, header in names.items():
        assert ActionCLIPConfig(sim_header=alias).sim_header == header


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(sim_header="mean"), "sim_header must be one of"),
        (dict(num_frames=0), "num_frames must be at least 1"),
        (dict(num_frames=80), "exceeds max_frame_positions=77"),
        (dict(temporal_shift_div=1), "temporal_shift_div must be at least 2"),
        (dict(drop_path_rate=1.0), "drop_path_rate must lie in"),
        (dict(joint_space_time=True), "needs sim_header='meanP'"),
        (dict(joint_space_time=True, sim_header="meanP", temporal_shift=True), "no temporal_shift"),
        (dict(loss_type="mse"), "loss_type"),
        (dict(temporal_layers="six"), "temporal_layers"),
    ],
)
def test_configurations_that_make_no_sense(fields, message):
    # Sizes are held to their limits before the checks of the class, by a plain ValueError.
    with pytest.raises((StrictDataclassError, ValueError), match=message):
        ActionCLIPConfig(**fields)


def test_long_clips_are_refused_with_a_way_out(model):
    with pytest.raises(ValueError, match="sample at most 8 frames per view, or split the clip into several views"):
        model.encode_videos(tiny_videos(frames=9))


def test_logits_are_log_probabilities(model):
    with torch.no_grad():
        output = model(**tiny_inputs("actionclip"))
    assert close(output.logits_per_video.exp().sum(-1), torch.ones(2))
    assert torch.equal(output.logits_per_text, output.logits_per_video.t())
    assert math.isclose(len(tiny_clip_tokenizer()), model.config.backbone_config.text_config.vocab_size)
