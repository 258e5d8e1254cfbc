"""Evaluation of segments by protocol: splits, ground truth, what is found per class and length, the command."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hf_zsar.cli import localization as command
from hf_zsar.cli import main
from hf_zsar.evaluation.localization import (
    LOCALIZATION,
    Finder,
    choose,
    class_splits,
    ground_truth,
    localization_report,
    score_localization,
)
from hf_zsar.segments.annotations import VideoSegments
from hf_zsar.segments.formats import write_segments
from tests.conftest import GOLDEN_DIR
from tests.joined_clips import join
from tests.segments.oracle import made_clips, oracle
from tests.tiny_models import tiny_folder


CLASSES = [f"class {number:03d}" for number in range(200)]


def cut(label, start, end, **more):
    return {"label": label, "start": start, "end": end, **more}


TRUTH = [
    VideoSegments("a", (cut("run", 0, 10), cut("jump", 20, 65), cut("swim", 70, 80))),
    VideoSegments("b", (cut("ski", 0, 200), cut("run", 210, 230))),
]


def found(*skip):
    return [
        VideoSegments(v.video, tuple({**each, "score": 0.5} for each in v.segments if each["label"] not in skip))
        for v in TRUTH
    ]


def test_splits():
    splits = class_splits(CLASSES)
    assert [split.name for split in splits] == [
        "all",
        *(f"{share}/{seed}" for share in (75, 50) for seed in range(10)),
    ]
    assert {len(split.classes) for split in splits} == {200, 50, 100}
    assert len({split.classes for split in splits}) == 21 and class_splits(reversed(CLASSES)) == splits
    assert all(list(split.classes) == sorted(set(split.classes)) for split in splits)
    assert [len(choose(splits, names)) for names in (None, ["75"], ["50/3", "all"])] == [21, 10, 2]
    with pytest.raises(ValueError, match="no split '60'"):
        choose(splits, ["75", "60"])


def test_the_numbers_of_a_record():
    record = score_localization(
        TRUTH, lambda split: found("jump"), "activitynet-localization", ["all"], videos={"scored": 2, "expected": 2}
    )
    assert record["summary"]["all"]["average_map"] == pytest.approx(3 / 4) and record["summary"]["all"]["std"] is None
    assert record["per_class"] == {"jump": 0.0, "run": 1.0, "ski": 1.0, "swim": 1.0}
    lengths = {name: (each["recall"], each["truths"]) for name, each in record["per_length"].items()}
    assert lengths == {"XS": (1.0, 3), "S": (0.0, 1), "M": (None, 0), "L": (None, 0), "XL": (1.0, 1)}
    report = localization_report(record)
    assert "75.0" in report and "180 s and more" in report and "@0.95" in report
    json.dumps(record)


def test_a_split_measures_its_classes_alone():
    asked = []

    def predictions(split):
        asked.append(split)
        return found("run")

    record = score_localization(TRUTH, predictions, "thumos14", ["50"])
    assert len(record["results"]) == len(asked) == 10 and record["protocol"]["temporal_ious"][0] == 0.3
    for split, result in zip(asked, record["results"], strict=True):
        assert set(result["average_precision"]) == set(split.classes) and len(split.classes) == 2
        assert result["average_map"] == pytest.approx(0.5 if "run" in split.classes else 1.0)
        assert result["truths"] == sum(each["label"] in split.classes for video in TRUTH for each in video.segments)
    mean = np.mean([result["average_map"] for result in record["results"]])
    assert record["summary"]["50"]["average_map"] == pytest.approx(mean)
    with pytest.raises(ValueError, match="no protocol"):
        score_localization(TRUTH, predictions, "coco")


@pytest.mark.parametrize("protocol", LOCALIZATION)
def test_golden_numbers_by_protocol(protocol):
    """The official numbers come out of the whole way as well, not of the metric alone."""
    path = GOLDEN_DIR / "localization_map/cases.json"
    if not path.is_file():
        pytest.skip(f"no {path.name}: set HF_ZSAR_GOLDEN")
    grid, _ = LOCALIZATION[protocol]
    for case in json.loads(path.read_text(encoding="utf-8"))["cases"]:
        # One entry a row: of equal scores the earlier one leads, so the order of the file is kept.
        truth, predicted = (
            [VideoSegments(row["video"], (row,)) for row in case[side]] for side in ("ground_truth", "predictions")
        )
        record = score_localization(truth, lambda split, found=predicted: found, protocol, ["all"])
        assert record["summary"]["all"]["average_map"] == pytest.approx(case[grid]["average_mAP"], abs=1e-9)
        assert record["summary"]["all"]["map"] == pytest.approx(case[grid]["mAP"], abs=1e-9)


def test_the_subset_of_the_annotations(tmp_path):
    rows = [cut("a", 1, 2)]

    def entry(subset, rows):
        listed = [{"label": row["label"], "segment": [row["start"], row["end"]]} for row in rows]
        return {"subset": subset, "annotations": listed}

    database = {
        "x": entry("training", rows),
        "y": entry("Test", rows),
        "z": entry("testing", []),
        "w": entry("validation", rows),
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"database": database}))
    assert [each.video for each in ground_truth(path, "validation")] == ["w"]
    assert [each.video for each in ground_truth(path, "test")] == ["y"]
    with pytest.raises(ValueError, match="no segments of the subset 'other'"):
        ground_truth(path, "other")


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    clips = made_clips(tmp_path_factory.mktemp("clips"), [2, 3, 4, 5, 2, 3, 4, 3])
    truth = []
    for name in ("v_one", "two"):
        segments = join(clips, folder / f"{name}.mp4", (20, 25), len(name), marked=True)
        truth.append(VideoSegments(name.removeprefix("v_"), tuple(segments)))
    write_segments(truth, folder / "truth.json", "activitynet")
    return folder, clips, truth


def test_a_model_is_measured_on_every_split_in_one_pass(joined):
    folder, clips, truth = joined
    pipe, names = oracle(clips), sorted({clip.label for clip in clips})
    splits = class_splits(names)[:2] + class_splits(names)[-1:]
    finder = Finder(
        pipe, [*truth, VideoSegments("three", truth[0].segments)], folder, splits, {}, say=lambda text: None
    )
    once = pipe.frames_encoded
    assert finder.missing == ["three"] and finder.broken == {}
    record = score_localization(truth, finder, "activitynet-localization", ["all", "50/9"])
    assert all(result["map"][0] > 0.9 for result in record["results"])
    again = oracle(clips)
    Finder(again, truth, folder, splits[:1], {}, say=lambda text: None)
    assert again.frames_encoded == once
    fewer = oracle(clips)
    Finder(fewer, truth, folder, splits[:1], {"num_frames": 4, "batch_size": 4}, say=lambda text: None)
    assert fewer.frames_encoded < 0.6 * once


def test_proposals_are_labeled(joined):
    folder, clips, truth = joined
    pipe = oracle(clips)
    splits = class_splits({clip.label for clip in clips})[:1]
    proposals = [
        VideoSegments(v.video, tuple({**each, "label": "proposal", "score": 0.9} for each in v.segments))
        for v in truth
    ]
    finder = Finder(pipe, truth, folder, splits, {}, proposals, say=lambda text: None)
    record = score_localization(truth, finder, "activitynet-localization", ["all"])
    assert record["summary"]["all"]["average_map"] > 0.95


def test_the_command(joined, tmp_path, capsys):
    folder, _, truth = joined
    results = tmp_path / "results.json"
    right = [VideoSegments(v.video, tuple({**each, "score": 1.0} for each in v.segments)) for v in truth]
    write_segments(right, results, "activitynet")
    base = ["evaluate", "--protocol", "activitynet-localization", "--annotations", str(folder / "truth.json")]
    plot, record = tmp_path / "plot.png", tmp_path / "record.json"
    argv = [*base, "--predictions", str(results), "--plot", str(plot), "--json", str(record)]
    assert main(argv) == 0
    assert "100.0" in capsys.readouterr().out and plot.stat().st_size > 10_000
    assert json.loads(record.read_text())["summary"]["all"]["average_map"] == pytest.approx(1.0)
    model = str(tiny_folder("video_text", tmp_path / "model"))
    assert main([*base, "--videos", str(folder), "--model", model, "--device", "cpu", "--split", "all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["videos"]["scored"] == 2


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--protocol", "thumos14"], "--annotations"),
        (["--protocol", "thumos14", "--annotations", "a.json"], "--predictions"),
        (
            ["--protocol", "thumos14", "--annotations", "a.json", "--videos", "v", "--dataset", "ucf101"],
            "--dataset is not",
        ),
        (["--protocol", "thumos14", "--annotations", "a.json", "--videos", "v"], "not a folder"),
        (["--manifest", "m.json", "--annotations", "a.json"], "--annotations is for"),
    ],
)
def test_what_does_not_go_together(argv, message, capsys):
    assert main(["evaluate", *argv]) == 2
    assert message in capsys.readouterr().err


def test_the_command_knows_the_protocols(capsys):
    assert tuple(LOCALIZATION) == command.PROTOCOLS
