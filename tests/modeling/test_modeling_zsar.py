"""The contract that every registered method keeps: three steps, banks as values, one forward made of them."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from hf_zsar import METHODS, LabelBank, VideoFeatures
from hf_zsar.modeling.modeling_zsar import fingerprint_of, gather_prompts, masked_mean, split_views
from tests.tiny_models import LABELS, tiny_inputs, tiny_model, tiny_processor, tiny_videos


@pytest.fixture(params=sorted(METHODS))
def method(request):
    return request.param


def text_inputs(method, labels=LABELS, **options):
    return dict(tiny_processor(method).prepare_labels(list(labels), **options))


@torch.no_grad()
def make_bank(model, method, labels=LABELS, **options):
    return model.encode_labels(**text_inputs(method, labels, **options), labels=list(labels))


@torch.no_grad()
def test_forward_is_the_three_steps(method):
    model, inputs = tiny_model(method), tiny_inputs(method)
    output = model(**inputs)
    features = model.encode_videos(inputs["pixel_values_videos"])
    bank = make_bank(model, method)
    logits = model.score(features, bank)
    torch.testing.assert_close(output.logits_per_video, logits)
    torch.testing.assert_close(output.logits_per_text, logits.t())
    torch.testing.assert_close(output.video_embeds, features.video_embeds)
    torch.testing.assert_close(output.text_embeds, bank["text_embeds"])
    assert logits.shape == (2, len(LABELS))
    assert logits.dtype == torch.float32
    assert output.loss is None


@torch.no_grad()
def test_a_ready_bank_replaces_the_tokens(method):
    model, inputs = tiny_model(method), tiny_inputs(method)
    expected = model(**inputs).logits_per_video
    output = model(inputs["pixel_values_videos"], label_bank=make_bank(model, method))
    torch.testing.assert_close(output.logits_per_video, expected)


@torch.no_grad()
def test_pooled_embeddings_are_unit_vectors(method):
    model = tiny_model(method)
    features = model.encode_videos(tiny_videos())
    bank = make_bank(model, method)
    for embeds in (features.video_embeds, bank["text_embeds"]):
        torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(len(embeds)))


@torch.no_grad()
def test_videos_do_not_interact(method):
    model, videos = tiny_model(method), tiny_videos(batch=3)
    bank = make_bank(model, method)
    together = model.score(model.encode_videos(videos), bank)
    alone = torch.cat([model.score(model.encode_videos(videos[i : i + 1]), bank) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_equal_views_score_as_one(method):
    model, videos = tiny_model(method), tiny_videos()
    bank = make_bank(model, method)
    one = model.score(model.encode_videos(videos), bank)
    three = model.score(model.encode_videos(videos[:, None].expand(-1, 3, -1, -1, -1, -1)), bank)
    torch.testing.assert_close(one.softmax(1), three.softmax(1), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_subset_and_order_of_labels_are_a_selection_of_the_bank(method):
    model = tiny_model(method)
    features = model.encode_videos(tiny_videos())
    bank = make_bank(model, method)
    picked = [LABELS[3], LABELS[0]]
    fresh = make_bank(model, method, picked)
    by_name, by_position = bank.select(picked), bank.select([3, 0])
    torch.testing.assert_close(model.score(features, by_name), model.score(features, fresh), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.score(features, by_name), model.score(features, by_position))
    assert by_name.labels == tuple(picked)
    with pytest.raises(KeyError, match="labels not in this bank: .'juggling'"):
        bank.select([picked[0], "juggling"])
    assert by_name.fingerprint not in ("", bank.fingerprint)


@torch.no_grad()
def test_loss_falls_along_its_gradient_and_reaches_the_video_side(method):
    model, inputs = tiny_model(method).train(), tiny_inputs(method)
    labels = torch.tensor([1, 3])
    with torch.enable_grad():
        loss = model(**inputs, labels=labels).loss
        loss.backward()
    assert loss.ndim == 0
    assert torch.isfinite(loss)
    gradients = [
        p.grad.norm()
        for n, p in model.named_parameters()
        if n.startswith(("backbone", "encoder")) and p.grad is not None
    ]
    assert sum(gradients) > 0


def test_labels_by_position_and_by_class_id_give_one_loss(method):
    model, inputs = tiny_model(method), tiny_inputs(method)
    ids = torch.tensor([70, 10, 30, 50, 20])
    torch.manual_seed(0)
    by_position = model(**inputs, labels=torch.tensor([1, 3])).loss
    torch.manual_seed(0)
    by_id = model(**inputs, labels=ids[[1, 3]], label_ids=ids).loss
    torch.testing.assert_close(by_position, by_id)


def test_errors_name_the_problem(method):
    model, inputs = tiny_model(method), tiny_inputs(method)
    with pytest.raises(ValueError, match="pixel_values_videos is missing"):
        model(input_ids=inputs["input_ids"])
    with pytest.raises(ValueError, match="label_bank"):
        model(pixel_values_videos=inputs["pixel_values_videos"])
    with pytest.raises(ValueError, match="match no candidate"):
        model(**inputs, labels=torch.tensor([0, 99]))
    with pytest.raises(ValueError, match="pass labels"):
        model(**inputs, return_loss=True)
    with pytest.raises(ValueError, match="expected \\[batch, frames"):
        model.encode_videos(torch.zeros(4, 3, 32, 32))


@torch.no_grad()
def test_fingerprint_follows_weights_and_prompts(method):
    first, again, other = tiny_model(method), tiny_model(method), tiny_model(method, seed=1)
    print_of = make_bank(first, method).fingerprint
    assert print_of == make_bank(again, method).fingerprint
    assert print_of != make_bank(other, method).fingerprint
    assert print_of != make_bank(first, method, templates=["{} in the park"]).fingerprint
    assert print_of != make_bank(first, method, LABELS[::-1]).fingerprint
    before = first.weights_fingerprint()
    next(first.parameters()).add_(1)
    assert first.weights_fingerprint() != before


def test_a_bank_in_training_has_no_fingerprint(method):
    bank = tiny_model(method).train().encode_labels(**text_inputs(method), labels=LABELS)
    if any(tensor.requires_grad for tensor in bank.tensors.values()):
        assert bank.fingerprint == ""


@torch.no_grad()
def test_bank_file_round_trip(method, tmp_path):
    bank = make_bank(tiny_model(method), method)
    bank.save(tmp_path / "bank.safetensors")
    loaded = LabelBank.load(tmp_path / "bank.safetensors")
    assert (loaded.labels, loaded.fingerprint, loaded.metadata) == (bank.labels, bank.fingerprint, bank.metadata)
    assert loaded.tensors.keys() == bank.tensors.keys()
    for name in bank.tensors:
        torch.testing.assert_close(loaded[name], bank[name], rtol=0, atol=0)
    assert [p.name for p in tmp_path.iterdir()] == ["bank.safetensors"]


@torch.no_grad()
def test_repeated_prompts_are_encoded_once(method):
    inputs = text_inputs(method, [*LABELS, *LABELS])
    assert inputs["input_ids"].shape[0] == text_inputs(method)["input_ids"].shape[0]
    model = tiny_model(method)
    logits = model.score(model.encode_videos(tiny_videos()), model.encode_labels(**inputs, labels=[*LABELS, *LABELS]))
    torch.testing.assert_close(logits[:, : len(LABELS)], logits[:, len(LABELS) :])


def test_feature_methods_as_in_clip(method):
    model, videos = tiny_model(method), tiny_videos()
    pooled = model.get_video_features(videos).pooler_output
    torch.testing.assert_close(pooled, model.encode_videos(videos).video_embeds)
    text = model.get_text_features(**text_inputs(method)).pooler_output
    assert text.shape[0] == len(LABELS)


def test_a_file_that_is_no_bank_is_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not a label bank"):
        LabelBank.load(tmp_path / "other.safetensors")


def test_bank_checks_its_shape_and_its_labels():
    with pytest.raises(ValueError, match="has 2 rows for 3 labels"):
        LabelBank(labels=("a", "b", "c"), tensors={"text_embeds": torch.zeros(2, 4)})
    bank = LabelBank(labels=("a", "b"), tensors={"text_embeds": torch.eye(2), "mask": torch.ones(2, dtype=torch.bool)})
    with pytest.raises(KeyError, match="'z'"):
        bank.select(["a", "z"])
    half = bank.to(torch.float16)
    assert (half["text_embeds"].dtype, half["mask"].dtype) == (torch.float16, torch.bool)


def test_video_features_join_and_split():
    features = VideoFeatures(video_embeds=torch.arange(6.0).view(3, 2), frame_embeds=torch.zeros(3, 1, 4, 2))
    parts = [features.select(i) for i in range(3)]
    assert parts[-1].video_embeds.tolist() == [[4.0, 5.0]]
    assert features.select(-1).video_embeds.tolist() == [[4.0, 5.0]]
    joined = VideoFeatures.cat(parts)
    torch.testing.assert_close(joined.video_embeds, features.video_embeds)
    assert joined.view_embeds is None
    assert features.to(torch.float16).frame_embeds.dtype == torch.float16


def test_helpers():
    assert split_views(torch.zeros(2, 3, 4, 3, 8, 8))[1:] == (2, 3)
    rows = torch.arange(1.0, 4)[:, None]
    spread, mask = gather_prompts(rows, torch.tensor([[0, 2], [1, -1]]))
    assert spread.squeeze(-1).tolist() == [[1, 3], [2, 0]]
    assert mask.tolist() == [[True, True], [True, False]]
    assert masked_mean(torch.tensor([[1.0, 9.0]]), torch.tensor([[True, False]]), 1).item() == 1
    assert fingerprint_of("a", "b") != fingerprint_of("ab")
    assert fingerprint_of(torch.zeros(2)) != fingerprint_of(torch.zeros(2, dtype=torch.float16))
    assert fingerprint_of(torch.zeros(2, 3)) != fingerprint_of(torch.zeros(3, 2))
