"""Averages over checkpoints and ways back to CLIP: weights, state dicts, modules, folders, and what goes wrong."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPConfig, CLIPModel

from hf_zsar import STDDModel
from hf_zsar.training.weight_averaging import (
    AVERAGES,
    CheckpointFolder,
    WeightAverage,
    WeightAveragingError,
    average_checkpoints,
    average_state_dicts,
    averaging_weights,
    interpolate_checkpoints,
    interpolate_state_dicts,
    interpolate_with_clip,
)
from tests.tiny_models import tiny_clip_config, tiny_model, tiny_processor


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


# -- state dicts and modules -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("mode", AVERAGES)
def test_the_average_of_identical_checkpoints_is_the_checkpoint(dtype, mode):
    one = state(1, dtype)
    mean = average_state_dicts([one] * 21, averaging_weights(mode, 21))
    for name, tensor in one.items():
        torch.testing.assert_close(mean[name], tensor, rtol=1e-14 if dtype == torch.float64 else 0, atol=0)


def test_averages_are_weighted_sums_and_integers_are_the_last():
    states = [state(seed) for seed in range(3)]
    mean = average_state_dicts(states, [1, 2, 5])
    expected = (states[0]["weight"] + 2 * states[1]["weight"] + 5 * states[2]["weight"]) / 8
    torch.testing.assert_close(mean["weight"], expected)
    assert mean["steps"] == 2
    torch.testing.assert_close(average_state_dicts(states)["scale"], sum(s["scale"] for s in states) / 3)


@pytest.mark.parametrize("weights", [[1, 2], [1, -1, 1], [0, 0, 0], [1, 1, math.inf], [1, 1, math.nan]])
def test_weights_must_fit_the_checkpoints(weights):
    with pytest.raises(WeightAveragingError, match="[wW]eights"):
        average_state_dicts([state(seed) for seed in range(3)], weights)


@pytest.mark.parametrize(
    "change", [dict(extra=torch.zeros(1)), dict(weight=torch.zeros(4, 3)), dict(scale=torch.zeros(1))]
)
def test_different_models_are_not_averaged(change):
    with pytest.raises(WeightAveragingError, match=f"not the same model; they differ in {next(iter(change))}"):
        average_state_dicts([state(0), state(1) | change])


class Counting(nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(3, 2)
        self.register_buffer("count", torch.tensor(seed))


def test_a_running_average_is_the_average():
    modules, weights, running = [Counting(seed) for seed in range(4)], [0.5, 1.0, 3.0, 2.0], WeightAverage()
    for module, weight in zip(modules, weights, strict=True):
        running.update(module, weight)
    expected = average_state_dicts([module.state_dict() for module in modules], weights)
    torch.testing.assert_close(running.state_dict(), expected)
    target = Counting(9).to(torch.float64)
    running.copy_to(target)
    assert target.linear.weight.dtype == torch.float64
    torch.testing.assert_close(target.linear.weight.float(), expected["linear.weight"])
    assert target.count == 3


def test_a_running_average_keeps_what_half_precision_would_lose():
    module, running = nn.Linear(1, 1, bias=False).to(torch.bfloat16), WeightAverage()
    for value in (1.0, 1.0078125):  # neighbors in bfloat16
        with torch.no_grad():
            module.weight.fill_(value)
        running.update(module)
    assert running.state_dict()["weight"].item() == 1.00390625
    with torch.no_grad():
        module.weight.zero_()  # the average has its own memory
    assert running.state_dict()["weight"].item() == 1.00390625


def test_a_running_average_says_what_is_wrong():
    running = WeightAverage()
    with pytest.raises(WeightAveragingError, match="call update"):
        running.state_dict()
    with pytest.raises(WeightAveragingError, match="must be positive, got 0"):
        running.update(nn.Linear(2, 2), 0)
    running.update(nn.Linear(2, 2))
    with pytest.raises(WeightAveragingError, match="differ in weight"):
        running.update(nn.Linear(3, 2))


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


def fine_tuned_and_clip():
    torch.manual_seed(1)
    clip = CLIPModel(CLIPConfig(**tiny_clip_config())).eval()
    return tiny_model("stdd", seed=2, distill_weight=2.0), clip


def test_patching_moves_the_backbone_and_nothing_else():
    model, clip = fine_tuned_and_clip()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    interpolate_with_clip(model, clip, 0.5)
    base = clip.state_dict()
    for name, tensor in model.state_dict().items():
        own = name.removeprefix("backbone.model.")
        expected = (before[name] + base[own]) / 2 if own in base else before[name]
        torch.testing.assert_close(tensor, expected)
    interpolate_with_clip(model, clip, 1.0)
    torch.testing.assert_close(model.backbone.model.state_dict(), base, rtol=0, atol=0)


# -- folders -----------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path):
    """Three checkpoints of one run; the last one sharded, with the processor and files of the training run."""
    paths = [tmp_path / f"checkpoint-{step}" for step in (10, 20, 30)]
    for seed, path in enumerate(paths):
        model = tiny_model("stdd", seed=seed)
        model.save_pretrained(path, max_shard_size="200KB" if seed == 2 else "5GB")
    tiny_processor("stdd", paths[-1])
    for name in ("optimizer.pt", "rng_state.pth", "trainer_state.json"):
        (paths[-1] / name).write_text("{}")
    return paths


def weights_of(folder):
    parts = CheckpointFolder(folder)
    return {name: parts[name] for name in parts.where}


def test_folders_are_averaged_sharded_or_not(folders, tmp_path):
    assert len(CheckpointFolder(folders[2]).files) > 1
    out = tmp_path / "mean"
    average_checkpoints(folders, out, [1, 1, 2])
    torch.testing.assert_close(weights_of(out), average_state_dicts([weights_of(f) for f in folders], [1, 1, 2]))
    model = STDDModel.from_pretrained(out)
    torch.testing.assert_close(dict(model.state_dict()), weights_of(out))
    found = {path.name for path in out.iterdir()}
    assert {"config.json", "tokenizer.json", "processor_config.json"} <= found
    assert not found & {"optimizer.pt", "rng_state.pth", "trainer_state.json"}


def test_the_noted_license_of_the_weights_stays(folders, tmp_path):
    for folder in folders[:2]:
        file = folder / "model.safetensors"
        save_file(load_file(file), file, metadata={"format": "pt", "source_license": "none"})
    average_checkpoints(folders[:2], tmp_path / "mean")
    with safe_open(tmp_path / "mean" / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt", "source_license": "none"}


def test_folders_are_interpolated(folders, tmp_path):
    _, clip = fine_tuned_and_clip()
    clip.save_pretrained(tmp_path / "clip")
    old = load_file(tmp_path / "clip" / "model.safetensors")
    old["text_model.embeddings.position_ids"] = torch.arange(77)[None]  # as in old CLIP files
    save_file(old, tmp_path / "clip" / "model.safetensors", metadata={"format": "pt"})
    interpolate_checkpoints(folders[2], tmp_path / "clip", tmp_path / "patched", 0.25)
    expected = STDDModel.from_pretrained(folders[2])
    interpolate_with_clip(expected, clip, 0.25)
    patched = STDDModel.from_pretrained(tmp_path / "patched")
    torch.testing.assert_close(dict(patched.state_dict()), dict(expected.state_dict()))


def test_nothing_is_written_when_something_is_wrong(folders, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    tiny_model("stdd", distill_weight=2.0).save_pretrained(other)
    with pytest.raises(WeightAveragingError, match="other .*not the same model; they differ in distill_projector.0"):
        average_checkpoints([*folders, other], out)
    with pytest.raises(WeightAveragingError, match="2 weights for 3 checkpoints"):
        average_checkpoints(folders, out, [1, 1])
    with pytest.raises(WeightAveragingError, match="no checkpoints|0 checkpoints"):
        average_checkpoints([], out)
    with pytest.raises(WeightAveragingError, match="nowhere has no model.safetensors"):
        average_checkpoints([tmp_path / "nowhere"], out)
    with pytest.raises(WeightAveragingError, match="alpha must lie"):
        interpolate_checkpoints(folders[0], folders[1], out, 2, prefix="")
    with pytest.raises(WeightAveragingError, match="not the same model"):
        interpolate_checkpoints(folders[0], folders[1], out, 0.5)  # a base without the prefix it should get
    assert not out.exists()
    with pytest.raises(ValueError, match="exists and is not empty"):
        average_checkpoints(folders, other)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*(f.name for f in folders), "other"])


def test_a_damaged_checkpoint_is_named(folders, tmp_path):
    file = folders[0] / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightAveragingError, match="checkpoint-10.model.safetensors cannot be read as safetensors"):
        average_checkpoints(folders, tmp_path / "out")
    shard = next(folders[2].glob("model-*.safetensors"))
    shard.unlink()
    with pytest.raises(WeightAveragingError, match=f"checkpoint-30 has no {shard.name}"):
        average_checkpoints(folders[1:], tmp_path / "out")
