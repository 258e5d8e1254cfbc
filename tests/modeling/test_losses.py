"""The contrastive loss over a matrix of right pairs: values of the official loss and analytic properties."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_zsar.modeling.losses import contrastive_losses


def same_label(labels: list[int]) -> torch.Tensor:
    labels = torch.tensor(labels)
    return labels[:, None] == labels


def mean_loss(logits: torch.Tensor, targets: torch.Tensor, **options) -> float:
    return (sum(contrastive_losses(logits, targets, **options)) / 2).item()


@pytest.mark.parametrize(
    ("logits", "labels", "losses"),
    [
        (torch.tensor([[2.0, 0, 1], [0, 3, -1], [1, 1, 0]]), [5, 5, 2], (1.149219, 1.032426)),
        (4 * torch.eye(2), [0, 1], (0.0178321, 0.0178321)),
        (torch.zeros(6, 6), [0, 1, 2, 3, 4, 5], (1.789263, 1.789263)),
        (torch.full((4, 4), 3.0), [7, 7, 7, 7], (0, 0)),
    ],
)
def test_values_of_the_official_loss(logits, labels, losses):
    found = contrastive_losses(logits, same_label(labels))
    assert [loss.item() for loss in found] == pytest.approx(losses, abs=2e-6)


batches = st.lists(st.integers(0, 3), min_size=2, max_size=7)


@pytest.mark.parametrize("loss_type", ["kl", "ce"])
@given(labels=batches, seed=st.integers(0, 1000))
def test_swapping_sides_and_reordering_the_batch(loss_type, labels, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(len(labels), len(labels), generator=generator)
    targets = same_label(labels)
    per_video, per_text = contrastive_losses(logits, targets, loss_type)
    swapped = contrastive_losses(logits.t(), targets.t(), loss_type)
    assert torch.equal(per_video, swapped[1]) and torch.equal(per_text, swapped[0])
    order = torch.randperm(len(labels), generator=generator)
    reordered = contrastive_losses(logits[order][:, order], targets[order][:, order], loss_type)
    assert torch.allclose(torch.stack(reordered), torch.stack([per_video, per_text]), atol=1e-5)
    assert per_video > -1e-6 and per_text > -1e-6


@given(labels=batches, temperature=st.floats(0.5, 12), shift=st.floats(-5, 5))
def test_kl_is_zero_where_the_probabilities_are_the_targets(labels, temperature, shift):
    targets = same_label(labels)
    logits = temperature * targets.float() + shift
    assert contrastive_losses(logits, targets, "kl", temperature)[0].item() == pytest.approx(0, abs=1e-5)
    logits[0, 0] -= 3
    assert contrastive_losses(logits, targets, "kl", temperature)[0].item() > 1e-5


def test_cross_entropy_is_the_loss_of_clip_when_every_pair_is_its_own():
    logits = torch.randn(5, 5)
    found = contrastive_losses(logits, torch.eye(5, dtype=torch.bool), "ce")
    own = torch.arange(5)
    expected = [torch.nn.functional.cross_entropy(side, own) for side in (logits, logits.t())]
    assert torch.allclose(torch.stack(found), torch.stack(expected), atol=1e-6)


def test_cross_entropy_shares_the_probability_among_all_that_are_right():
    logits = torch.tensor([[1.0, 2.0, 0.0]])
    targets = torch.tensor([[True, True, False]])
    log_probabilities = logits.log_softmax(-1)[0]
    expected = -(log_probabilities[0] + log_probabilities[1]) / 2
    assert contrastive_losses(logits, targets, "ce")[0].item() == pytest.approx(expected.item())


@pytest.mark.parametrize("loss_type", ["kl", "ce"])
def test_a_candidate_that_no_video_shows_stays_out_of_the_second_direction(loss_type):
    logits = torch.randn(3, 3)
    targets = torch.eye(3, dtype=torch.bool)
    more = torch.cat([logits, torch.randn(3, 2)], dim=1).requires_grad_()
    absent = torch.cat([targets, torch.zeros(3, 2, dtype=torch.bool)], dim=1)
    alone, together = contrastive_losses(logits, targets, loss_type), contrastive_losses(more, absent, loss_type)
    assert torch.allclose(alone[1], together[1]) and not torch.allclose(alone[0], together[0])
    together[1].backward()
    assert more.grad.isfinite().all() and not more.grad[:, 3:].any()


def test_target_of_a_large_batch():
    """128 videos, one of each class: 0.99427 on the right text, 4.51e-5 elsewhere."""
    targets = torch.eye(128, dtype=torch.bool)
    right = math.exp(10) / (math.exp(10) + 127)
    entropy = -right * math.log(right) - (1 - right) * math.log((1 - right) / 127)
    assert right == pytest.approx(0.99427, abs=1e-5)
    assert mean_loss(torch.zeros(128, 128), targets) == pytest.approx(math.log(128) - entropy, abs=1e-4)


def test_half_precision_is_computed_in_float32():
    logits = 100 * torch.randn(4, 4, dtype=torch.bfloat16)
    loss = contrastive_losses(logits, same_label([0, 1, 1, 2]))[0]
    assert loss.dtype == torch.float32
    assert loss == contrastive_losses(logits.float(), same_label([0, 1, 1, 2]))[0]


def test_unknown_loss_type():
    with pytest.raises(ValueError, match="got 'mse'"):
        contrastive_losses(torch.zeros(2, 2), torch.eye(2, dtype=torch.bool), "mse")
