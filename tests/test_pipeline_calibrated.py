"""The pipeline with examples, with a calibrated bank, and with the score "none of these", for every method."""

from __future__ import annotations

import pytest
import torch

import hf_zsar
from hf_zsar import METHODS, LabelBank
from hf_zsar.modeling.calibration import Calibration
from tests.tiny_models import tiny_folder
from tests.videos import write_video


LABELS = ["cooking", "surfing", "reading a book"]
BACKGROUND = ["playing chess", "rowing a boat", "walking a dog", "riding a bike", "jumping"]
EVEN = Calibration(2.0, tuple(number / 20 for number in range(1, 20)), tuple(number / 20 for number in range(1, 20)))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return str(write_video(tmp_path_factory.mktemp("videos") / "clip.mp4", num_frames=20))


@pytest.fixture(scope="module", params=sorted(METHODS))
def classifier(request, tmp_path_factory):
    return hf_zsar.pipeline(tiny_folder(request.param, tmp_path_factory.mktemp(request.param)), device="cpu")


def logits_of(results) -> torch.Tensor:
    scores = {each["label"]: each["score"] for each in results}
    return torch.tensor([scores[label] for label in LABELS])


def test_logits_are_divided_by_the_temperature(classifier, video):
    raw = logits_of(classifier(video, LABELS, function_to_apply="none"))
    bank = classifier.label_bank(LABELS).calibrated(EVEN)
    assert torch.allclose(logits_of(classifier(video, label_bank=bank)), (raw / 2).softmax(0), atol=1e-5)
    assert torch.allclose(
        logits_of(classifier(video, label_bank=bank.select([2, 0, 1]))), (raw / 2).softmax(0), atol=1e-5
    )
    part = bank.select(LABELS[:2])  # of other labels nothing is known
    assert part.calibration == Calibration()


def test_a_set_of_labels(classifier, video):
    bank = classifier.label_bank(LABELS).calibrated(EVEN)
    every = classifier(video, label_bank=bank)
    for coverage in (0.1, 0.5, 0.9):
        least = EVEN.least_probability(coverage)
        kept = [each for each in every if each["score"] >= least] or every[:1]
        assert classifier(video, label_bank=bank, coverage=coverage) == kept


def test_none_of_these(classifier, video):
    asked = dict(unknown=True, background_labels=[*BACKGROUND, "cooking"])
    found = classifier(video, LABELS, **asked)
    joint = classifier.label_bank([*LABELS, *BACKGROUND]).with_background(len(LABELS))
    assert joint.labels[:3] == tuple(LABELS) and 0 < len(joint) - 3 <= len(BACKGROUND)
    shares = {each["label"]: each["score"] for each in classifier(video, label_bank=joint)}
    assert found["unknown"] == pytest.approx(1 - sum(shares[label] for label in LABELS), abs=1e-5)
    assert found["labels"] == classifier(video, LABELS)
    bank = classifier.label_bank(LABELS).calibrated(EVEN)
    answer = classifier(video, label_bank=bank, **asked, false_alarms=0.5)
    assert answer["is_unknown"] is (answer["unknown"] > EVEN.unknown_above(0.5))
    windows = classifier(video, LABELS, window=0.3, **asked)
    assert all(list(window) == ["start", "end", "labels", "unknown"] for window in windows)


def test_the_background_is_chosen_once_for_many_videos(classifier, video, monkeypatch):
    chosen = []
    choose = LabelBank.with_background
    monkeypatch.setattr(LabelBank, "with_background", lambda *args: chosen.append(args[1]) or choose(*args))
    asked = dict(unknown=True, background_labels=["mowing a lawn", *BACKGROUND])
    first, second = classifier([video] * 2, LABELS, **asked)
    assert chosen == [3] and first == second == classifier(video, LABELS, **asked)
    classifier(video, LABELS[:2], **asked)
    classifier(video, LABELS, unknown=True, background_labels=BACKGROUND[::-1])
    assert chosen == [3, 2, 3]


def test_the_background_is_that_of_kinetics_unless_given(classifier, video):
    assert 0 < classifier(video, LABELS, unknown=True)["unknown"] < 1


def test_probabilities_of_single_labels(classifier, video):
    raw = logits_of(classifier(video, LABELS, function_to_apply="none"))
    platt = torch.tensor([[0.5, 1.0], [0.1, -1.0], [2.0, 0.0]])
    bank = classifier.label_bank(LABELS).calibrated(EVEN, platt)
    found = logits_of(classifier(video, label_bank=bank, multi_label=True))
    assert torch.allclose(found, (platt[:, 0] * raw + platt[:, 1]).sigmoid(), atol=1e-5)
    turned = classifier(video, label_bank=bank.select([1, 2, 0]), multi_label=True)
    assert torch.allclose(logits_of(turned), found, atol=1e-5)


def test_examples_and_windows(classifier, video):
    model, bank = classifier.model, classifier.label_bank(LABELS)
    features = classifier.encode_videos(classifier.preprocess(video)["pixel_values_videos"])
    taught = bank.with_examples(features, ["state 3"], strength=30.0, ridge=1e-4).calibrated(EVEN)
    assert classifier(video, label_bank=taught)[0]["label"] == "state 3"
    assert model.score(features, taught).shape == (1, 4)
    assert len(classifier(video, label_bank=taught, window=0.3)[0]["labels"]) == 4
    again = taught.with_examples(features, ["cooking"])
    assert again.calibration == Calibration()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(coverage=0.9), "label_bank"),
        (dict(unknown=True, false_alarms=0.1), "label_bank"),
        (dict(false_alarms=0.1), "unknown=True"),
        (dict(coverage=0.9, multi_label=True), "leave out multi_label"),
        (dict(unknown=True, background_labels=["cooking"]), "not candidate labels"),
    ],
)
def test_what_does_not_go_together(classifier, video, options, words):
    with pytest.raises(ValueError, match=words):
        classifier(video, LABELS, **options)


def test_too_few_clips_are_said_before_a_video_is_read(classifier):
    bank = classifier.label_bank(LABELS).calibrated(Calibration(1.0, (0.1,), (0.1,)))
    with pytest.raises(ValueError, match="coverage 0.9 needs 9 calibration clips"):
        classifier("nothing.mp4", label_bank=bank, coverage=0.9)
    with pytest.raises(ValueError, match="needs 19 calibration clips"):
        classifier("nothing.mp4", label_bank=bank, unknown=True, false_alarms=0.05)


def test_a_file_keeps_a_calibration_and_a_tampered_one_is_refused(classifier, tmp_path):
    bank = classifier.label_bank(LABELS).calibrated(EVEN, torch.ones(3, 2))
    bank.save(tmp_path / "bank.safetensors")
    loaded = LabelBank.load(tmp_path / "bank.safetensors")
    assert loaded.calibration == EVEN and torch.equal(loaded["platt"], torch.ones(3, 2))
    bank.metadata["calibration"] = '{"temperature": -1, "wrong": [], "unknown": []}'
    with pytest.raises(ValueError, match="temperature"):
        bank.save(tmp_path / "bank.safetensors")
