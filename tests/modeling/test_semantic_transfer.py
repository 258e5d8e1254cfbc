"""Properties of the semantic transfer (card of ResT, S3 and R4)."""

from __future__ import annotations

import pytest
import torch

from hf_zsar.modeling.modeling_zsar import normalize
from hf_zsar.modeling.semantic_transfer import compose_prototypes, transfer_weights


@pytest.fixture
def seen():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(7, 16, generator=generator), normalize(torch.randn(7, 12, generator=generator))


@pytest.fixture
def unseen():
    return torch.randn(4, 16, generator=torch.Generator().manual_seed(1))


def transfer(unseen_text, seen_text, prototypes, **options):
    return compose_prototypes(transfer_weights(unseen_text, seen_text, **options), prototypes)


def test_cold_or_top_one_transfer_of_a_seen_text_is_its_prototype(seen):
    text, prototypes = seen
    torch.testing.assert_close(transfer(text, text, prototypes, temperature=1e-4), prototypes)
    torch.testing.assert_close(transfer(text, text, prototypes, temperature=5.0, top_k=1), prototypes)


def test_hot_transfer_is_the_mean_of_the_seen(seen, unseen):
    text, prototypes = seen
    mean = normalize(prototypes.mean(0, keepdim=True)).expand(4, -1)
    torch.testing.assert_close(transfer(unseen, text, prototypes, temperature=1e6), mean)


@pytest.mark.parametrize("top_k", [None, 1, 3, 100])
def test_softmax_weights_are_a_distribution_over_the_top_k(seen, unseen, top_k):
    text, prototypes = seen
    weights = transfer_weights(unseen, text, top_k=top_k)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(4))
    assert ((weights > 0).sum(1) <= (top_k or 7)).all()
    assert ((weights @ prototypes).norm(dim=1) <= 1 + 1e-6).all()
    torch.testing.assert_close(compose_prototypes(weights, prototypes).norm(dim=1), torch.ones(4))


def test_invariances(seen, unseen):
    text, prototypes = seen
    expected = transfer(unseen, text, prototypes)
    torch.testing.assert_close(transfer(3 * unseen, 0.1 * text, prototypes), expected)
    order, rows = torch.randperm(7), torch.randperm(4)
    torch.testing.assert_close(transfer(unseen, text[order], prototypes[order]), expected)
    torch.testing.assert_close(transfer(unseen[rows], text, prototypes), expected[rows])
    twice = transfer(unseen, torch.cat([text, text]), torch.cat([prototypes, prototypes]))
    torch.testing.assert_close(twice, expected)


def test_equal_prototypes_tie_all_candidates(seen, unseen):
    text, prototypes = seen
    composed = transfer(unseen, text, prototypes[:1].expand(7, -1))
    torch.testing.assert_close(composed, prototypes[:1].expand(4, -1))


def test_ridge_recovers_the_seen_and_may_be_negative(seen, unseen):
    text, prototypes = seen
    recovered = transfer(text, text, prototypes, method="ridge", ridge_lambda=1e-6)
    torch.testing.assert_close(recovered, prototypes, atol=1e-4, rtol=1e-4)
    assert (transfer_weights(unseen, text, method="ridge") < 0).any()


def test_weight_grows_with_relatedness(seen, unseen):
    text, _ = seen
    before = transfer_weights(unseen[:1], text)[0]
    after = transfer_weights(unseen[:1] + 0.1 * text[2], text)[0]
    assert after[2] > before[2]
