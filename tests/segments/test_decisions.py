"""Scores over time -> segments, by hand and by properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_zsar.segments.decisions import MOST_PROPOSALS, Hysteresis, Moment, Proposal, decided, smoothed, soft_nms


def track(*scores, shots=None, step=1.0):
    """Moments of one label at one scale."""
    shots = shots or [0] * len(scores)
    return [
        Moment(place * step, (place + 1) * step, shot, np.array([[score]], dtype=float))
        for place, (score, shot) in enumerate(zip(scores, shots, strict=True))
    ]


def spans(moments, high=0.5, low=0.2):
    return [(each.start, each.end) for _, each, _ in decided(moments, high, low)]


def test_hysteresis_by_hand():
    assert spans(track(0.1, 0.3, 0.6, 0.3, 0.1, 0.3, 0.4, 0.3, 0.0, 0.7)) == [(1, 4), (9, 10)]
    assert spans(track(0.4, 0.4)) == []
    assert spans(track(0.2, 0.5)) == [(0, 2)]
    ((_, extent, score),) = decided(track(0.4, 0.8, 0.3), 0.5, 0.2)
    assert score == pytest.approx(0.5) and (extent.start, extent.end) == (0, 3)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.05, 0.9), st.floats(0, 1))
def test_hysteresis_is_what_it_says(scores, low, above):
    high = low + above * (1 - low)
    covered = np.zeros(len(scores), bool)
    for start, end in spans(track(*scores), high, low):
        assert max(scores[int(start) : int(end)]) >= high
        covered[int(start) : int(end)] = True
    runs = np.split(np.arange(len(scores)), 1 + np.flatnonzero(np.diff(np.array(scores) >= low)))
    for run in runs:
        wanted = scores[run[0]] >= low and max(scores[i] for i in run) >= high
        assert covered[run].all() == wanted and covered[run].any() == wanted


def test_a_segment_is_given_when_it_closes():
    seen = []

    def watched():
        for moment in track(0.6, 0.1, 0.1, 0.6, 0.6, 0.1):
            seen.append(moment.start)
            yield moment

    found = decided(watched(), 0.5, 0.2)
    assert next(found)[1].end == 1 and seen == [0, 1]
    assert next(found)[1].end == 5 and seen[-1] == 5


def test_a_gap_ends_a_segment():
    first, second = track(0.6, 0.6), track(0.6)
    later = [Moment(each.start + 50, each.end + 50, each.shot, each.scores) for each in second]
    assert spans([*first, *later]) == [(0, 2), (50, 51)]


def test_smoothing_stays_within_a_shot():
    even = [each.scores.item() for each in smoothed(track(0, 0, 1, 1, shots=[0, 0, 1, 1]), 1.0)]
    assert even == [0, 0, 1, 1]
    mixed = [each.scores.item() for each in smoothed(track(0, 0, 1, 1), 1.0)]
    assert 0 < mixed[1] < mixed[2] < 1 and mixed[1] == pytest.approx(1 - mixed[2])
    assert list(smoothed(track(0.1, 0.9), 0)) == track(0.1, 0.9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.1, 3))
def test_smoothing_is_a_mean(scores, width):
    found = [each.scores.item() for each in smoothed(track(*scores), width)]
    assert len(found) == len(scores)
    assert min(scores) - 1e-9 <= min(found) and max(found) <= max(scores) + 1e-9
    middles = np.arange(len(scores)) + 0.5
    for place, value in enumerate(found):
        away = np.abs(middles - middles[place]) / width
        weights = np.where(away <= 2, np.exp(-(away**2) / 2), 0)
        assert value == pytest.approx((weights * scores).sum() / weights.sum(), abs=1e-9)


def proposal(start, end, score):
    return Proposal(start, end, score * (end - start))


def test_soft_nms():
    alone = soft_nms([proposal(0, 2, 0.9), proposal(4, 6, 0.5)], 0.1)
    assert [score for _, score in alone] == [pytest.approx(0.9), pytest.approx(0.5)]
    # What a fine scale splits is one segment, where a coarse one sees it whole.
    joined = soft_nms([proposal(0, 10, 0.6), proposal(0, 4, 0.9), proposal(6, 10, 0.8)], 0.1)
    assert [(each.start, each.end) for each, _ in joined] == [(0, 10)]
    # A part of the way into another: it counts less, and stays.
    (_, first), (_, second) = soft_nms([proposal(0, 10, 0.6), proposal(9, 13, 0.6)], 0.1)
    assert first == pytest.approx(0.6) and 0.1 < second < 0.6


def test_scales_are_joined():
    moments = [Moment(t, t + 1, 0, np.array([[0.9 if t % 2 else 0.1], [0.5]])) for t in range(9)]
    ((_, extent, score),) = decided(moments, 0.5, 0.2)
    assert (extent.start, extent.end, score) == (0, 9, pytest.approx(0.5))


def test_what_is_kept_of_an_endless_stream_is_bounded():
    # One scale never closes, the other gives a proposal every other second.
    moments = (Moment(t, t + 1, 0, np.array([[0.3], [0.9 * (t % 2)]])) for t in range(4 * MOST_PROPOSALS))
    runs = Hysteresis(0.5, 0.2)
    pending = {}
    from hf_zsar.segments.decisions import _take

    for moment in moments:
        _take(pending, runs.add(moment))
    assert len(pending[0]) == MOST_PROPOSALS and runs.is_open(0)
