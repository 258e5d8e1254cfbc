"""Parameter groups, freezing and the schedule, as the cards of the methods say."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler

from hf_zsar.training.optimization import freeze, freeze_statistics, parameter_groups
from hf_zsar.training.sampler import SeededShuffle
from hf_zsar.training.trainer_rules import TrainerRules
from tests.tiny_models import tiny_inputs, tiny_model
from tests.training.runs import TRAINED


RATES = {"vision": 1e-3, "text": 2e-3, "scale": 3e-3, "head": 4e-3}


@pytest.mark.parametrize("method", TRAINED)
def test_every_parameter_is_in_one_group_at_its_rate(method):
    model = tiny_model(method)
    groups = parameter_groups(model, RATES, weight_decay=0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    seen = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(seen) == sorted(names)
    for group in groups:
        assert group["lr"] == RATES[group["role"]]
        for parameter in group["params"]:
            assert model.role_of(names[id(parameter)]) == group["role"]
            if parameter.ndim < 2:
                assert group["weight_decay"] == 0
    assert {group["role"] for group in groups} >= {"vision", "text", "scale"}
    decayed = {name for g in groups if g["weight_decay"] for name in (names[id(p)] for p in g["params"])}
    assert decayed and not [name for name in decayed if "position_embedding" in name or "norm" in name]


@pytest.mark.parametrize(
    ("method", "name", "role"),
    [
        ("actionclip", "backbone.model.vision_model.embeddings.class_embedding", "vision"),
        ("actionclip", "backbone.model.visual_projection.weight", "vision"),
        ("actionclip", "backbone.model.text_projection.weight", "text"),
        ("actionclip", "backbone.model.logit_scale", "scale"),
        ("actionclip", "temporal_head.layers.0.weight", "head"),
        ("dasti", "temporal_transformer.position_embedding.weight", "head"),
        ("stdd", "distill_projector.0.weight", "head"),
        ("rest", "backbone.model.stem.0.weight", "vision"),
        ("rest", "text_model.encoder.layer.0.output.dense.weight", "text"),
        ("rest", "class_head.weight", "head"),
        ("rest", "logit_scale", "scale"),
    ],
)
def test_roles(method, name, role):
    assert tiny_model(method).role_of(name) == role


def test_decay_on_everything_and_a_default_rate():
    model = tiny_model("actionclip")
    groups = parameter_groups(model, {"default": 1e-4, "head": 1e-3}, weight_decay=0.2, decay_all=True)
    assert {group["weight_decay"] for group in groups} == {0.2}
    assert {group["role"]: group["lr"] for group in groups} == {
        "vision": 1e-4, "text": 1e-4, "scale": 1e-4, "head": 1e-3,
    }  # fmt: skip


@pytest.mark.parametrize("method", TRAINED)
def test_frozen_parts_are_in_no_group_and_do_not_move(method):
    model = tiny_model(method)
    freeze(model, ["vision", "text"])
    groups = parameter_groups(model, {"default": 1.0})
    assert {group["role"] for group in groups} <= {"scale", "head"}
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {n for n, _ in model.named_parameters() if model.role_of(n) in ("vision", "text")}


def test_unknown_and_missing_roles_are_refused():
    model = tiny_model("actionclip")
    with pytest.raises(ValueError, match="unknown parameter roles"):
        parameter_groups(model, {"backbone": 1.0})
    with pytest.raises(ValueError, match="neither 'default' nor scale, text, vision; it trains head, scale"):
        parameter_groups(model, {"head": 1.0})
    with pytest.raises(ValueError, match="unknown parameter roles"):
        freeze(model, ["tower"])


def test_processes_share_each_update_and_epochs_differ():
    """Batches are dealt out in turn, as accelerate's loaders do."""
    order, dealt = SeededShuffle(27, 8, seed=5), []
    for epoch in (0, 3):
        order.set_epoch(epoch)
        alone = list(order)
        assert len(alone) == len(order) == 24 and len(set(alone)) == 24
        sampler = BatchSampler(order, 4, drop_last=False)
        shares = [list(BatchSamplerShard(sampler, 2, rank)) for rank in (0, 1)]
        assert [one + two for one, two in zip(*shares, strict=True)] == [alone[i : i + 8] for i in (0, 8, 16)]
        dealt.append(alone)
    assert dealt[0] != dealt[1] and list(SeededShuffle(27, 8, seed=6)) != dealt[0]


def test_any_trainer_tells_the_order_its_epoch():
    order, state = SeededShuffle(9, 3, seed=0), SimpleNamespace(epoch=2.5)
    TrainerRules().on_epoch_begin(SimpleNamespace(seed=4, data_seed=None), state, None)
    other = SeededShuffle(9, 3, seed=4)
    other.set_epoch(2)
    assert list(order) == list(other)


def test_frozen_statistics_stay_in_training_and_gradients_flow():
    model, inputs = tiny_model("rest"), tiny_inputs("rest")
    before = {name: buffer.clone() for name, buffer in model.named_buffers() if "running" in name}
    freeze_statistics(model)
    model.eval().train()
    model(**inputs, labels=torch.tensor([1, 3])).loss.backward()
    after = dict(model.named_buffers())
    assert before and all(torch.equal(after[name], buffer) for name, buffer in before.items())
    assert model.backbone.model.embedder.embedder.convolution.weight.grad.abs().sum() > 0
    other = tiny_model("rest").train()
    other(**inputs, labels=torch.tensor([1, 3]))
    assert any(not torch.equal(dict(other.named_buffers())[name], buffer) for name, buffer in before.items())
