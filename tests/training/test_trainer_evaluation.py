"""What the stock `Trainer` measures: every video once, against all candidates of its data set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import EvalPrediction

from hf_zsar.data import VideoDatasetError, load_video_dataset
from hf_zsar.modeling.candidates import Candidates
from hf_zsar.training import VideoTextCollator, class_accuracy, with_candidates
from tests.tiny_models import tiny_model, tiny_processor
from tests.training.options import Bench, accuracies, lively, measured_sets
from tests.training.runs import TRAINED


@pytest.fixture
def bench(rendered, tmp_path):
    return Bench("actionclip", rendered, tmp_path)


@torch.no_grad()
def plain_loop(model, processor, dataset, names):
    """Logits of one video at a time, by the three steps alone."""
    bank = model.encode_labels(**processor.prepare_labels(list(names)), labels=list(names))
    videos = [processor(videos=row["video"])["pixel_values_videos"] for row in dataset]
    return np.concatenate([model.score(model.encode_videos(video), bank).numpy() for video in videos])


@pytest.mark.parametrize("method", TRAINED)
def test_seen_unseen_and_generalized_equal_a_plain_loop_for_every_batch_size(method, rendered, tmp_path):
    bench, model, parts = Bench(method, rendered, tmp_path), lively(method), measured_sets()
    sets = {name: with_candidates(rows, names) for name, (rows, names) in parts.items()}
    expected, answers = {}, set()
    for name, (rows, names) in parts.items():
        logits = plain_loop(model, bench.processor, rows, names)
        labels = np.array([names.index(row["label"]) for row in rows])
        expected[name] = logits, labels, class_accuracy(EvalPrediction(logits, labels))
        answers.update((name, answer) for answer in logits.argmax(1).tolist())
    assert len(answers) > 6, "a model that always says the same proves little"
    losses = []
    for size in (1, 3, 8):
        trainer = bench.trainer(model, per_device_eval_batch_size=size)
        for name, (logits, labels, accuracy) in expected.items():
            given = trainer.predict(sets[name])
            assert given.predictions.shape == logits.shape
            np.testing.assert_allclose(given.predictions, logits, rtol=1e-3, atol=1e-3)
            assert given.label_ids.tolist() == labels.tolist()
            assert {key: given.metrics[f"test_{key}"] for key in accuracy} == accuracy, (name, size)
            losses.append(given.metrics["test_loss"])
    metrics = trainer.evaluate(sets)
    for name, (_, _, accuracy) in expected.items():
        assert {key: metrics[f"eval_{name}_{key}"] for key in accuracy} == accuracy
    np.testing.assert_allclose(losses[3:], losses[:3] * 2, rtol=1e-4)


def test_several_views_are_averaged_as_anywhere_else(bench):
    bench.processor.video_processor.num_crops = 3
    dataset = bench.dataset.select(range(3))
    expected = plain_loop(bench.new_model(), bench.processor, dataset, bench.names)
    np.testing.assert_allclose(bench.trainer().predict(with_candidates(dataset)).predictions, expected, rtol=1e-4)


@pytest.mark.parametrize("method", TRAINED)
def test_the_bank_is_encoded_once_for_each_evaluation_and_anew_when_weights_have_changed(method, rendered, tmp_path):
    bench = Bench(method, rendered, tmp_path)
    model, calls = bench.new_model(), []
    encode = model.encode_labels
    model.encode_labels = lambda *args, **kwargs: calls.append(kwargs["labels"]) or encode(*args, **kwargs)
    trainer = bench.trainer(model, per_device_eval_batch_size=4, learning_rate=0.05, max_steps=1)
    first = trainer.predict(with_candidates(bench.dataset)).predictions
    assert calls == [tuple(bench.names)]
    trainer.predict(with_candidates(bench.dataset, [*bench.names, "cooking"]))
    assert calls[1:] == [(*bench.names, "cooking")]
    trainer.train()
    calls.clear()
    second = trainer.predict(with_candidates(bench.dataset)).predictions
    assert calls == [tuple(bench.names)]
    np.testing.assert_allclose(
        second, plain_loop(model, bench.processor, bench.dataset, bench.names), rtol=1e-3, atol=1e-3
    )
    assert np.abs(first - second).max() > 1e-3
    batch = trainer.data_collator([with_candidates(bench.dataset)[0]])
    calls.clear()
    with torch.no_grad():
        model(**batch)
        model(**batch)
        next(p for n, p in model.named_parameters() if model.role_of(n) == "text").mul_(-2.0)
        model(**batch)
        assert len(calls) == 1, "weights changed in evaluation mode"
        other = trainer.data_collator([with_candidates(bench.dataset, ["cooking", *bench.names])[0]])
        assert model(**other).logits_per_video.shape == (1, 5)


def test_a_text_side_that_is_not_trained_is_encoded_once_for_the_whole_training(rendered, tmp_path):
    counts = {}
    for trained in (True, False):
        bench = Bench("stdd", rendered, tmp_path, {"train_text_tower": trained})
        model, calls = bench.new_model(), []
        encode = model.encode_labels
        model.encode_labels = lambda *args, encode=encode, calls=calls, **kwargs: (
            calls.append(1) or encode(*args, **kwargs)
        )
        bench.trainer(model, max_steps=3).train()
        counts[trained] = len(calls)
    assert counts == {True: 3, False: 1}


def test_workers_that_live_on_read_the_data_set_that_is_measured(bench):
    """One given to `evaluate` after another, the Trainer's own after both, and several at once."""
    two, three = (with_candidates(bench.dataset.select(range(count))) for count in (2, 3))
    own = with_candidates(bench.dataset.select(range(4)))
    counted = []

    def count(prediction):
        counted.append(len(prediction.label_ids))
        return {}

    persistent = {"dataloader_num_workers": 1, "dataloader_persistent_workers": True}
    trainer = bench.trainer(eval_dataset=own, compute_metrics=count, **persistent)
    stream = with_candidates(load_video_dataset(bench.videos, streaming=True))
    for rows in (two, three, stream, None, {"a": two, "b": three}):
        trainer.evaluate(rows)
    assert counted == [2, 3, 12, 4, 2, 3]
    kept = trainer.get_eval_dataloader(three)
    assert trainer.get_eval_dataloader(three) is kept, "its workers live on"


def test_every_last_video_is_measured(bench):
    """12 videos in batches of 5; of a stream, whatever the option says that would leave the last batch out."""
    seen = []

    def collect(prediction):
        seen.append(prediction.label_ids.tolist())
        return class_accuracy(prediction)

    bench.trainer(compute_metrics=collect, per_device_eval_batch_size=5).evaluate()
    stream = with_candidates(load_video_dataset(bench.videos, streaming=True))
    bench.trainer(compute_metrics=collect, per_device_eval_batch_size=5, dataloader_drop_last=True).evaluate(stream)
    assert seen == [bench.dataset["label"][:]] * 2


def test_rows_for_training_and_for_evaluation_are_not_confused(bench):
    with pytest.raises(ValueError, match=r"evaluation mode.*with_candidates\(\.\.\., training=False\)"):
        bench.trainer(eval_dataset=with_candidates(bench.dataset, training=True)).evaluate()
    with pytest.raises(ValueError, match=r"training mode.*with_candidates\(\.\.\., training=True\)"):
        bench.trainer(train_dataset=with_candidates(bench.dataset)).train()
    collator = VideoTextCollator.for_model(bench.new_model(), bench.processor, bench.names)
    plain = bench.trainer(data_collator=collator, eval_dataset=bench.dataset, remove_unused_columns=False)
    with pytest.raises(ValueError, match="evaluation mode"):
        plain.evaluate()  # columns of in-batch logits are not classes


# -- rows -------------------------------------------------------------------------------------------------------------


def test_candidates_of_another_list_are_found_by_name(bench):
    rows = with_candidates(bench.dataset, ["cooking", *reversed(bench.names)])
    assert [rows[i].label for i in (0, 11)] == [4, 1]
    assert rows.candidates == ("cooking", *reversed(bench.names)) and not rows.training and len(rows) == 12


def test_classes_that_do_not_fit_are_refused_with_both_lists(bench):
    with pytest.raises(VideoDatasetError, match=r"'red coming'.*\['cooking'\].*\['red coming', 'red falling'"):
        with_candidates(bench.dataset, ["cooking"])
    collator = VideoTextCollator(bench.processor, ["a", "b"])
    with pytest.raises(ValueError, match=r"\['red coming', .*the collator was made for \['a', 'b'\]"):
        collator([with_candidates(bench.dataset, training=True)[0]])
    fewer = with_candidates(bench.dataset, [*bench.names, "cooking"])
    with pytest.raises(ValueError, match="another row of the batch has"):
        collator([with_candidates(bench.dataset)[0], fewer[0]])
    with pytest.raises(ValueError, match="keep their data sets apart"):
        collator([with_candidates(bench.dataset)[0], with_candidates(bench.dataset, training=True)[0]])


def test_a_class_head_is_trained_on_its_own_classes(rendered, tmp_path):
    model, processor = tiny_model("rest", seen_class_names=["a", "b"]), tiny_processor("rest")
    with pytest.raises(ValueError, match=r"class head has \['a', 'b'\]"):
        VideoTextCollator.for_model(model, processor, ["b", "a"])
    with pytest.raises(ValueError, match="judged against"):  # in which order would the number count?
        VideoTextCollator.for_model(model, processor)([{"video": "a.mp4", "label": 0}])
    bench = Bench("rest", rendered, tmp_path)
    with pytest.raises(ValueError, match=r"red coming.*\['a', 'b'\]"):
        bench.trainer(model).train()
    trainer = bench.trainer(model)
    assert set(accuracies(trainer.evaluate())) == {"eval_top1", "eval_top5", "eval_mean_class_accuracy"}


@pytest.mark.parametrize(
    ("rows", "names", "words"),
    [
        ([{"clip": "a.mp4", "label": 0}], ["a"], "'clip', 'label'.*for the video"),
        ([{"video": "a.mp4", "class": 0}], ["a"], "'class', 'video'.*for the label"),
        ([{"video": "a.mp4", "label": 0}], None, "does not say its classes"),
        ([{"video": "a.mp4", "label": 3}], ["a", "b"], "label 3 is not a class id: there are 2"),
        ([{"video": "a.mp4", "label": -1}], ["a", "b"], "label -1 is not a class id"),
        ([{"video": "a.mp4", "label": 0.5}], ["a", "b"], "0.5 is neither"),
        ([{"video": "a.mp4", "label": "c"}], ["a", "b"], r"'c'.*\['a', 'b'\]"),
        ([{"video": "a.mp4", "label": "a"}], ["a", "b", "a"], "more than once"),
        ([{"video": "a.mp4", "label": "a"}], "a", "list of class names"),
        ({"train": [], "test": []}, ["a"], "several data sets"),
    ],
    ids=["video", "label", "names", "id", "unlabeled", "half", "name", "twice", "string", "splits"],
)
def test_what_is_wrong_with_a_data_set_is_said_before_training(rows, names, words):
    with pytest.raises(VideoDatasetError, match=words):
        with_candidates(rows, names)


def test_candidates_are_given_once(bench):
    with pytest.raises(VideoDatasetError, match="candidates already"):
        with_candidates(with_candidates(bench.dataset))


def test_a_random_sampler_is_not_evaluated_with(bench):
    bench.processor.video_processor.sampling = "tsn_random"
    with pytest.raises(ValueError, match="tsn_random.*evaluate with 'uniform'"):
        bench.trainer().evaluate()


def test_a_video_that_cannot_be_read_is_never_left_out_of_an_evaluation(bench, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    rows = with_candidates([{"video": str(tmp_path / "broken.mp4"), "label": 0}], bench.names)
    collator = VideoTextCollator.for_model(bench.new_model(), bench.processor, on_error="skip")
    with pytest.raises(ValueError, match=r"broken\.mp4"):
        bench.trainer(data_collator=collator, eval_dataset=rows).evaluate()


# -- banks of candidates ----------------------------------------------------------------------------------------------


def candidates_of(processor, names, **ids):
    """As a collator makes them: for training with `label_ids`."""
    return Candidates(dict(processor.prepare_labels(list(names))), tuple(names), **ids)


def test_the_bank_of_an_evaluation_is_kept_and_knows_its_names(bench):
    model, one = bench.new_model(), ("cooking", "surfing")
    with torch.no_grad():
        bank = candidates_of(bench.processor, one).bank_of(model)
        assert tuple(bank.labels) == one
        assert candidates_of(bench.processor, one).bank_of(model) is bank
        renamed = replace(candidates_of(bench.processor, one), names=("boiling", "swimming"))
        assert tuple(renamed.bank_of(model).labels) == renamed.names, "the same tokens, other classes"


def test_a_bank_of_older_weights_is_dropped(rendered, tmp_path):
    """Where the text side is static, one bank serves all steps, until an evaluation begins or ends."""
    bench = Bench("stdd", rendered, tmp_path, config={"train_text_tower": False})
    model = bench.new_model().train()
    mine = candidates_of(bench.processor, ("cooking", "surfing"), label_ids=torch.arange(2))
    bank = mine.bank_of(model)
    assert mine.bank_of(model.train()) is bank
    assert mine.bank_of(model.eval().train()) is not bank


def test_a_stream_is_told_its_epoch(bench):
    class Stream(torch.utils.data.IterableDataset):
        epoch = 0

        def set_epoch(self, epoch):
            self.epoch = epoch

        def __iter__(self):
            yield {"video": f"{self.epoch}.mp4", "label": 0}

    stream = with_candidates(Stream(), bench.names, training=True)
    stream.set_epoch(3)
    assert next(iter(stream)).row["video"] == "3.mp4"
    with_candidates(iter([]), bench.names).set_epoch(3)  # one that does not shuffle


# -- metrics ----------------------------------------------------------------------------------------------------------


def test_class_accuracy():
    logits = np.eye(6)[[0, 1, 2, 2, 3, 0]]
    labels = np.array([0, 1, 2, 3, 3, 5])
    metrics = class_accuracy(EvalPrediction(logits, labels))
    assert metrics == {
        "top1": pytest.approx(4 / 6),
        "top5": pytest.approx(5 / 6),  # the last class is sixth of six: ties go to the first
        "mean_class_accuracy": pytest.approx((1 + 1 + 1 + 0.5 + 0) / 5),
    }
    assert class_accuracy(EvalPrediction([logits[:2], logits[2:]], [labels[:2], labels[2:]])) == metrics


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        (np.full((2, 3), np.nan), np.array([0, 1]), "NaN"),
        (np.zeros((2, 3)), np.array([0, 3]), "positions in 0..2"),
        (np.zeros(2), np.array([0, 1]), "must be .clips, candidates"),
    ],
)
def test_scores_that_mean_nothing_are_refused(logits, labels, words):
    with pytest.raises(ValueError, match=words):
        class_accuracy(EvalPrediction(logits, labels))
