"""Reliability, label sets and "none of these", on scores whose truth is known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hf_zsar.evaluation import evaluate_zero_shot
from hf_zsar.evaluation.reports import text_report
from hf_zsar.evaluation.trust import coverage_curve, detection, label_set, reliability
from hf_zsar.modeling.calibration import Calibration
from tests.evaluation.toy import color_pair, write_clip


CLASSES = ["running", "swimming", "eating", "reading", "rowing"]
BACKGROUND = ["surfing", "juggling"]


def test_a_model_that_knows_how_sure_it_is_has_no_error_and_a_boaster_has():
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 40_000)
    targets = (rng.uniform(size=40_000) > sure).astype(int)  # the first label as often as its probability says
    found = reliability(np.stack([sure, 1 - sure], axis=1), targets)
    assert found["ece"] < 0.01 and sum(found["clips"]) == 40_000
    assert np.allclose(found["confidence"], found["accuracy"], atol=0.03)
    boaster = reliability(np.tile([0.99, 0.01], (40_000, 1)), targets)
    assert boaster["ece"] == pytest.approx(0.99 - 0.75, abs=0.01)
    certain = reliability(np.eye(2), np.array([0, 1]))
    assert certain == {"ece": 0.0, "confidence": [1.0], "accuracy": [1.0], "clips": [2]}


def test_label_sets_by_hand():
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.2, 0.4, 0.4]])
    targets = np.array([0, 2, 0])
    assert label_set(probabilities, targets, 0.3) == (2 / 3, 2.0)
    assert label_set(probabilities, targets, 0.9) == (1 / 3, 1.0)  # the best one is always there
    found = coverage_curve(probabilities, targets, Calibration(wrong=(0.4, 0.75)))
    assert found["sets"] == [(1 / 3, 1.0), (2 / 3, 2.0), (1.0, 8 / 3)]
    # Two clips are enough for half and for 60 % (2/3), not for 70 %.
    assert found["promised"] == [[0.5, 2 / 3, 2.0], [0.6, 2 / 3, 2.0]]
    assert coverage_curve(probabilities, targets, Calibration())["promised"] == []


def test_detection_by_hand():
    known, unknown = np.arange(20.0), np.array([5.5, 18.03, 19.5, 30.0])
    found = detection(known, unknown)
    assert found["auroc"] == pytest.approx((6 + 19 + 20 + 20) / 80)
    assert found["fpr95"] == 1 / 4  # 95 % of the known ones lie at or below 18
    assert detection(np.zeros(3), np.zeros(2)) == {"auroc": 0.5, "fpr95": 1.0}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """A clip of each class in its own color; `rowing` looks like a background label."""
    folder = tmp_path_factory.mktemp("clips")
    numbers = [0, 1, 2, 3, 40]
    clips = [{"file": f"{number}.avi", "label": label} for number, label in zip(numbers, CLASSES, strict=True)]
    for number in numbers:
        write_clip(folder / f"{number}.avi", number)
    path = folder / "manifest.json"
    path.write_text(json.dumps({"labels": CLASSES, "clips": clips}))
    return path


def pair():
    model, processor = color_pair(CLASSES)
    processor.numbers |= dict(zip(BACKGROUND, (40, 60), strict=True))
    return model, processor


def test_clips_of_labels_that_are_no_candidates(manifest):
    record = evaluate_zero_shot(
        *pair(), manifest=manifest, unknown_labels=["rowing"], background_labels=[*BACKGROUND, "reading"]
    )
    entry = record["results"][0]
    assert entry["candidates"] == 4 and entry["metrics"]["top1"] == 1 and record["clips"]["scored"] == 4
    found = record["unknown"]
    assert found["labels"] == ["rowing"] and found["clips"] == {"known": 4, "unknown": 1}
    assert found["scores"]["background labels"] == found["scores"]["maximum score"] == {"auroc": 1.0, "fpr95": 0.0}
    report = text_report(record)
    assert "none of these, 1 clips against 4" in report and "maximum softmax" in report
    without = evaluate_zero_shot(*pair(), manifest=manifest)
    assert "unknown" not in without and "none of these" not in text_report(without)
    with pytest.raises(ValueError, match="flying"):
        evaluate_zero_shot(*pair(), manifest=manifest, unknown_labels=["flying"])
    with pytest.raises(ValueError, match="background_labels"):
        evaluate_zero_shot(*pair(), manifest=manifest, unknown_labels=["rowing"], background_labels=["running"])


def test_a_bank_counts_with_its_calibration(manifest):
    model, processor = pair()
    bank = model.build_label_bank(processor, CLASSES)
    asked = dict(manifest=manifest)
    plain = evaluate_zero_shot(model, processor, bank=bank, **asked)
    wrong = tuple(number / 20 for number in range(1, 20))
    calibrated = bank.calibrated(Calibration(4.0, wrong))
    record = evaluate_zero_shot(model, processor, bank=calibrated, **asked)
    confidence = [entry["results"][0]["reliability"]["confidence"] for entry in (plain, record)]
    assert min(confidence[0]) > max(confidence[1])
    assert [point[0] for point in record["results"][0]["coverage"]["promised"]] == [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
    assert "temperature 4" in text_report(record) and "temperature" not in text_report(plain)
    part = evaluate_zero_shot(
        model, processor, bank=calibrated, unknown_labels=["rowing"], background_labels=BACKGROUND, **asked
    )
    assert part["prompts"]["temperature"] == 1  # of other label sets nothing is known


def test_the_picture_has_a_reliability_diagram_and_label_sets(manifest):
    pytest.importorskip("matplotlib")
    from hf_zsar.plots.evaluation import result_figure

    model, processor = pair()
    bank = model.build_label_bank(processor, CLASSES).calibrated(Calibration(4.0, (0.1, 0.2, 0.3)))
    record = evaluate_zero_shot(model, processor, manifest=manifest, bank=bank)
    titles = {axes.get_title(loc="left"): axes for axes in result_figure(record).findobj(match=_is_axes)}
    error = 100 * record["results"][0]["metrics"]["ece"]
    assert f"reliability, ECE {error:.1f} %" in titles and "label sets" in titles
    assert [text.get_text() for text in titles["label sets"].get_legend().get_texts()] == [
        "calibrated: found",
        "asked for",
    ]
    plain = evaluate_zero_shot(model, processor, manifest=manifest)
    drawn = [
        axes for axes in result_figure(plain).findobj(match=_is_axes) if axes.get_title(loc="left") == "label sets"
    ]
    assert drawn[0].get_legend() is None


def _is_axes(artist) -> bool:
    from matplotlib.axes import Axes

    return isinstance(artist, Axes)
