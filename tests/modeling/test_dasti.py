"""What must hold of DA-STI by its definition, its processor, its loss and its saliency."""

from __future__ import annotations

import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError

from hf_zsar.conversion.bike import BIKE_TEXT
from hf_zsar.modeling.configuration_dasti import DASTIConfig
from hf_zsar.modeling.losses import contrastive_losses
from hf_zsar.modeling.modeling_dasti import NO_WORD, gather_words
from hf_zsar.modeling.modeling_zsar import LabelBank, VideoFeatures, normalize
from hf_zsar.modeling.spatio_temporal_interaction import (
    gate_frames,
    patch_saliency,
    pool_frames,
    temporal_saliency,
    word_attention,
)
from hf_zsar.processing.label_losses import LabelWarning
from tests.tiny_models import (
    TINY,
    parameters_of,
    score_any,
    tiny_clip_tokenizer,
    tiny_inputs,
    tiny_model,
    tiny_processor,
    tiny_videos,
)


FUSIONS = ("mul", "residual", "softmax", "add", "none")
B, K, L, T, N, D = 2, 3, 5, 4, 6, 8


def unit(*shape, seed=0):
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


@pytest.fixture
def parts():
    """Frames, patches, words and the mask of words, the last word of class 1 missing."""
    mask = torch.ones(K, L, dtype=torch.bool)
    mask[1, -1] = False
    return unit(B, T, D), unit(B, T, N, D, seed=1), unit(K, L, D, seed=2), mask


def bank_of(words, mask, classes=None, attributes=None):
    groups = torch.where(mask, torch.arange(mask.shape[1]).expand_as(mask), NO_WORD)
    tensors = {
        "text_embeds": unit(len(words), D, seed=3) if classes is None else classes,
        "attribute_embeds": unit(len(words), D, seed=4) if attributes is None else attributes,
        "word_embeds": words,
        "word_groups": groups,
        "word_ids": groups,
    }
    return LabelBank(tuple(map(str, range(len(words)))), tensors)


def features_of(frames, patches):
    return VideoFeatures(video_embeds=frames.mean(1), frame_embeds=frames[:, None], patch_embeds=patches[:, None])


def model_of(**fields):
    """Only the module's own arithmetic is used, which has no parameters but the scale."""
    return tiny_model("dasti", **fields)


def scores(parts, classes=None, attributes=None, **fields):
    frames, patches, words, mask = parts
    model = model_of(**fields)
    with torch.no_grad():
        return model.compute_scores(features_of(frames, patches), bank_of(words, mask, classes, attributes))


def test_hand_vector():
    frames = torch.tensor([[[1.0, 0], [0, 1]]])
    patches = torch.tensor([[[[1.0, 0], [0.6, 0.8]], [[0, 1], [-1, 0]]]])
    words, mask = torch.tensor([[[1.0, 0], [0, 1], [0.6, 0.8]]]), torch.tensor([[True, False, True]])
    temporal = temporal_saliency(words, mask, frames, 0.5)
    spatial = patch_saliency(words, mask, patches).amax(-1)
    gate = gate_frames(temporal, spatial, "mul", 1e-6, 0.5)
    assert temporal.flatten().tolist() == pytest.approx([0.641055, 0.358945], abs=1e-6)
    assert spatial.flatten().tolist() == pytest.approx([1.0, 0.8])
    assert pool_frames(gate, frames, False).flatten().tolist() == pytest.approx([0.641055, 0.287156], abs=1e-6)
    result = scores(
        (frames, patches, words, mask),
        classes=torch.tensor([[1.0, 0]]),
        attributes=torch.tensor([[0, 1.0]]),
        saliency_temperature=0.5,
    )
    assert result["class_scores"].item() == pytest.approx(0.912622, abs=1e-6)
    assert result["attribute_scores"].item() == pytest.approx(0.408803, abs=1e-6)
    scale = model_of().backbone.model.logit_scale.exp().item()
    assert result["logits_per_video"].item() / scale == pytest.approx(0.761476, abs=1e-6)


def test_temporal_saliency_is_a_distribution_over_time(parts):
    frames, _, words, mask = parts
    saliency = temporal_saliency(words, mask, frames, 0.01)
    assert (saliency >= 0).all()
    torch.testing.assert_close(saliency.sum(-1), torch.ones(B, K))
    still = frames[:, :1].expand(-1, T, -1)
    torch.testing.assert_close(temporal_saliency(words, mask, still, 0.01), torch.full((B, K, T), 1 / T))
    torch.testing.assert_close(temporal_saliency(words, mask, frames, 1e6), torch.full((B, K, T), 1 / T))


def test_a_cold_single_word_picks_its_frame(parts):
    frames, _, words, _ = parts
    mask = torch.zeros(K, L, dtype=torch.bool)
    mask[:, 2] = True
    best = torch.einsum("kd,btd->bkt", words[:, 2], frames).argmax(-1)
    saliency = temporal_saliency(words, mask, frames, 1e-5)
    torch.testing.assert_close(saliency, torch.nn.functional.one_hot(best, T).float())


def test_one_frame_leaves_the_class_branch_alone(parts):
    frames, patches, words, mask = parts
    classes = unit(K, D, seed=3)
    result = scores((frames[:, :1], patches[:, :1], words, mask), classes)
    torch.testing.assert_close(result["class_scores"], frames[:, 0] @ classes.t())


@pytest.mark.parametrize("fusion", FUSIONS)
def test_order_and_padding_of_words_do_not_matter(parts, fusion):
    frames, patches, words, mask = parts
    expected = scores(parts, spatial_fusion=fusion)["logits_per_video"]
    order = torch.randperm(L)
    shuffled = scores((frames, patches, words[:, order], mask[:, order]), spatial_fusion=fusion)
    torch.testing.assert_close(shuffled["logits_per_video"], expected, atol=1e-4, rtol=1e-4)
    more = torch.cat([words, unit(K, 2, D, seed=9)], 1), torch.cat([mask, torch.zeros(K, 2, dtype=torch.bool)], 1)
    padded = scores((frames, patches, *more), spatial_fusion=fusion)["logits_per_video"]
    torch.testing.assert_close(padded, expected, atol=1e-4, rtol=1e-4)
    twice = torch.cat([words, words], 1), torch.cat([mask, mask], 1)
    doubled = scores((frames, patches, *twice), spatial_fusion=fusion)["logits_per_video"]
    torch.testing.assert_close(doubled, expected, atol=1e-4, rtol=1e-4)


def test_one_word_twice_changes_time_but_not_space(parts):
    frames, patches, words, mask = parts
    more = torch.cat([words, words[:, :1]], 1), torch.cat([mask, mask[:, :1]], 1)
    before, after = scores(parts), scores((frames, patches, *more))
    torch.testing.assert_close(before["spatial_saliency"], after["spatial_saliency"])
    assert not torch.allclose(before["temporal_saliency"], after["temporal_saliency"], atol=1e-4)


def test_order_of_patches_and_frames(parts):
    frames, patches, words, mask = parts
    expected = scores(parts)
    by_patch = scores((frames, patches[:, :, torch.randperm(N)], words, mask))
    torch.testing.assert_close(by_patch["logits_per_video"], expected["logits_per_video"])
    order = torch.randperm(T)
    by_frame = scores((frames[:, order], patches[:, order], words, mask))
    torch.testing.assert_close(by_frame["logits_per_video"], expected["logits_per_video"], atol=1e-4, rtol=1e-4)
    for name in ("temporal_saliency", "spatial_saliency"):
        torch.testing.assert_close(by_frame[name], expected[name][..., order])


@torch.no_grad()
def test_input_frames_have_positions():
    model, videos = tiny_model("dasti"), tiny_videos()
    with torch.no_grad():
        model.temporal_transformer.position_embedding.weight.normal_()
    first = model.encode_videos(videos).frame_embeds
    back = model.encode_videos(videos.flip(1)).frame_embeds.flip(2)
    assert not torch.allclose(first, back, atol=1e-3)


def test_spatial_saliency_grows_with_words_and_patches_and_is_a_cosine(parts):
    _, patches, words, mask = parts
    full = patch_saliency(words, mask, patches).amax(-1)
    assert (full.abs() <= 1 + 1e-6).all()
    fewer = mask.clone()
    fewer[:, 0] = False
    assert (patch_saliency(words, fewer, patches).amax(-1) <= full + 1e-7).all()
    assert (patch_saliency(words, mask, patches[:, :, :-1]).amax(-1) <= full + 1e-7).all()
    words = words.clone()
    words[0, 0] = patches[0, 0, 0]
    assert patch_saliency(words, mask, patches).amax(-1)[0, 0, 0].item() == pytest.approx(1)


def test_scale_of_the_vectors_does_not_matter(parts):
    frames, patches, words, mask = parts
    expected = scores(parts)["logits_per_video"]
    grown = scores((3 * frames, 0.2 * patches, words, mask))["logits_per_video"]
    torch.testing.assert_close(grown, expected, atol=1e-4, rtol=1e-4)


def test_gates():
    temporal, spatial = unit(B, K, T).abs(), torch.full((B, K, T), 0.3)
    constant = pool_frames(gate_frames(temporal, spatial, "mul", 1e-6, 0.01), unit(B, T, D), True)
    plain = pool_frames(gate_frames(temporal, spatial, "none", 1e-6, 0.01), unit(B, T, D), True)
    torch.testing.assert_close(constant, plain)
    torch.testing.assert_close(gate_frames(temporal, spatial, "residual", 0, 1), 1.3 * temporal)
    torch.testing.assert_close(gate_frames(temporal, spatial, "softmax", 0, 1), temporal)
    torch.testing.assert_close(gate_frames(temporal, spatial, "add", 0, 1), (temporal + 1 / T) / 2)
    torch.testing.assert_close(gate_frames(temporal, -spatial, "mul", 1e-6, 1), 1e-6 * temporal)
    with pytest.raises(ValueError, match="unknown"):
        gate_frames(temporal, spatial, "other", 0, 1)


def test_without_interactions_it_is_the_mean_of_unit_frames(parts):
    frames = parts[0]
    classes = unit(K, D, seed=3)
    result = scores(parts, classes, use_temporal_interaction=False, spatial_fusion="none", class_score_weight=1.0)
    scale = model_of().backbone.model.logit_scale.exp()
    torch.testing.assert_close(result["logits_per_video"], scale * normalize(frames.mean(1)) @ classes.t())


def test_classes_are_scored_alone(parts):
    frames, patches, words, mask = parts
    model = model_of()
    features, bank = features_of(frames, patches), bank_of(words, mask)
    with torch.no_grad():
        full = score_any(model, features, bank)
        torch.testing.assert_close(score_any(model, features, bank.select([2, 0])), full[:, [2, 0]])
        chunked = score_any(model_of(class_chunk_size=1), features, bank)
        torch.testing.assert_close(chunked, full)
        same = bank.select([1, 1])
        torch.testing.assert_close(*score_any(model, features, same).unbind(1))


def test_mixture_of_the_branches(parts):
    classes = unit(K, D, seed=3)
    by_weight = [scores(parts, classes, classes, class_score_weight=w)["logits_per_video"] for w in (0.0, 0.4, 1.0)]
    torch.testing.assert_close(by_weight[0], by_weight[2])
    torch.testing.assert_close(by_weight[1], by_weight[2])
    apart = [scores(parts, class_score_weight=w) for w in (0.0, 1.0)]
    scale = model_of().backbone.model.logit_scale.exp()
    torch.testing.assert_close(apart[0]["logits_per_video"], scale * apart[0]["attribute_scores"])
    torch.testing.assert_close(apart[1]["logits_per_video"], scale * apart[1]["class_scores"])


def test_zeroed_blocks_double_the_frames():
    model, videos = tiny_model("dasti", use_spatial_interaction=False), tiny_videos()
    with torch.no_grad():
        for layer in model.temporal_transformer.layers:
            for linear in (layer.self_attn.out_proj, layer.mlp.fc2):
                linear.weight.zero_()
                linear.bias.zero_()
        model.temporal_transformer.position_embedding.weight.zero_()
        frames, _ = model.backbone.encode_frames(videos.flatten(0, 1))
        expected = 2 * frames.view(2, 1, -1, frames.shape[-1])
        torch.testing.assert_close(model.encode_videos(videos).frame_embeds, expected)


def test_identity_projections_change_nothing_at_first():
    inputs = tiny_inputs("dasti")
    plain, linear = tiny_model("dasti"), tiny_model("dasti", patch_projection="linear")
    linear.load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():
        torch.testing.assert_close(plain(**inputs).logits_per_video, linear(**inputs).logits_per_video)


def test_loss_is_symmetric_and_its_divergences_differ_by_a_constant():
    matrix = torch.tensor([[2.0, 0, 1], [0, 3, 0], [1, 0, 2]], requires_grad=True)
    classes = torch.tensor([0, 1, 0])
    targets = classes[:, None] == classes
    expected = {("ce", "soft"): 0.636825, ("ce", "multi_hot"): 0.636712, ("kl", "soft"): 0.174228}
    gradients = {}
    for (divergence, kind), value in {**expected, ("kl", "multi_hot"): 0.174613}.items():
        loss = sum(contrastive_losses(matrix, targets, divergence, target_kind=kind)) / 2
        assert loss.item() == pytest.approx(value, abs=1e-6)
        back = sum(contrastive_losses(matrix.t(), targets.t(), divergence, target_kind=kind)) / 2
        torch.testing.assert_close(loss, back)
        gradients[divergence, kind] = torch.autograd.grad(loss, matrix)[0]
    torch.testing.assert_close(gradients["ce", "soft"], gradients["kl", "soft"])
    alone = torch.ones(1, 1, dtype=torch.bool)
    assert sum(contrastive_losses(matrix[:1, :1], alone, "ce")).item() == 0


def test_loss_options_of_the_model():
    inputs, labels = tiny_inputs("dasti"), torch.tensor([1, 3])

    def loss(**fields):
        return model_of(**fields)(**inputs, labels=labels).loss.item()

    both = loss(loss_target="multi_hot")
    classes_only = loss(loss_target="multi_hot", attribute_loss_weight=0.0)
    assert both > classes_only
    model = model_of()
    with torch.no_grad():
        parts = model(**inputs)
    scale = model.backbone.model.logit_scale.exp().item()
    expected = torch.nn.functional.cross_entropy(scale * parts.class_scores, labels).item()
    one_way = loss(loss_mode="all_classes", loss_target="multi_hot", attribute_loss_weight=0.0)
    assert one_way == pytest.approx(expected, rel=1e-5)


def test_frozen_text_has_no_gradient_but_the_scale_has(tmp_path):
    model = model_of(freeze_text=True)
    model.save_pretrained(tmp_path)
    for fresh in (model, type(model).from_pretrained(tmp_path)):
        fresh(**tiny_inputs("dasti"), labels=torch.tensor([1, 3])).loss.backward()
        assert not any(p.requires_grad or p.grad is not None for p in parameters_of(fresh, "text"))
        assert fresh.backbone.model.logit_scale.grad is not None


def test_config_refuses_what_cannot_be():
    with pytest.raises(StrictDataclassClassValidationError, match="between 0 and 1"):
        DASTIConfig(class_score_weight=1.5)
    with pytest.raises(StrictDataclassClassValidationError, match="positive"):
        DASTIConfig(saliency_temperature=0.0)


# -- the processor ---------------------------------------------------------------------------------------------------

ATTRIBUTES = {"riding a bike": ["wheel", "open road", "helmet"], "cooking": ["pan"]}


def groups_as_text(processor, inputs, row):
    return dict(processor.word_names(inputs["input_ids"][row].tolist(), inputs["word_groups"][row].tolist()))


@pytest.mark.parametrize("encoding", ["sentence", "per_attribute"])
def test_words_are_the_attributes(encoding):
    processor = tiny_processor("dasti", descriptions=ATTRIBUTES, attribute_encoding=encoding)
    inputs = processor.prepare_labels(["riding a bike", "cooking"])
    rows = [row for row in inputs["attribute_index"][0].tolist() if row >= 0]
    found = [name for row in rows for name in groups_as_text(processor, inputs, row).values()]
    assert found == ATTRIBUTES["riding a bike"]
    assert len(rows) == (1 if encoding == "sentence" else 3)
    assert groups_as_text(processor, inputs, inputs["prompt_index"][1, 0]) == {0: "cooking"}


def test_missing_attributes_fall_back_to_the_class_prompt_or_raise(caplog):
    processor = tiny_processor("dasti", descriptions=ATTRIBUTES)
    inputs = processor.prepare_labels(["cooking", "surfing"])
    assert inputs["attribute_index"][1, 0] == inputs["prompt_index"][1, 0]
    assert inputs["attribute_index"][0, 0] != inputs["prompt_index"][0, 0]
    assert "1 of 2 labels have no attributes" in caplog.text
    caplog.clear()
    processor.prepare_labels(["surfing"])
    assert not caplog.text
    strict = tiny_processor("dasti", descriptions=ATTRIBUTES, on_missing="error")
    with pytest.raises(ValueError, match="surfing"):
        strict.prepare_labels(["cooking", "surfing"])


def test_number_of_attributes_is_limited():
    processor = tiny_processor("dasti", descriptions=ATTRIBUTES, num_attributes=2)
    inputs = processor.prepare_labels(["riding a bike"])
    assert list(groups_as_text(processor, inputs, inputs["attribute_index"][0, 0]).values()) == ["wheel", "open road"]


def test_whole_attributes_are_dropped_when_the_row_is_full():
    long = [f"{letter * 14} {letter * 9}" for letter in "abcdefgh"]
    processor = tiny_processor("dasti", descriptions={"cooking": long})
    with pytest.warns(LabelWarning, match=r"not all attributes fit into 77 tokens: 'cooking' \(2 of 8\)"):
        inputs = processor.prepare_labels(["cooking"])
    kept = list(groups_as_text(processor, inputs, inputs["attribute_index"][0, 0]).values())
    assert 0 < len(kept) < 8
    assert kept == long[: len(kept)]
    assert (inputs["input_ids"] == tiny_clip_tokenizer().eos_token_id).any(1).all()


def test_one_endless_attribute_is_cut_but_the_end_stays():
    processor = tiny_processor("dasti", descriptions={"cooking": ["x" * 200]})
    with pytest.warns(LabelWarning, match="cut off at the 77 tokens that it reads: 'cooking'"):
        inputs = processor.prepare_labels(["cooking"])
    assert inputs["input_ids"].shape[1] == 77
    assert inputs["input_ids"][inputs["attribute_index"][0, 0], -1] == tiny_clip_tokenizer().eos_token_id


@pytest.mark.parametrize("mode", ["words", "valid", "all"])
def test_word_mask_modes(mode):
    processor = tiny_processor("dasti", descriptions=ATTRIBUTES, word_mask_mode=mode)
    inputs = processor.prepare_labels(["riding a bike", "cooking"])
    kept, length = (inputs["word_groups"] != NO_WORD).sum(1), inputs["attention_mask"].sum(1)
    if mode == "words":
        assert (kept < length).all()
    else:
        assert kept.tolist() == (length.tolist() if mode == "valid" else [77] * len(kept))


def test_all_positions_need_a_limit_of_the_text():
    processor = tiny_processor("dasti", word_mask_mode="all")
    processor.tokenizer.model_max_length = 10**30  # as of a tokenizer without one
    with pytest.raises(ValueError, match="set max_text_length"):
        processor.prepare_labels(["cooking"])


def test_bike_preset_pads_with_zeros_and_takes_all_positions():
    processor = tiny_processor("dasti", descriptions=None, **BIKE_TEXT)
    inputs = processor.prepare_labels(["ApplyEyeMakeup"])
    assert inputs["input_ids"].shape == (1, 77)
    assert (inputs["input_ids"][inputs["attention_mask"] == 0] == 0).all()
    assert (inputs["word_groups"] != NO_WORD).all()
    assert torch.equal(inputs["word_index"], inputs["prompt_index"])
    assert processor.word_names(inputs["input_ids"][0], inputs["word_groups"][0]) == [(0, "applyeyemakeup")]


def test_attribute_order_matters_only_in_a_sentence():
    labels, orders = ["cooking"], (["pan", "stove", "spoon"], ["spoon", "pan", "stove"])
    model, features = model_of(), None
    for encoding, same in (("sentence", False), ("per_attribute", True)):
        logits = []
        for order in orders:
            processor = tiny_processor("dasti", descriptions={"cooking": order}, attribute_encoding=encoding)
            with torch.no_grad():
                features = features or model.encode_videos(tiny_videos())
                logits.append(score_any(model, features, model.encode_labels(**processor.prepare_labels(labels))))
        assert torch.allclose(*logits, atol=1e-4) is same


def test_bad_options_of_the_processor():
    for options in ({"attribute_encoding": "x"}, {"word_mask_mode": "x"}, {"word_source": "x"}, {"on_missing": "x"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            tiny_processor("dasti", **options)


def test_gather_words_joins_rows_and_counts_groups_on():
    tokens = torch.arange(12.0).view(2, 6, 1)
    groups = torch.tensor([[-1, 0, 0, -1, 1, -1], [-1, -1, 0, -2, -1, -1]])
    words, ids, flat = gather_words(tokens, torch.arange(12).view(2, 6), groups, torch.tensor([[0, 1], [1, -1]]))
    assert ids[0].tolist() == [1, 2, 4, 8, 9]
    assert flat.tolist() == [[0, 0, 1, 2, -2], [0, -2, -1, -1, -1]]
    assert words[1, :, 0].tolist() == [8, 9, 0, 0, 0]


# -- saliency --------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("spatial", [True, False])
def test_why_a_label_got_its_score(spatial):
    model, inputs = tiny_model("dasti", use_spatial_interaction=spatial), tiny_inputs("dasti", views=2)
    videos = inputs.pop("pixel_values_videos")
    features, bank = model.encode_videos(videos), model.encode_labels(**inputs)
    why = model.explain(features, bank)
    assert set(why) == {"frames", "words"} | ({"patches"} if spatial else set()) <= set(model.explains)
    torch.testing.assert_close(why.frames.sum(-1), torch.ones(2, len(bank)))
    if spatial:
        grid = model.config.backbone_config.vision_config
        assert why.patches.shape == (2, len(bank), 4, (grid.image_size // grid.patch_size) ** 2)
        best = why.patches.amax(-1)
        assert (best <= model.compute_scores(features, bank)["spatial_saliency"].mean(1) + 1e-6).all()


@torch.no_grad()
def test_relevance_of_an_attribute_is_the_mean_of_its_tokens():
    """Neither of the largest nor of the smallest of them; where a label has fewer attributes, 0."""
    words, groups = unit(2, 5, 64), torch.tensor([[0, 0, 0, 2, -1], [0, -1, -2, -1, -1]])
    bank = bank_of(words, groups != NO_WORD, unit(2, 64), unit(2, 64))
    bank = LabelBank(bank.labels, {**bank.tensors, "word_groups": groups})
    model = model_of()
    features = model.encode_videos(tiny_videos(batch=2))
    frames = normalize(features.frame_embeds[:, 0])
    found = model.explain(features, bank.admitted_by(model)).words
    attention = word_attention(words, frames, model.config.saliency_temperature)
    tokens = (attention * torch.einsum("kld,btd->bklt", words, frames)).sum(-1)
    expected = torch.stack([tokens[:, 0, :3].mean(-1), torch.zeros(2), tokens[:, 0, 3]], dim=-1)
    torch.testing.assert_close(found[:, 0], expected)
    torch.testing.assert_close(found[:, 1], torch.nn.functional.pad(tokens[:, 1, :1], (0, 2)))


@torch.no_grad()
def test_patches_are_compared_with_words_once(monkeypatch):
    from hf_zsar.modeling import modeling_dasti

    calls = []
    monkeypatch.setattr(modeling_dasti, "patch_saliency", lambda *args: calls.append(1) or patch_saliency(*args))
    model, inputs = model_of(), tiny_inputs("dasti")
    features = model.encode_videos(inputs.pop("pixel_values_videos"))
    model.explain(features, model.encode_labels(**inputs))
    assert len(calls) == 1


def test_a_text_tower_that_was_unfrozen_stays_so(tmp_path):
    model = model_of(freeze_text=True)
    model.backbone.model.text_model.requires_grad_(True)
    model.train()
    assert all(parameter.requires_grad for parameter in model.backbone.model.text_model.parameters())
    assert not any(parameter.requires_grad for parameter in model.backbone.model.text_projection.parameters())
    clip = model_of(freeze_text=False).backbone.model
    started = type(model).from_encoder(clip, temporal_num_layers=1)
    assert not any(parameter.requires_grad for parameter in parameters_of(started, "text"))


def test_attention_of_words_prefers_the_frames_they_match(parts):
    frames, _, words, _ = parts
    attention = word_attention(words, frames, 0.01)
    similarity = torch.einsum("kld,btd->bklt", words, frames)
    assert torch.equal(attention.argmax(-1), similarity.argmax(-1))


@torch.no_grad()
def test_memory_of_the_similarities_is_bounded(monkeypatch):
    """Patch-word similarities never exceed the limit, whatever the number of classes."""
    from hf_zsar.modeling import modeling_dasti

    largest = []

    def watch(words, mask, patches):
        largest.append(patches[..., 0].numel() * mask.numel())
        return patch_saliency(words, mask, patches)

    monkeypatch.setattr(modeling_dasti, "patch_saliency", watch)
    monkeypatch.setattr(modeling_dasti, "MAX_SIMILARITIES", 4000)
    model = model_of()
    features = model.encode_videos(tiny_videos(batch=1))
    words = unit(60, L, 64)
    bank = bank_of(words, torch.ones(60, L, dtype=torch.bool), unit(60, 64), unit(60, 64))
    assert score_any(model, features, bank).shape == (1, 60)
    assert len(largest) > 1
    assert max(largest) <= 4000


def test_every_variant_is_built():
    assert {"residual", "softmax", "add", "none"} <= TINY["dasti"].variants.keys()
    assert math.isfinite(model_of().backbone.model.logit_scale.item())


def test_the_share_of_a_single_label_is_no_score():
    model, inputs = tiny_model("dasti", bike_compat=True), tiny_inputs("dasti")
    with torch.no_grad():
        features = model.encode_videos(inputs.pop("pixel_values_videos"))
        bank = model.encode_labels(**inputs)
        alone = torch.cat([model.score(features, bank.select([row])) for row in range(len(bank))], dim=1)
    assert len(alone.unique()) == alone.numel()
