"""Average precision of temporal detections: official numbers, cases by hand, and properties."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_zsar.evaluation.metrics import load_metric
from hf_zsar.evaluation.metrics.localization import TEMPORAL_IOUS, localization_map, temporal_iou
from tests.conftest import GOLDEN_DIR


CASES_FILE = GOLDEN_DIR / "localization_map/cases.json"
CASES = json.loads(CASES_FILE.read_text(encoding="utf-8")) if CASES_FILE.is_file() else {"cases": []}


def segment(start, end, label="a", video="v", **more):
    return {"video": video, "label": label, "start": start, "end": end, **more}


@pytest.mark.parametrize("grid", TEMPORAL_IOUS)
def test_golden_official_numbers(grid):
    if not CASES["cases"]:
        pytest.skip(f"no {CASES_FILE.name} in {CASES_FILE.parent}: set HF_ZSAR_GOLDEN")
    assert TEMPORAL_IOUS[grid] == pytest.approx(CASES["tiou"][grid], abs=1e-15)
    for case in CASES["cases"]:
        found = localization_map(case["ground_truth"], case["predictions"], CASES["tiou"][grid])
        wanted = case[grid]
        assert found["average_map"] == pytest.approx(wanted["average_mAP"], abs=1e-9)
        assert found["map"] == pytest.approx(wanted["mAP"], abs=1e-9)
        assert set(found["average_precision"]) == set(wanted["average_precision"])
        for label, row in wanted["average_precision"].items():
            assert found["average_precision"][label] == pytest.approx(row, abs=1e-9)


def test_by_hand():
    truths = [segment(0, 10), segment(20, 30)]
    # Right, the same truth again, right at IoU 0.6, in a video without truth.
    predictions = [
        segment(0, 10, score=0.9),
        segment(1, 10, score=0.8),
        segment(22, 28, score=0.7),
        segment(0, 10, video="w", score=0.6),
    ]
    found = localization_map(truths, predictions, (0.5, 0.75))
    # At 0.5 right, wrong, right: 1/2 * 1 + 1/2 * 2/3. At 0.75 only the first: 1/2.
    assert found["map"] == pytest.approx([0.5 + 1 / 3, 0.5])
    assert found["average_map"] == pytest.approx((5 / 6 + 0.5) / 2)


def test_a_taken_truth_leaves_the_second_best():
    truths = [segment(0, 10), segment(2, 12)]
    predictions = [segment(0, 10, score=0.9), segment(0, 11, score=0.8)]
    assert localization_map(truths, predictions, (0.5,))["map"] == [1.0]


def test_labels_without_truth_or_prediction():
    found = localization_map([segment(0, 1, "a"), segment(0, 1, "b")], [segment(0, 1, "a", score=1)], (0.5,))
    assert found["average_precision"] == {"a": [1.0], "b": [0.0]} and found["map"] == [0.5]
    with_stranger = [segment(0, 1, "a", score=1), segment(0, 1, "c", score=2)]
    assert localization_map([segment(0, 1, "a")], with_stranger, (0.5,))["map"] == [1.0]


def test_iou():
    spans = np.array([[0, 10], [5, 15], [20, 30], [3, 3.0]])
    assert temporal_iou(np.array([0.0, 10.0]), spans) == pytest.approx([1, 1 / 3, 0, 0])
    assert temporal_iou(np.array([3.0, 3.0]), spans) == pytest.approx([0, 0, 0, 0])


@pytest.mark.parametrize(
    ("truths", "predictions", "message"),
    [
        ([], [], "ground_truth is empty"),
        ([segment(5, 1)], [], "ends before it starts"),
        ([segment(0, float("nan"))], [], "not finite"),
        ([segment(0, 1)], [segment(0, 1)], "segment 0 has no score"),
        ([segment(0, 1)], [segment(0, 1, score=float("inf"))], "not finite"),
    ],
)
def test_what_is_refused(truths, predictions, message):
    with pytest.raises(ValueError, match=message):
        localization_map(truths, predictions)


spans = st.tuples(st.integers(0, 40), st.integers(1, 20), st.sampled_from("ab"), st.sampled_from("vw"))


@given(st.lists(spans, min_size=1, max_size=12), st.permutations(range(12)))
def test_the_truth_itself_is_perfect_and_order_is_nothing(rows, order):
    truths = [segment(start, start + length, label, video) for start, length, label, video in dict.fromkeys(rows)]
    scored = [{**truth, "score": 1 - position / 100} for position, truth in enumerate(truths)]
    assert localization_map(truths, scored)["average_map"] == pytest.approx(1.0)
    shuffled = [scored[position] for position in order if position < len(scored)]
    assert localization_map(truths[::-1], shuffled)["average_map"] == pytest.approx(1.0)
    shifted = [{**each, "start": each["start"] + 500, "end": each["end"] + 500} for each in scored]
    assert localization_map(truths, shifted)["average_map"] == 0.0


def test_as_an_evaluate_metric():
    metric = load_metric("zsar_localization")
    truths, predictions = [segment(0, 10)], [segment(0, 7, score=0.5)]
    found = metric.compute(predictions=[predictions], references=[truths], grid="thumos14")
    assert found["map"] == pytest.approx([1, 1, 1, 1, 1]) and found["temporal_ious"][0] == 0.3
    found = metric.compute(predictions=[predictions], references=[truths])
    assert found["average_map"] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="activitynet, thumos14"):
        metric.compute(predictions=[predictions], references=[truths], grid="coco")
