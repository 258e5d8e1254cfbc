"""Cross-validation of the semantic transfer over seen classes."""

from __future__ import annotations

import pytest
import torch

from hf_zsar.modeling.modeling_zsar import normalize
from hf_zsar.training.transfer_selection import select_transfer


def related_classes(count=60, noise=0.3):
    """Prototypes are a fixed linear map of the texts, and some noise: related texts have related prototypes."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(6, 16, generator=generator)
    texts = centers[torch.arange(count) % 6] + 0.8 * torch.randn(count, 16, generator=generator)
    prototypes = texts @ torch.randn(16, 12, generator=generator)
    return normalize(prototypes + noise * torch.randn(count, 12, generator=generator)), normalize(texts)


def test_the_best_setting_beats_uniform_weights_and_the_order_is_kept():
    prototypes, texts = related_classes()
    choices = select_transfer(prototypes, texts, temperatures=(0.1, 1e6), top_ks=(None,))
    assert [choice.temperature for choice in choices] == [0.1, 1e6]
    assert choices[0].mean_reciprocal_rank > choices[1].mean_reciprocal_rank + 0.05
    assert 0 <= choices[0].top1 <= choices[0].mean_reciprocal_rank <= 1


def test_the_choice_is_seeded():
    prototypes, texts = related_classes()
    assert select_transfer(prototypes, texts) == select_transfer(prototypes, texts)
    assert select_transfer(prototypes, texts, seed=1) != select_transfer(prototypes, texts)


def test_a_class_never_composes_itself():
    """With top-1 transfer and unrelated classes nobody can be right but by luck."""
    prototypes = normalize(torch.randn(40, 30, generator=torch.Generator().manual_seed(1)))
    texts = normalize(torch.randn(40, 30, generator=torch.Generator().manual_seed(2)))
    (choice,) = select_transfer(prototypes, texts, temperatures=(0.1,), top_ks=(1,))
    assert choice.top1 < 0.4


def test_too_few_classes_are_refused():
    prototypes, texts = related_classes(count=8)
    with pytest.raises(ValueError, match="too few"):
        select_transfer(prototypes, texts)
    assert select_transfer(prototypes, texts, folds=2)
