"""Labeled examples of a label set: what they add to the scores of every method, without training."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from hf_zsar import METHODS, LabelBank
from hf_zsar.modeling.examples import (
    APART,
    FIXED,
    FIXED_RIDGE,
    RIDGES,
    SHARPEST,
    SHARPNESSES,
    Examples,
    Term,
    kernel,
)
from hf_zsar.modeling.examples import METHODS as TERMS
from tests.tiny_models import tiny_model, tiny_processor, tiny_videos


LABELS = ["riding a bike", "cooking", "surfing", "reading a book"]


def spread(count: int, seed: int = 0, dim: int = 16) -> torch.Tensor:
    return F.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=-1)


def bank_of(labels: list[str] = LABELS, seed: int = 1) -> LabelBank:
    return LabelBank(tuple(labels), {"text_embeds": spread(len(labels), seed)}, fingerprint="made here")


def clusters(labels: int, each: int, noise: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Points around one center a label: `[labels * each, 16]`, and their labels."""
    targets = torch.arange(labels).repeat_interleave(each)
    return F.normalize(spread(labels, 100)[targets] + noise * spread(len(targets), seed), dim=-1), targets


def scores(bank: LabelBank, videos: torch.Tensor) -> torch.Tensor:
    """As a model that scores with 100 x cosine."""
    logits = 100 * videos @ bank.without_examples["text_embeds"].T
    return bank.examples.add_to(logits, videos) if bank.examples else logits


@pytest.fixture(scope="module", params=METHODS)
def case(request):
    """A tiny model, features of four videos, and a bank."""
    model = tiny_model(request.param).eval()
    with torch.no_grad():
        features = model.encode_videos(tiny_videos(4))
    return model, features, model.build_label_bank(tiny_processor(request.param), LABELS)


@torch.no_grad()
@pytest.mark.parametrize("term", TERMS)
def test_examples_change_the_scores_of_every_method_and_a_file_keeps_them(case, term, tmp_path):
    model, features, bank = case
    before = model.score(features, bank)
    taught = bank.with_examples(features, LABELS, logits=before, method=term, strength=4.0, ridge=1e-4)
    after = model.score(features, taught)
    assert (after.diagonal() - after.mean(1) > before.diagonal() - before.mean(1)).all()
    assert torch.equal(model.score(features, taught.without_examples), before)
    taught.save(tmp_path / "bank.safetensors")
    loaded = LabelBank.load(tmp_path / "bank.safetensors")
    assert torch.equal(model.score(features, loaded), after) and loaded.fingerprint == taught.fingerprint
    assert taught.fingerprint != bank.fingerprint
    untouched = bank.with_examples(features, LABELS, logits=before, method=term, strength=0.0)
    assert torch.equal(model.score(features, untouched), before)


@torch.no_grad()
def test_a_label_without_a_name_is_known_by_its_examples_alone(case):
    model, features, bank = case
    labels = ["cooking", "my machine, state 3", "surfing", "my machine, state 3"]
    before = model.score(features, bank)
    taught = bank.with_examples(features, labels, strength=0.0)
    scored = model.score(features, taught)
    assert taught.labels == (*LABELS, "my machine, state 3")
    assert torch.equal(scored[:, :4], before)
    assert torch.allclose(scored[:, 4].exp(), before.exp().mean(1), rtol=1e-4)
    swapped = taught.select(["my machine, state 3", "surfing"])
    assert torch.allclose(model.score(features, swapped)[:, 1], model.score(features, bank.select(["surfing"]))[:, 0])
    strong = bank.with_examples(features, labels, strength=50.0)
    assert model.score(features, strong)[1].argmax() == 4


def test_an_example_is_ranked_first_at_the_fixed_strength_of_tip_adapter():
    bank = LabelBank(tuple(LABELS), {"text_embeds": F.normalize(torch.ones(4, 16), dim=-1)})  # the text knows nothing
    videos = spread(4)
    taught = bank.with_examples(videos, LABELS, method="cache")
    assert taught.examples.chosen == Term(**FIXED)
    assert scores(taught, videos).argmax(1).tolist() == [0, 1, 2, 3]
    by_hand = FIXED["strength"] * torch.exp(-FIXED["sharpness"] * (1 - videos @ videos.T))
    assert torch.allclose(scores(taught, videos) - scores(bank, videos), by_hand, atol=1e-4)


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("picked", [[2, 0], [3, 2, 1, 0]])
def test_slicing_and_reordering_commute_with_examples(term, picked):
    videos, targets = clusters(4, 5, 0.8)
    labels = [LABELS[target] for target in targets]
    whole = bank_of().with_examples(videos, labels, method=term).select(picked)
    kept = [row for row, target in enumerate(targets) if target in picked]
    part = bank_of().select(picked).with_examples(videos[kept], [labels[row] for row in kept], method=term)
    assert whole.labels == part.labels and whole.examples.chosen == part.examples.chosen
    assert torch.allclose(scores(whole, spread(6, 9)), scores(part, spread(6, 9)), atol=1e-4)
    assert bank_of().with_examples(videos, labels).select([]).examples is None


def test_examples_come_in_parts():
    videos, targets = clusters(4, 4, 0.8)
    labels = [LABELS[target] for target in targets]
    at_once = bank_of().with_examples(videos, labels)
    in_parts = bank_of().with_examples(videos[:7], labels[:7]).with_examples(videos[7:], labels[7:])
    assert torch.allclose(scores(at_once, spread(5, 3)), scores(in_parts, spread(5, 3)), atol=1e-5)


@pytest.mark.parametrize("term", ["ridge", "cache", "prototypes"])
def test_leaving_one_out_in_closed_form_is_leaving_one_out(term):
    videos, targets = clusters(3, 3, 0.9)
    logits, named = 3 * torch.randn(9, 3, generator=torch.Generator().manual_seed(5)), torch.ones(3, dtype=torch.bool)
    together = Examples(videos, targets, logits, named, term)
    for sharpness, ridge, left_out in together._left_one_out(None, None):
        assert term == "prototypes" or sharpness in SHARPNESSES
        assert term != "ridge" or ridge in RIDGES
        for row in range(9):
            rest = [other for other in range(9) if other != row]
            without = Examples(
                videos[rest], targets[rest], logits[rest], named, term, (1.0, sharpness, ridge)
            ).solved()
            alone = without.add_to(torch.zeros(1, 3), videos[row : row + 1])[0].double()
            found = left_out[row]
            if term == "prototypes":  # a constant over the labels says nothing
                alone, found = alone - alone.mean(), found - found.mean()
            assert torch.allclose(found, alone, atol=1e-4), (sharpness, ridge, row)


@pytest.mark.parametrize("term", ["ridge", "cache", "prototypes"])
def test_examples_that_mislead_get_no_weight_and_good_ones_help(term):
    videos, targets = clusters(4, 8, 0.5)
    labels = [LABELS[target] for target in targets]
    clips, truth = clusters(4, 50, 0.5, seed=7)
    uninformed = LabelBank(tuple(LABELS), {"text_embeds": F.normalize(torch.ones(4, 16), dim=-1)})
    helped = scores(uninformed.with_examples(videos, labels, method=term), clips)
    assert (helped.argmax(1) == truth).float().mean() > 0.95
    sure = LabelBank(tuple(LABELS), {"text_embeds": spread(4, 100)})  # the text knows the centers
    noise = sure.with_examples(spread(32, 11), labels, logits=100 * videos @ spread(4, 100).T, method=term)
    assert noise.examples.chosen.strength <= 0.5


def test_the_choice_looks_at_labels_with_two_examples_only():
    videos, targets = clusters(4, 1, 0.5)
    single = bank_of().with_examples(videos, LABELS)
    assert single.examples.chosen == Term(**FIXED_RIDGE)
    assert bank_of().with_examples(videos, LABELS, strength=3.0).examples.chosen == Term(
        **{**FIXED_RIDGE, "strength": 3.0}
    )
    few = bank_of().with_examples(torch.cat([videos, videos[:1]]), [*LABELS, LABELS[0]])
    assert few.examples.chosen == Term(**FIXED_RIDGE)  # two of five say too little of the others
    more = bank_of().with_examples(torch.cat([videos, videos[:2]]), [*LABELS, *LABELS[:2]], ridge=0.03)
    assert more.examples.chosen.sharpness in SHARPNESSES and more.examples.chosen.ridge == 0.03


def test_examples_that_tell_nothing_surely_get_no_strength():
    """Of 40 label sets whose features are noise, by chance many look a little better with them."""
    uninformed, targets = torch.zeros(12, 4), torch.arange(4).repeat(3)
    chosen = [
        Examples(spread(12, seed), targets, uninformed, torch.ones(4, dtype=torch.bool)).solved().chosen
        for seed in range(40)
    ]
    assert sum(term.strength > 0 for term in chosen) <= 4


def test_the_fixed_kernel_tells_neighbors_of_different_labels_apart():
    near = F.normalize(torch.ones(5, 16) + 0.5 * spread(5), dim=-1)  # one example of each of five labels
    sharpness = bank_of(list("abcde")).with_examples(near, list("abcde")).examples.chosen.sharpness
    between = kernel(near, near, sharpness) - torch.eye(5)
    assert sharpness > 100 and between.amax(1).median().item() == pytest.approx(math.exp(-APART), rel=0.1)
    same = bank_of().with_examples(near[:1].repeat(4, 1), LABELS).examples.chosen
    assert same.sharpness == SHARPEST
    assert bank_of().with_examples(near[:4], LABELS, sharpness=3.0).examples.chosen.sharpness == 3


def test_many_examples_are_chosen_on_the_first_of_each_label(monkeypatch):
    monkeypatch.setattr("hf_zsar.modeling.examples.CHOSEN_ON", 8)
    videos, targets = clusters(4, 5, 0.5)
    few = Examples(videos, targets, torch.zeros(20, 4), torch.ones(4, dtype=torch.bool))._few()
    assert few.targets.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert torch.equal(few.embeds, videos[[0, 5, 10, 15, 1, 6, 11, 16]])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(labels=LABELS[:3]), "4 examples need as many labels"),
        (dict(features=torch.full((4, 16), float("nan"))), "not finite"),
        (dict(features=torch.zeros(4)), r"video_embeds \[N, dim\]"),
        (dict(logits=torch.zeros(4, 3)), r"\[4, 4\]"),
        (dict(logits=torch.full((4, 4), float("inf"))), "finite"),
        (dict(method="magic"), "method must be one of"),
        (dict(strength=-1.0), "strength must be"),
        (dict(sharpness=0.0), "sharpness must be"),
        (dict(ridge=float("nan")), "ridge must be"),
    ],
)
def test_what_examples_cannot_be(change, words):
    given = {"features": spread(4), "labels": LABELS, **change}
    with pytest.raises(ValueError, match=words):
        bank_of().with_examples(given.pop("features"), given.pop("labels"), **given)


def test_a_model_without_a_common_space_needs_scores():
    bank = LabelBank(tuple(LABELS), {"text_embeds": spread(4, 1, 8)})
    with pytest.raises(ValueError, match="pass logits"):
        bank.with_examples(spread(4), LABELS)
    assert bank.with_examples(spread(4), LABELS, logits=torch.zeros(4, 4)).examples is not None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tensors, header: tensors.pop("examples.weights"),
        lambda tensors, header: tensors.update({"examples.targets": torch.tensor([0, 1, 2, 9])}),
        lambda tensors, header: tensors.update({"examples.targets": torch.zeros(4)}),
        lambda tensors, header: tensors.update({"examples.named": torch.ones(3, dtype=torch.bool)}),
        lambda tensors, header: tensors.update({"examples.embeds": torch.full((4, 16), float("nan"))}),
        lambda tensors, header: header.update(examples='{"method": "magic", "asked": [], "chosen": []}'),
        lambda tensors, header: tensors.update({"examples.embeds": torch.ones(4)}),
        lambda tensors, header: tensors.update({"examples.weights": torch.ones(4, 4, dtype=torch.int8)}),
        lambda tensors, header: tensors.update({"examples.named": torch.zeros(4, dtype=torch.bool)}),
        lambda tensors, header: header.update(examples='{"method": "ridge", "asked": [1, 1, 1], "chosen": [1, 1]}'),
        lambda tensors, header: header.update(
            examples='{"method": "ridge", "asked": [1, 1, 1], "chosen": [null, null, null]}'
        ),
        lambda tensors, header: header.update(
            examples='{"method": "ridge", "asked": [1, 1, 1], "chosen": [%s, 1, 1]}' % ("9" * 300)
        ),
        lambda tensors, header: header.update(examples="[]"),
        lambda tensors, header: header.update(examples='{"method": "ridge", "asked": [1, 1, 1], "chosen": null}'),
    ],
)
def test_tampered_examples_are_refused(spoil, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = tmp_path / "bank.safetensors"
    bank_of().with_examples(spread(4), LABELS).save(path)
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        header = file.metadata()
    spoil(tensors, header)
    save_file(tensors, path, metadata=header)
    with pytest.raises(ValueError, match=r"bank\.safetensors"):
        LabelBank.load(path)


def test_a_kernel_is_one_at_no_distance():
    assert torch.allclose(kernel(spread(3), spread(3), 5.0).diagonal(), torch.ones(3))
