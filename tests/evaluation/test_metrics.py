"""Metrics against scikit-learn and brute force, their stated conventions, and loading them offline."""

from __future__ import annotations

import math
import socket

import evaluate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, top_k_accuracy_score

from hf_zsar.evaluation.metrics import load_metric, metric_path
from hf_zsar.evaluation.metrics.functions import (
    average_precision,
    bootstrap_interval,
    class_accuracy,
    harmonic_mean,
    mean_and_std,
    mean_average_precision,
    mean_class_accuracy,
    per_split,
    softmax,
    stacking_curve,
    top_k_accuracy,
    true_ranks,
    wilson_interval,
)


def table(seed: int, clips: int = 60, classes: int = 7, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Random scores (only `levels` different values, for ties) and targets in which the last class never occurs."""
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=(clips, classes))
    if levels:
        scores = generator.integers(0, levels, (clips, classes)).astype(float)
    return scores, generator.integers(0, classes - 1, clips)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_top_k_is_scikit_learns(seed, k):
    scores, targets = table(seed)
    expected = top_k_accuracy_score(targets, scores, k=k, labels=range(scores.shape[1]))
    assert top_k_accuracy(true_ranks(scores, targets), k) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_mean_class_accuracy_is_scikit_learns(seed):
    scores, targets = table(seed)
    answers = scores.argmax(axis=1)
    expected = balanced_accuracy_score(targets, answers)
    assert mean_class_accuracy(answers == targets, targets, scores.shape[1]) == pytest.approx(expected)
    assert math.isnan(class_accuracy(answers == targets, targets, scores.shape[1])[-1])


@pytest.mark.parametrize("levels", [None, 4])
@pytest.mark.parametrize("seed", range(3))
def test_map_is_scikit_learns_with_and_without_ties(seed, levels):
    scores, _ = table(seed, levels=levels)
    truth = np.random.default_rng(seed + 10).random(scores.shape) < 0.3
    truth[:, -1] = False
    mean, each = mean_average_precision(scores, truth)
    expected = [average_precision_score(truth[:, k], scores[:, k]) for k in range(scores.shape[1] - 1)]
    assert each[:-1] == pytest.approx(expected)
    assert mean == pytest.approx(np.mean(expected))
    assert math.isnan(each[-1])


def test_map_by_hand():
    # Ranked: right, wrong, right -> (1/1 + 2/3) / 2
    assert average_precision([0.9, 0.8, 0.7], [1, 0, 1]) == pytest.approx((1 + 2 / 3) / 2)
    # A tie is one threshold: precision 1/2 at the only step.
    assert average_precision([0.5, 0.5], [1, 0]) == pytest.approx(0.5)


def test_ties_go_to_the_first_candidate():
    scores = [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [2.0, 2.0, 2.0]]
    assert true_ranks(scores, [0, 2, 1]).tolist() == [1, 2, 2]
    # A model that says nothing is right for the first class alone, not for all.
    assert top_k_accuracy(true_ranks(np.zeros((4, 4)), [0, 1, 2, 3]), 1) == 0.25


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_rank_one_is_the_argmax_and_ranks_are_a_permutation(seed, levels):
    scores, _ = table(seed, clips=20, classes=6, levels=levels)
    ranks = np.stack([true_ranks(scores, np.full(20, k)) for k in range(6)], axis=1)
    assert (np.sort(ranks, axis=1) == np.arange(1, 7)).all()
    assert (ranks.argmin(axis=1) == scores.argmax(axis=1)).all()


@given(st.integers(0, 10_000))
def test_restricting_candidates_never_lowers_accuracy(seed):
    """Accuracy among the candidates of a subset >= that of the same clips among all."""
    scores, targets = table(seed, clips=40, classes=9)
    subset = np.random.default_rng(seed).permutation(9)[:5]
    rows = np.isin(targets, subset)
    everything = true_ranks(scores[rows], targets[rows])
    position = {k: i for i, k in enumerate(subset)}
    restricted = true_ranks(scores[rows][:, subset], [position[k] for k in targets[rows]])
    assert (restricted <= everything).all()


def test_several_right_answers_count_once():
    scores = np.array([[0.1, 0.5, 0.9], [0.9, 0.5, 0.1]])
    truth = np.array([[True, True, False], [False, True, True]])
    assert true_ranks(scores, truth).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        ([[0.0, float("nan")]], [0], "1 of 1 rows of scores hold NaN"),
        ([0.0, 1.0], [0, 1], r"scores must be \[clips, candidates\]"),
        ([[0.0, 1.0]], [2], r"positions in 0\.\.1"),
        ([[0.0, 1.0]], [0, 1], "must be 1 positions"),
        ([[0.0, 1.0]], np.array([[False, False]]), "a right candidate in every row"),
    ],
)
def test_bad_tables_are_refused(scores, targets, message):
    with pytest.raises(ValueError, match=message):
        true_ranks(scores, targets)


def test_no_clip_gives_nan_not_zero():
    assert math.isnan(top_k_accuracy([], 1))
    assert math.isnan(mean_class_accuracy([], [], 3))
    assert all(math.isnan(value) for value in mean_and_std([]))


def test_std_is_the_population_one():
    """BIKE's README: 70.14, 68.31, 67.15 -> 68.53 +- 1.23, which is ddof 0 (ddof 1 gives 1.51)."""
    mean, std = mean_and_std([70.14, 68.31, 67.15])
    assert (round(mean, 2), round(std, 2)) == (68.53, 1.23)
    assert per_split([0.5, math.nan, 0.7]) == {
        "mean": pytest.approx(0.6),
        "std": pytest.approx(0.1),
        "ddof": 0,
        "splits": 2,
    }


def test_harmonic_mean():
    assert harmonic_mean(0.6, 0.3) == pytest.approx(0.4)
    assert harmonic_mean(0.0, 0.0) == 0.0
    assert harmonic_mean(0.5, 0.0) == 0.0
    assert math.isnan(harmonic_mean(math.nan, 0.5))


@given(st.floats(0, 1), st.floats(0, 1))
def test_harmonic_mean_lies_between_and_never_above_the_mean(a, b):
    value = harmonic_mean(a, b)
    assert min(a, b) - 1e-12 <= value <= (a + b) / 2 + 1e-12


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.booleans())
def test_stacking_curve_is_brute_force(seed, per_class):
    generator = np.random.default_rng(seed)
    scores = softmax(generator.normal(size=(30, 6)))
    targets, seen = generator.integers(0, 6, 30), np.array([1, 1, 0, 0, 1, 0], dtype=bool)
    curve = stacking_curve(scores, targets, seen, per_class)
    assert (np.diff(curve.gamma) > 0).all()
    for gamma, s, u in zip(curve.gamma, curve.seen, curve.unseen, strict=True):
        right = true_ranks(scores - gamma * seen, targets) == 1
        if per_class:
            each = class_accuracy(right, targets, 6)
            expected = [np.nanmean(each[seen]), np.nanmean(each[~seen])]
        else:
            expected = [right[seen[targets]].mean(), right[~seen[targets]].mean()]
        assert [s, u] == pytest.approx(expected)


def test_stacking_curve_ends_and_area():
    scores, targets = np.eye(4), np.arange(4)
    curve = stacking_curve(scores, targets, [True, True, False, False])
    # A model that is always right: all seen right at one end, all unseen at the other, both in between.
    assert (curve.seen[0], curve.unseen[0]) == (1, 0)
    assert (curve.seen[-1], curve.unseen[-1]) == (0, 1)
    assert curve.area == pytest.approx(1)
    assert curve.best() == (0.0, 1.0)
    with pytest.raises(ValueError, match="one seen and one unseen"):
        stacking_curve(scores, targets, [True] * 4)


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    # Wilson 1927 / Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval(hits, total, low, high):
    assert wilson_interval(hits, total) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_of_nothing_says_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_bootstrap_interval_covers_and_is_repeatable():
    values = np.random.default_rng(1).random(200) < 0.4
    low, high = bootstrap_interval(lambda rows: float(values[rows].mean()), 200)
    assert low < values.mean() < high
    assert (low, high) == bootstrap_interval(lambda rows: float(values[rows].mean()), 200)
    wilson = wilson_interval(int(values.sum()), 200)
    assert (low, high) == pytest.approx(wilson, abs=0.03)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a metric must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_metrics_load_offline_and_agree_with_the_functions(no_network, tmp_path, monkeypatch):
    scores, targets = table(0)
    accuracy = load_metric("zsar_accuracy", cache_dir=str(tmp_path)).compute(predictions=scores, references=targets)
    assert accuracy["top5"] == pytest.approx(top_k_accuracy(true_ranks(scores, targets), 5))
    assert accuracy["mean_class"] == pytest.approx(mean_class_accuracy(scores.argmax(1) == targets, targets, 7))

    seen = [True, True, True, False, False, False, False]
    metric = load_metric("zsar_generalized", cache_dir=str(tmp_path))
    result = metric.compute(predictions=scores, references=targets, seen=seen, return_curve=True)
    assert result["harmonic"] == pytest.approx(harmonic_mean(result["seen"], result["unseen"]))
    assert result["best_harmonic"] >= result["harmonic"]
    assert len(result["curve"]["gamma"]) == len(result["curve"]["seen"])
    moved = load_metric("zsar_generalized", cache_dir=str(tmp_path)).compute(
        predictions=scores, references=targets, seen=seen, gamma=result["best_gamma"]
    )
    assert moved["harmonic"] == pytest.approx(result["best_harmonic"])

    truth = (scores > 0.5).astype(int)
    multilabel = load_metric("zsar_multilabel", cache_dir=str(tmp_path)).compute(predictions=scores, references=truth)
    assert multilabel["map"] == pytest.approx(1)


def test_metrics_load_through_the_library_as_well(no_network, tmp_path):
    scores, targets = table(0)
    metric = evaluate.load(metric_path("zsar_accuracy"), cache_dir=str(tmp_path))
    metric.add_batch(predictions=scores[:30], references=targets[:30])
    metric.add_batch(predictions=scores[30:], references=targets[30:])
    assert metric.compute(top_k=(1,))["top1"] == pytest.approx((scores.argmax(1) == targets).mean())


def test_unknown_metric():
    with pytest.raises(ValueError, match="There is no metric named 'accuracy'. Available: zsar_accuracy"):
        load_metric("accuracy")
