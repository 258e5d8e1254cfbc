"""Averages over checkpoints and ways back to the start: weights, folders, and what goes wrong."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_zsar.training.weight_averaging import (
    AVERAGES,
    CheckpointFolder,
    WeightAveragingError,
    average_of,
    averaging_weights,
    interpolate_state_dicts,
    weighted_sum,
)
from tests.tiny_models import tiny_model


def state(seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return {
        "weight": torch.randn(3, 4, generator=generator).to(dtype),
        "scale": torch.randn((), generator=generator).to(dtype),
        "steps": torch.tensor(seed),
    }


# -- how much each checkpoint counts -----------------------------------------------------------------


@given(st.sampled_from(AVERAGES), st.integers(1, 40))
def test_weights_are_a_distribution(mode, count):
    weights = averaging_weights(mode, count)
    assert len(weights) == count
    assert min(weights) > 0
    assert math.isclose(sum(weights), 1, rel_tol=1e-12)


def test_gaussian_weights_of_the_recipe_peak_at_epoch_15():
    epochs = list(range(2, 23))
    weights = averaging_weights("gaussian", epochs)
    assert epochs[weights.index(max(weights))] == 15
    assert weights[epochs.index(5)] / max(weights) == pytest.approx(math.exp(-0.5))  # one deviation away
    assert weights[epochs.index(10)] == pytest.approx(weights[epochs.index(20)])


def test_beta_weights_prefer_both_ends_and_are_symmetric():
    weights = averaging_weights("beta", 7)
    assert weights == pytest.approx(weights[::-1])
    assert sorted(weights[:4], reverse=True) == weights[:4]
    assert averaging_weights("beta", 7, alpha=1, beta=1) == pytest.approx([1 / 7] * 7)


def test_exponential_weights_are_those_of_a_running_average():
    values, decay = [3.0, -1.0, 4.0, 10.0], 0.9
    running = values[0]
    for value in values[1:]:
        running = decay * running + (1 - decay) * value
    weights = averaging_weights("exponential", len(values), decay=decay)
    assert sum(w * v for w, v in zip(weights, values, strict=True)) == pytest.approx(running)


@pytest.mark.parametrize(
    ("mode", "epochs", "options", "message"),
    [
        ("median", 3, {}, "mode must be one of mean, gaussian"),
        ("mean", 0, {}, "no checkpoints"),
        ("gaussian", [1, 2], dict(mean=1e6, std=1), "All weights of the gaussian average are zero"),
    ],
)
def test_weights_that_cannot_be(mode, epochs, options, message):
    with pytest.raises(WeightAveragingError, match=message):
        averaging_weights(mode, epochs, **options)


# -- folders -------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path):
    """Three checkpoints of one run; the last one sharded."""
    paths = [tmp_path / f"checkpoint-{step}" for step in (10, 20, 30)]
    for seed, path in enumerate(paths):
        tiny_model("stdd", seed=seed).save_pretrained(path, max_shard_size="200KB" if seed == 2 else "5GB")
    return paths


def weights_of(folder):
    parts = CheckpointFolder(folder)
    return {name: parts[name] for name in parts.where}


def test_folders_are_averaged_sharded_or_not(folders):
    assert len(CheckpointFolder(folders[2]).files) > 1
    mean = average_of(folders, [1, 1, 2])
    one, two, three = (weights_of(folder) for folder in folders)
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor, (one[name] + two[name] + 2 * three[name]) / 4)
    tiny_model("stdd").load_state_dict(mean)


@pytest.mark.parametrize("mode", AVERAGES)
def test_the_average_of_identical_checkpoints_is_the_checkpoint(mode, folders):
    mean = average_of([folders[0]] * 21, averaging_weights(mode, 21))
    for name, tensor in weights_of(folders[0]).items():
        torch.testing.assert_close(mean[name], tensor, rtol=0, atol=0)


def test_sums_keep_what_half_precision_would_lose_and_integers_are_the_last():
    one, two = torch.tensor([1.0], dtype=torch.bfloat16), torch.tensor([1.0078125], dtype=torch.bfloat16)
    assert weighted_sum([one, two, two, one], [0.25] * 4).item() in (1.0, 1.0078125)
    many = [torch.tensor([1.0], dtype=torch.bfloat16)] * 300
    assert weighted_sum(many, [1 / 300] * 300).item() == 1.0
    assert weighted_sum([torch.tensor(3), torch.tensor(5)], [0.9, 0.1]) == 5


@pytest.mark.parametrize("weights", [[1, 2], [1, -1, 1], [0, 0, 0], [1, 1, math.inf], [1, 1, math.nan]])
def test_weights_must_fit_the_checkpoints(weights, folders):
    with pytest.raises(WeightAveragingError, match="[wW]eights"):
        average_of(folders, weights)


def test_what_is_wrong_with_a_folder_is_said(folders, tmp_path):
    tiny_model("stdd", distill_weight=2.0).save_pretrained(other := tmp_path / "other")
    with pytest.raises(WeightAveragingError, match="other .*not the same model; they differ in distill_projector.0"):
        average_of([*folders, other], [1] * 4)
    with pytest.raises(WeightAveragingError, match="0 checkpoints"):
        average_of([], [])
    with pytest.raises(WeightAveragingError, match="nowhere has no model.safetensors"):
        average_of([tmp_path / "nowhere"], [1])


def test_a_damaged_checkpoint_is_named(folders):
    file = folders[0] / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightAveragingError, match="checkpoint-10.model.safetensors cannot be read as safetensors"):
        average_of(folders, [1, 1, 1])
    shard = next(folders[2].glob("model-*.safetensors"))
    shard.unlink()
    with pytest.raises(WeightAveragingError, match=f"checkpoint-30 has no {shard.name}"):
        average_of(folders[1:], [1, 1])


# -- towards the base model --------------------------------------------------------------------------


def test_interpolation_ends_at_both_models():
    fine_tuned, base = state(1) | {"head": torch.ones(2)}, state(2)
    for alpha, expected in ((0, fine_tuned), (1, base | {"head": torch.ones(2)})):
        mixed = interpolate_state_dicts(fine_tuned, base, alpha)
        assert mixed.keys() == expected.keys()
        assert all(torch.equal(mixed[name], tensor) for name, tensor in expected.items() if name != "steps")
    quarter = interpolate_state_dicts(fine_tuned, base, 0.25)
    torch.testing.assert_close(quarter["weight"], 0.25 * base["weight"] + 0.75 * fine_tuned["weight"])


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_alpha_lies_between_the_models(alpha):
    with pytest.raises(WeightAveragingError, match="alpha must lie between 0 .* and 1"):
        interpolate_state_dicts(state(0), state(1), alpha)


def test_a_base_that_is_another_model_is_refused():
    with pytest.raises(WeightAveragingError, match="differ in other"):
        interpolate_state_dicts(state(0), state(1) | {"other": torch.ones(1)}, 0.5)
    with pytest.raises(WeightAveragingError, match="differ in weight"):
        interpolate_state_dicts(state(0), state(1) | {"weight": torch.ones(1)}, 0.5)
    assert "position_ids" not in interpolate_state_dicts(state(0), state(1) | {"position_ids": torch.arange(3)}, 0.5)
