"""Temperatures, label sets, thresholds and probabilities of single labels, on scores whose truth is known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_zsar.modeling.calibration import (
    LEAST_FOR_PLATT,
    Calibration,
    calibrate,
    far_from,
    fit_platt,
    fit_temperature,
    quantile,
)


def drawn(count: int, labels: int, temperature: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels that their softmax at a temperature is the truth about."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(count, labels, generator=generator)
    return logits, torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator).squeeze(1)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 8.0])
def test_a_known_temperature_is_found(temperature):
    assert fit_temperature(*drawn(20_000, 6, temperature)) == pytest.approx(temperature, rel=0.05)


def test_a_temperature_stays_in_its_bounds():
    logits = torch.eye(4) * 5
    assert 0.01 <= fit_temperature(logits, torch.arange(4)) < 0.2  # always right: as sure as numbers can tell
    assert fit_temperature(logits, torch.arange(4).roll(1)) == pytest.approx(100)


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_label_sets_hold_the_right_label_as_often_as_said(coverage):
    """Over 300 calibrations the mean coverage lies between `coverage` and `coverage + 1 / (n + 1)`, within 3 sigma."""
    found, clips = [], 60
    for seed in range(300):
        logits, targets = drawn(2 * clips + 200, 5, 1.0, seed)
        made = calibrate(logits[: 2 * clips], targets[: 2 * clips])
        new = (logits[2 * clips :] / made.temperature).softmax(-1)
        right = new.gather(1, targets[2 * clips :, None]).squeeze(1)
        found.append((right >= made.least_probability(coverage) - 1e-6).float().mean().item())
    mean, sigma = sum(found) / 300, torch.tensor(found).std().item() / math.sqrt(300)
    assert coverage - 3 * sigma <= mean <= coverage + 1 / (clips + 1) + 3 * sigma


def test_false_alarms_are_as_many_as_said():
    generator = torch.Generator().manual_seed(0)
    shares = []
    for _ in range(300):
        scores = torch.rand(139, generator=generator)
        made = Calibration(unknown=tuple(sorted(scores[:39].tolist())))
        shares.append((scores[39:] > made.unknown_above(0.05)).float().mean().item())
    assert sum(shares) / 300 == pytest.approx(0.05, abs=0.01)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.floats(0.01, 0.99))
def test_a_quantile_is_one_of_the_values_or_there_are_too_few(values, share):
    values = sorted(values)
    try:
        found = quantile(values, share, "coverage")
    except ValueError as error:
        assert len(values) < share / (1 - share) + 1e-6 and "calibration clips" in str(error)
        return
    at_most = sum(value <= found for value in values)
    assert found in values and at_most >= (len(values) + 1) * share - 1e-6


def test_as_many_clips_as_are_said_to_be_needed_are_enough():
    assert quantile([0.1] * 9, 0.9, "coverage") == 0.1
    with pytest.raises(ValueError, match="needs 9 calibration clips or more, there are 8"):
        quantile([0.1] * 8, 0.9, "coverage")
    for share in (0, 1, -0.5, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            quantile([0.1] * 8, share, "coverage")


def test_one_half_of_the_clips_gives_the_temperature_and_the_other_the_rest():
    logits, targets = drawn(101, 4, 2.0)
    made = calibrate(logits, targets, torch.rand(101), seed=3)
    assert len(made.wrong) == len(made.unknown) == 51
    assert calibrate(logits, targets, seed=3).wrong == made.wrong != calibrate(logits, targets, seed=4).wrong
    with pytest.raises(ValueError, match="at least two clips"):
        calibrate(logits[:1], targets[:1])


def test_a_calibration_is_text_and_back():
    made = Calibration(1.5, (0.1, 0.25), (0.5,))
    assert Calibration.parse(str(made)) == made


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"temperature": 0, "wrong": [], "unknown": []}',
        '{"temperature": "1", "wrong": [], "unknown": []}',
        '{"temperature": NaN, "wrong": [], "unknown": []}',
        '{"temperature": 1, "wrong": [0.5, 0.1], "unknown": []}',
        '{"temperature": 1, "wrong": [], "unknown": [2]}',
        '{"temperature": 1, "wrong": 3, "unknown": []}',
    ],
)
def test_what_is_no_calibration(text):
    with pytest.raises(ValueError):
        Calibration.parse(text)


def test_scale_and_bias_make_probabilities():
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(20_000, 2, generator=generator)
    scale, bias = torch.tensor([0.7, 2.0]), torch.tensor([-1.0, 0.5])
    truths = torch.rand(logits.shape, generator=generator) < (scale * logits + bias).sigmoid()
    assert torch.allclose(fit_platt(logits, truths), torch.stack([scale, bias], dim=1), atol=0.15)


def test_labels_that_always_fit_get_no_endless_scale():
    truths = torch.arange(2 * LEAST_FOR_PLATT)[:, None] % 2 == 0
    found = fit_platt(torch.where(truths, 5.0, -5.0), truths)
    assert found.isfinite().all() and 0 < found[0, 0] < 2
    with pytest.raises(ValueError, match=f"{LEAST_FOR_PLATT} of either are the least"):
        fit_platt(torch.zeros(2 * LEAST_FOR_PLATT - 1, 1), truths[:-1])


def test_background_labels_that_mean_the_same_are_left_out():
    axes = torch.eye(8)
    background = torch.cat([axes[2:], axes[2:] + 0.5 * axes[[3, 2, 5, 4, 7, 6]], axes[:1] + 0.1 * axes[1]])
    kept = far_from(axes[:2], background)
    assert kept[:-1].all() and not kept[-1]
