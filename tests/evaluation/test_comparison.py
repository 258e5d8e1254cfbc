"""Paired bootstrap: right verdicts on made records, independence of order, and refusal of what is not comparable."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from hf_zsar.evaluation.comparison import compare


def record(hits: dict[str, list[bool]], clips: dict[str, list[str]] | None = None, dataset: str = "manifest") -> dict:
    """A record that holds what a comparison reads: split -> hit per clip."""
    clips = clips or {name: [f"{i}.mp4" for i in range(len(values))] for name, values in hits.items()}
    ids = sorted({clip for of_split in clips.values() for clip in of_split})
    return {
        "protocol": {"dataset": dataset, "id": "full", "split_hash": "s"},
        "classes": {"hash": "c"},
        "clips": {"ids": ids},
        "results": [
            {
                "split": name,
                "per_clip": {"clip": [ids.index(c) for c in clips[name]], "rank": [1 if hit else 2 for hit in values]},
            }
            for name, values in hits.items()
        ],
    }


def random_hits(seed: int, share: float, count: int = 400) -> list[bool]:
    return (np.random.default_rng(seed).random(count) < share).tolist()


def test_equal_results_do_not_differ():
    one = record({"full": random_hits(0, 0.5)})
    result = compare(one, one)
    assert (result.difference, result.low, result.high) == (0, 0, 0)
    assert result.p_value == 1
    assert not result.significant
    assert "not significant" in str(result)


def test_a_clear_difference_is_found_and_is_antisymmetric():
    a, b = record({"full": random_hits(0, 0.5)}), record({"full": random_hits(1, 0.7)})
    result = compare(a, b)
    expected = np.mean(random_hits(1, 0.7)) - np.mean(random_hits(0, 0.5))
    assert result.difference == pytest.approx(expected)
    assert result.low < expected < result.high
    assert result.significant and result.p_value < 0.001
    back = compare(b, a)
    assert back.difference == pytest.approx(-expected)
    assert (back.low, back.high) == pytest.approx((-result.high, -result.low))


def test_the_interval_is_the_paired_one():
    """B is A with ten more right of 400: clips on which both agree do not widen the interval."""
    first = random_hits(0, 0.5)
    second = list(first)
    for i in [i for i, hit in enumerate(first) if not hit][:10]:
        second[i] = True
    result = compare(record({"full": first}), record({"full": second}))
    assert result.difference == pytest.approx(10 / 400)
    # Standard error of the mean of a 0/1 difference with share 0.025
    error = (0.025 * 0.975 / 400) ** 0.5
    assert result.high - result.low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert result.significant


def test_chance_is_called_significant_about_as_often_as_promised():
    verdicts = [
        compare(record({"full": random_hits(s, 0.5)}), record({"full": random_hits(s + 500, 0.5)}), 500).significant
        for s in range(60)
    ]
    assert sum(verdicts) <= 9  # 3 expected; 9 or fewer with probability 0.998


def as_dataset(of: dict, dataset: str) -> dict:
    return {**of, "protocol": {**of["protocol"], "dataset": dataset}}


def test_clips_of_one_source_are_drawn_together():
    """Fifty copies of a clip are not fifty pieces of evidence."""
    clips = {"full": [f"v_Archery_g{g:02d}_c{c:02d}" for g in range(1, 5) for c in range(1, 51)]}
    first = record({"full": [False] * 200}, clips, "ucf101")
    second = record({"full": [g < 2 for g in range(4) for _ in range(50)]}, clips, "ucf101")
    together = compare(first, second)
    assert together.groups == 4
    apart = compare(as_dataset(first, "manifest"), as_dataset(second, "manifest"))
    assert apart.groups == 200
    assert together.high - together.low > 3 * (apart.high - apart.low)
    assert apart.significant and not together.significant


def test_mean_over_splits_and_clips_in_several_splits():
    clips = {"a": ["1", "2", "3", "4"], "b": ["3", "4"]}
    first = record({"a": [True, True, False, False], "b": [False, False]}, clips)
    second = record({"a": [True, True, True, False], "b": [True, False]}, clips)
    result = compare(first, second)
    assert result.first == pytest.approx((0.5 + 0) / 2)
    assert result.second == pytest.approx((0.75 + 0.5) / 2)
    assert result.clips == 4


def test_only_common_clips_count_and_others_are_told():
    first = record({"full": [True, True, False]}, {"full": ["a", "b", "c"]})
    second = record({"full": [False, True, True, True]}, {"full": ["b", "c", "d", "e"]})
    result = compare(first, second)
    assert (result.clips, result.only_first, result.only_second) == (2, 1, 2)
    assert (result.first, result.second) == (0.5, 0.5)
    assert "1 clips that only A has scored, 2 only B" in str(result)


def test_the_seed_decides():
    a, b = record({"full": random_hits(0, 0.5)}), record({"full": random_hits(1, 0.55)})
    assert compare(a, b, seed=1) == compare(a, b, seed=1)
    assert compare(a, b, seed=1).low != compare(a, b, seed=2).low


@pytest.mark.parametrize(
    ("section", "field", "message"),
    [
        ("protocol", "dataset", "data set"),
        ("protocol", "id", "protocol"),
        ("protocol", "split_hash", "splits"),
        ("classes", "hash", "class list"),
    ],
)
def test_different_measurements_are_not_compared(section, field, message):
    one = record({"full": [True, False]})
    other = copy.deepcopy(one)
    other[section][field] = "other"
    with pytest.raises(ValueError, match=f"not comparable: {message}"):
        compare(one, other)


def test_nothing_in_common():
    one, other = record({"full": [True]}, {"full": ["a"]}), record({"full": [True]}, {"full": ["b"]})
    with pytest.raises(ValueError, match="No clip was scored in both"):
        compare(one, other)
