"""Frame samplers: official index tables, and what holds for every length."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_zsar.processing.frame_sampling import SAMPLERS, get_sampler, numpy_generator


LENGTHS = st.integers(1, 5000)
COUNTS = st.integers(1, 40)
VIEWS = st.integers(1, 12)
SECONDS = st.floats(0.01, 10_000, allow_nan=False)
ONE_VIEW = {"actionclip", "actionclip_train", "mmaction", "bike", "bike_train", "bike_dense_train"}
# Wrapping around the end of a short video is what these do officially.
WRAPPING = {"bike_dense", "bike_dense_train"}


def golden_rows(golden_dir: Path, name: str) -> list[dict]:
    path = golden_dir / "frame_sampling" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"no {path.name} among the golden tables")
    rows = json.loads(path.read_text())["rows"]
    assert rows
    return rows


class Replay:
    """A generator that gives recorded draws."""

    def __init__(self, integers=(), fractions=()):
        self._integers, self._fractions = list(integers), list(fractions)

    def integers(self, low, high=None, size=None, endpoint=False):
        drawn = np.array([self._integers.pop(0) for _ in range(size)], dtype=int)
        assert ((drawn >= low) & (drawn < high)).all(), "a recorded draw outside the range asked for"
        return drawn

    def random(self, size=None):
        return np.array([self._fractions.pop(0) for _ in range(size)])


# Official tables -----------------------------------------------------------------------------------------------------


def test_golden_actionclip(golden_dir):
    for row in golden_rows(golden_dir, "actionclip_test"):
        assert SAMPLERS["actionclip"](row["num_frames"], row["num_segments"]).tolist() == [row["indices"]], row


def test_golden_actionclip_train(golden_dir):
    for row in golden_rows(golden_dir, "actionclip_train"):
        replay = Replay(row["draws"])
        drawn = SAMPLERS["actionclip_train"](row["num_frames"], row["num_segments"], generator=replay)
        assert drawn.tolist() == [row["indices"]], row
        if "allowed_ranges" in row:
            ours = SAMPLERS["actionclip_train"](row["num_frames"], row["num_segments"], generator=3)[0]
            assert all(low <= index <= high for index, (low, high) in zip(ours, row["allowed_ranges"], strict=True))


def test_golden_bike_val(golden_dir):
    for row in golden_rows(golden_dir, "bike_val"):
        assert SAMPLERS["bike"](row["num_frames"], row["num_segments"]).tolist() == [row["indices"]], row


def test_golden_bike_uniform_test(golden_dir):
    wrapped = 0
    for row in golden_rows(golden_dir, "bike_uniform_test"):
        arguments = (row["num_frames"], row["num_segments"], row["num_clips"])
        official = SAMPLERS["bike_uniform"](*arguments, bike_compat=True)
        assert official.ravel().tolist() == row["indices"], row
        ours = SAMPLERS["bike_uniform"](*arguments)
        wrapped += (ours != official).any()
        assert (np.diff(ours, axis=1) >= 0).all(), row
        if row["num_frames"] >= row["num_segments"]:
            assert (ours == official).all(), "the flag changes only videos shorter than the number of frames"
    assert wrapped, "no row shows the wrap-around"


def test_golden_bike_dense_test(golden_dir):
    for row in golden_rows(golden_dir, "bike_dense_test"):
        ours = SAMPLERS["bike_dense"](row["num_frames"], row["num_segments"], row["num_clips"])
        assert ours.ravel().tolist() == row["indices"], row


def test_golden_bike_train(golden_dir):
    for row in golden_rows(golden_dir, "bike_train"):
        draws = np.array(
            [SAMPLERS["bike_train"](row["num_frames"], row["num_segments"], generator=seed)[0] for seed in range(40)]
        )
        low, high = np.array(row["ranges"]).T
        assert ((draws >= low) & (draws <= high)).all(), row
        reach_both_ends = (high - low > 0) & (high - low < 6)
        assert (draws.min(0) == low)[reach_both_ends].all() and (draws.max(0) == high)[reach_both_ends].all(), row


def test_golden_bike_dense_train(golden_dir):
    for row in golden_rows(golden_dir, "bike_dense_train"):
        total, count = row["num_frames"], row["num_segments"]
        ours = SAMPLERS["bike_dense_train"](total, count, generator=5)[0]
        steps = np.diff(np.array(row["indices"])) % total
        assert (np.diff(ours) % total == steps).all(), row
        assert 0 <= ours[0] < max(1, total - 128), row
        if total <= 129:
            assert ours.tolist() == row["indices"], "nothing is random in a video of one window"


def test_golden_stdd_slowfast(golden_dir):
    for row in golden_rows(golden_dir, "stdd_pyav"):
        options = {"fps": row["fps"], "sampling_rate": row["sampling_rate"], "target_fps": row["target_fps"]}
        if row["view"] >= 0:
            clips = SAMPLERS["slowfast"](row["num_frames"], row["num_samples"], row["num_views"], **options)
            assert clips[row["view"]].tolist() == row["indices"], row
            continue
        top = row["train_start_range"][1]
        fraction = row["train_start"] / top if top else 0.0
        clip = SAMPLERS["slowfast_train"](
            row["num_frames"], row["num_samples"], generator=Replay(fractions=[fraction]), **options
        )
        # The fraction is the recorded start divided by its range, so the start may be off by a rounding error.
        assert np.abs(clip[0] - row["indices"]).max() <= int(float(row["train_start"]).is_integer()), row


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("actionclip", (100, 8), [5, 18, 30, 43, 55, 68, 80, 93]),
        ("actionclip", (37, 1), [18]),
        ("mmaction", (100, 8), [6, 18, 31, 43, 56, 68, 81, 93]),
        ("bike", (119, 8), [0, 14, 29, 44, 59, 74, 89, 104]),
        ("bike_dense", (300, 8, 1), [0, 16, 32, 48, 64, 80, 96, 112]),
        ("slowfast", (60, 8), [0, 18, 36, 54, 59, 59, 59, 59]),
        ("consecutive", (20, 16), list(range(16))),
        ("consecutive", (10, 16), [*range(10), 9, 9, 9, 9, 9, 9]),
    ],
)
def test_tables_of_the_official_codes(name, arguments, expected):
    assert SAMPLERS[name](*arguments)[0].tolist() == expected


def test_consecutive_windows_are_spread_by_whole_periods():
    clips = SAMPLERS["consecutive"](100, 16, 25)
    assert clips[:, 0].tolist() == [4 * number for number in range(25)]
    assert clips.max() == 99


def test_bike_wraps_only_when_asked():
    assert SAMPLERS["bike_uniform"](5, 8, 4, bike_compat=True)[1].tolist() == [4, 0, 0, 0, 1, 2, 2, 3]
    assert SAMPLERS["bike_uniform"](5, 8, 4)[1].tolist() == [0, 0, 1, 1, 2, 3, 3, 4]


# Properties ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, each in SAMPLERS.items() if each.unit == "frames"])
@given(total=LENGTHS, count=COUNTS, views=VIEWS, seed=st.integers(0, 2**32))
def test_index_samplers_stay_in_range_and_order(name, total, count, views, seed):
    sampler = SAMPLERS[name]
    views = 1 if name in ONE_VIEW else views
    random = {"generator": seed} if sampler.is_random else {}
    indices = sampler(total, count, views, **random)
    assert indices.shape == (views, count)
    assert np.issubdtype(indices.dtype, np.integer)
    assert indices.min() >= 0 and indices.max() < total
    if name not in WRAPPING:
        assert (np.diff(indices, axis=1) >= 0).all()
    if sampler.is_random:
        assert (indices == sampler(total, count, views, **random)).all(), "the same seed gives the same frames"


@given(duration=SECONDS, count=COUNTS, views=VIEWS)
def test_uniform_is_sorted_inside_and_symmetric(duration, count, views):
    times = SAMPLERS["uniform"](duration, count, views)
    assert times.shape == (views, count)
    assert (times > 0).all() and (times < duration).all()
    assert (np.diff(times.T.ravel()) > 0).all(), "views interleave"
    assert np.allclose(times + times[::-1, ::-1], duration), "view v mirrors view V-1-v"


@given(duration=SECONDS, count=COUNTS, views=VIEWS, length=st.floats(0.05, 20))
def test_dense_clips_stay_inside_and_mirror(duration, count, views, length):
    times = SAMPLERS["dense"](duration, count, views, clip_seconds=length)
    assert times.shape == (views, count)
    assert (times > 0).all() and (times < duration).all()
    assert (times.max(1) - times.min(1) <= min(length, duration)).all()
    assert np.allclose(times + times[::-1, ::-1], duration)


@given(duration=SECONDS, count=COUNTS, views=VIEWS, seed=st.integers(0, 2**32))
def test_tsn_random_takes_one_time_per_segment(duration, count, views, seed):
    times = SAMPLERS["tsn_random"](duration, count, views, generator=seed)
    assert times.shape == (views, count)
    assert ((times * count / duration).astype(int).clip(max=count - 1) == np.arange(count)).all()


@given(duration=SECONDS, fps=st.floats(0.1, 60), most=st.integers(1, 64))
def test_fps_gives_frames_by_duration(duration, fps, most):
    times = SAMPLERS["fps"](duration, 8, fps=fps, max_frames=most)
    assert times.shape == (1, min(max(1, round(duration * fps)), most))
    assert (times > 0).all() and (times < duration).all()


@given(total=st.integers(1, 3000), count=COUNTS)
def test_actionclip_train_of_short_videos_shows_every_frame(total, count):
    indices = SAMPLERS["actionclip_train"](total, count, generator=0)[0]
    if total <= count:
        assert set(indices.tolist()) == set(range(total))
    else:
        assert len(set(indices.tolist())) == count


# Generators and errors -----------------------------------------------------------------------------------------------


def test_generators_of_every_kind():
    by_seed = SAMPLERS["tsn_random"](10.0, 8, generator=7)
    assert (by_seed == SAMPLERS["tsn_random"](10.0, 8, generator=np.random.default_rng(7))).all()
    torch_generator = torch.Generator().manual_seed(7)
    first, second = (SAMPLERS["tsn_random"](10.0, 8, generator=torch_generator) for _ in range(2))
    assert (first != second).any(), "a torch generator moves on"
    again = SAMPLERS["tsn_random"](10.0, 8, generator=torch.Generator().manual_seed(7))
    assert (first == again).all()


def test_random_samplers_never_use_a_hidden_state():
    for name, sampler in SAMPLERS.items():
        if sampler.is_random:
            with pytest.raises(ValueError, match="generator"):
                sampler(30, 4)
            state = np.random.get_state()[1].copy()
            sampler(30, 4, generator=0)
            assert (state == np.random.get_state()[1]).all(), name
    with pytest.raises(ValueError, match="generator"):
        numpy_generator(None)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: get_sampler("unifrom"), "unifrom.*uniform"),
        (lambda: SAMPLERS["uniform"](0.0, 8), "length above 0"),
        (lambda: SAMPLERS["uniform"](float("nan"), 8), "length above 0"),
        (lambda: SAMPLERS["bike"](0, 8), "length above 0"),
        (lambda: SAMPLERS["uniform"](1.0, 0), "at least 1"),
        (lambda: SAMPLERS["uniform"](1.0, 8, 0), "at least 1"),
        (lambda: SAMPLERS["uniform"](1.0, 8, clip_seconds=2), "no option clip_seconds.*none"),
        (lambda: SAMPLERS["actionclip"](10, 8, 2), "one view"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
