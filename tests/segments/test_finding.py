"""`pipe.segments`: with a model that knows the truth, with every method, live, and over a long video."""

from __future__ import annotations

import itertools
import json
import resource

import numpy as np
import pytest
import torch

import hf_zsar
from hf_zsar import METHODS
from hf_zsar.evaluation.metrics.localization import localization_map
from hf_zsar.segments.encoding import Frame, MeanOfFrames, WholeClips, frame_use, stretches
from hf_zsar.segments.finding import SegmentOptions
from hf_zsar.segments.shots import ShotDetector
from tests.joined_clips import join, real_clips
from tests.segments.oracle import NUM_FRAMES, as_found, made_clips, oracle, still
from tests.tiny_models import TINY, tiny_folder, tiny_model, tiny_processor
from tests.videos import write_video


LABELS = ["cooking", "surfing", "reading a book"]


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    """Clips, videos of them and their truths."""
    folder = tmp_path_factory.mktemp("joined")
    clips = made_clips(folder, [1.5, 2, 3, 4, 6, 9])
    paths = [folder / f"joined{seed}.mp4" for seed in range(2)]
    return clips, paths, [join(clips, path, (40, 50), seed, marked=True) for seed, path in enumerate(paths)]


@pytest.mark.parametrize("pools", [True, False])
def test_an_oracle_loses_nothing(joined, pools):
    clips, paths, truths = joined
    pipe, labels = oracle(clips, pools), sorted({clip.label for clip in clips})
    truth, found = [], []
    for path, segments in zip(paths, truths, strict=True):
        truth += as_found(segments, path.stem)
        found += as_found(pipe.segments(str(path), labels, num_frames=NUM_FRAMES), path.stem)
    result = localization_map(truth, found)
    assert result["map"][0] >= 0.95 and result["average_map"] > 0.8


def test_background_becomes_no_segment(joined):
    clips, paths, truths = joined
    pipe = oracle(clips)
    known = sorted({clip.label for clip in clips})[1:]
    found = pipe.segments(str(paths[0]), known)
    assert (
        localization_map(as_found([each for each in truths[0] if each["label"] in known]), as_found(found))["map"][0]
        > 0.9
    )
    unknown = np.array([[each["start"], each["end"]] for each in truths[0] if each["label"] not in known])
    assert len(unknown)
    for each in found:
        overlap = np.minimum(each["end"], unknown[:, 1]) - np.maximum(each["start"], unknown[:, 0])
        assert overlap.max() < 0.3
    everywhere = pipe.segments(str(paths[0]), known, unknown=False)
    covered = sum(each["end"] - each["start"] for each in everywhere)
    assert covered > sum(each["end"] - each["start"] for each in found)


def test_live_gives_each_segment_when_it_closes(joined):
    clips, paths, _ = joined
    pipe, labels = oracle(clips), sorted({clip.label for clip in clips})
    whole = pipe.segments(str(paths[0]), labels)
    with open(paths[0], "rb") as file:
        live = list(pipe.segments(file, labels, live=True))
    key = lambda each: (each["start"], each["label"])  # noqa: E731
    assert [key(each) for each in sorted(live, key=key)] == [key(each) for each in sorted(whole, key=key)]
    asked = 0

    def camera():
        nonlocal asked
        for second in itertools.count():
            asked = second
            yield second, still(1 + second // 10 % 2, 1)[0]

    reach = 2 * 2 / 2 + 2 * 0.5 + 1.0  # half of the widest window, the filter, and a picture a second
    for number, segment in enumerate(itertools.islice(pipe.segments(camera(), labels, live=True), 5)):
        assert segment["end"] == pytest.approx(10 * (number + 1), abs=1)
        assert asked - segment["end"] <= reach + 1


def test_each_frame_is_encoded_once_by_a_model_that_pools(joined):
    clips, paths, _ = joined
    pipe = oracle(clips)
    pipe.segments(str(paths[0]), [clips[0].label, clips[-1].label], window=2, stride=0.5)
    duration = pipe.processor.video_processor.sample(str(paths[0])).info.duration
    tried = 4  # to see that it pools
    assert pipe.frames_encoded <= tried + NUM_FRAMES * (duration / 2 + 1)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method(method, tmp_path):
    pipe = hf_zsar.pipeline(tiny_folder(method, tmp_path / "model"), device="cpu")
    video = str(write_video(tmp_path / "clip.mp4", num_frames=60))
    options = dict(window=0.5, stride=0.25, scales=(1, 2), high=1e-6, low=1e-7, unknown=False)
    found = pipe.segments(video, LABELS, **options)
    assert {each["label"] for each in found} == set(LABELS)
    for each in found:
        assert list(each) == ["label", "start", "end", "score"]
        assert 0 <= each["start"] < each["end"] <= 2.5 + 1e-6 and 0 < each["score"] <= 1
    bank = pipe.label_bank(LABELS)
    assert pipe.segments(video, label_bank=bank, **options) == found


POOLING = {
    "actionclip": {"meanP"},
    "rest": {"transfer_only"},
    "stdd": set(),
    "dasti": set(),
    "video_text": {"", "siglip", "metaclip_2", "tipsv2"},
}


@pytest.mark.parametrize(
    ("method", "variant"), [(method, each) for method in sorted(METHODS) for each in ("", *TINY[method].variants)]
)
def test_which_models_pool_frames(method, variant):
    overrides = TINY[method].variants.get(variant, {})
    if variant == "meanP":
        overrides = {**overrides, "temporal_shift": False}
    pipe = hf_zsar.ZeroShotVideoClassificationPipeline(
        model=tiny_model(method, **overrides), processor=tiny_processor(method), device="cpu"
    )
    bank = pipe.label_bank(LABELS)
    video = torch.randn(1, 4, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    score = lambda features: pipe.score_features(features, label_bank=bank)["logits"]  # noqa: E731
    use = frame_use(pipe, 4, video, score)
    assert isinstance(use, MeanOfFrames if variant in POOLING[method] else WholeClips)
    together = score(pipe.encode_videos(video))
    assert variant == "random_evaluation" or torch.allclose(
        score(use.features([list(use.keep(video[0]))])), together, atol=1e-3
    )


@pytest.mark.parametrize(("sim_header", "kind"), [("meanP", MeanOfFrames), ("Transf", WholeClips)])
def test_frames_are_pooled_in_coarse_types_too(sim_header, kind):
    pipe = hf_zsar.ZeroShotVideoClassificationPipeline(
        model=tiny_model("actionclip", sim_header=sim_header, temporal_shift=False).bfloat16(),
        processor=tiny_processor("actionclip"),
        device="cpu",
    )
    bank = pipe.label_bank(LABELS)
    score = lambda features: pipe.score_features(features, label_bank=bank)["logits"]  # noqa: E731
    assert isinstance(frame_use(pipe, 4, torch.zeros(3, 32, 32), score), kind)


def frame(number, shot):
    return Frame(float(number), number + 1.0, shot, torch.tensor(number))


def numbers(windows):
    return [[int(value) for value in window] for window in windows]


def test_stretches_by_hand():
    shots = [0, 0, 0, 0, 0, 1, 1, 1]
    cells = [[frame(2 * cell + place, shots[2 * cell + place]) for place in range(2)] for cell in range(4)]
    found = list(stretches(cells, 4, (1, 2)))
    # The third cell holds a cut: two stretches. No window holds frames of two shots.
    assert [(each.start, each.end, each.shot) for each in found] == [
        (0, 2, 0),
        (2, 4, 0),
        (4, 5, 0),
        (5, 6, 1),
        (6, 8, 1),
    ]
    assert [numbers(each.windows) for each in found] == [
        [[0, 1, 2], [0, 1, 2, 3, 4]],
        [[1, 2, 3, 4], [0, 1, 2, 3, 4]],
        [[3, 4], [1, 2, 3, 4]],
        [[5, 6], [5, 6, 7]],
        [[5, 6, 7], [5, 6, 7]],
    ]


@pytest.mark.parametrize("scales", [(1,), (1, 3)])
def test_stretches_hold_what_windows_still_need(scales):
    taken = 0

    def cells():
        nonlocal taken
        for cell in range(50):
            taken = cell + 1
            yield [frame(2 * cell + place, 0) for place in range(2)]

    for number, stretch in enumerate(stretches(cells(), 4, scales)):
        assert len(stretch.windows[-1]) <= 4 * scales[-1]
        assert taken <= number + 2 + scales[-1]  # half of the widest window ahead, and no more


def test_shots():
    detector = ShotDetector()
    rng = np.random.default_rng(0)
    scenes = torch.tensor(rng.random((3, 3, 4, 4)), dtype=torch.float32)
    scenes = scenes.repeat_interleave(16, dim=-1).repeat_interleave(16, dim=-2)
    frames = torch.stack([torch.roll(scenes[place // 8], place, dims=-1) for place in range(24)])
    assert detector.number(frames[:10]) + detector.number(frames[10:]) == [0] * 8 + [1] * 8 + [2] * 8
    assert set(ShotDetector().number(torch.zeros(5, 3, 16, 16))) == {0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(window=2.0, stride=0.7), "whole number of strides"),
        (dict(window=0), "window and stride"),
        (dict(window=1.0, stride=2.0), "stride <= window"),
        (dict(scales=()), "scales"),
        (dict(scales=(0,)), "scales"),
        (dict(high=0.1, low=0.2), "low <= high"),
        (dict(low=0.0), "low"),
        (dict(smooth=-1.0), "smooth"),
    ],
)
def test_options_that_mean_nothing(options, message):
    with pytest.raises(ValueError, match=message):
        SegmentOptions(**options)


def test_an_option_of_nobody_is_named(joined):
    pipe = oracle(joined[0])
    with pytest.raises(ValueError, match="did you mean"):
        pipe.segments("a.mp4", LABELS, widnow=2)
    with pytest.raises(ValueError, match="candidate_labels"):
        pipe.segments("a.mp4")


@pytest.mark.slow
def test_an_hour_runs_in_flat_memory(joined):
    pipe = oracle(joined[0])
    labels = sorted({clip.label for clip in joined[0]})

    def camera(seconds):
        return ((second, still(1 + second // 10 % 4, 1)[0]) for second in range(seconds))

    list(pipe.segments(camera(120), labels, live=True))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = sum(1 for _ in pipe.segments(camera(3600), labels, live=True))
    assert found == 270  # two of the four pictures in turn have one label
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KiB


@pytest.mark.slow
def test_real_clips(clips_dir, clips_manifest, tmp_path):
    """An oracle finds everything; what the embedded default finds is printed."""
    clips = real_clips(clips_dir, clips_manifest)
    labels = clips_manifest["labels"]
    truth, right = [], []
    embedded, knowing = hf_zsar.pipeline(), oracle(clips)
    for seed in range(3):
        marked = tmp_path / f"marked{seed}.mp4"
        truth += as_found(join(clips, marked, (120, 180), seed, marked=True), str(seed))
        right += as_found(knowing.segments(str(marked), labels), str(seed))
    assert localization_map(truth, right)["map"][0] >= 0.95
    plain = as_found(join(clips, tmp_path / "plain.mp4", (60, 90), seed=0))
    guessed = as_found(embedded.segments(str(tmp_path / "plain.mp4"), labels, high=0.2, low=0.1))
    found = localization_map(plain, guessed)
    print(json.dumps({"mAP@0.5 of the embedded default": found["map"][0], "average": found["average_map"]}))
    assert found["map"][0] > 0.02  # by chance below 1 / 42 of perfect boundaries
