"""Scores over time -> segments: smoothing, hysteresis and soft non-maximum suppression, each a small pure function."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np


# Proposals of one label kept until it is over, so that a stream without end fits into memory.
MOST_PROPOSALS = 256
# Times closer than this, in seconds, touch.
TOUCHING = 1e-3


@dataclass(frozen=True)
class Moment:
    """A stretch of one shot, from `start` to `end` in seconds; `scores [S, K]` of K labels at S scales."""

    start: float
    end: float
    shot: int
    scores: np.ndarray


@dataclass(frozen=True)
class Proposal:
    """A run of moments; `mass` is the integral of its score over time."""

    start: float
    end: float
    mass: float

    @property
    def score(self) -> float:
        """The mean score."""
        return self.mass / (self.end - self.start)


def smoothed(moments: Iterable[Moment], width: float) -> Iterator[Moment]:
    """The moments with their scores averaged by a Gaussian over time, within a shot.

    Nothing is taken from across a cut: what a kernel reaches there is left out, and its weights are made to sum to 1.
    The usual filter before an edge is looked for (Canny, 1986).

    Args:
        width: standard deviation, in seconds; 0 changes nothing. Moments farther than twice that count nothing.
    """
    near: deque[Moment] = deque()  # those that the next ones may need
    waiting: deque[Moment] = deque()
    for moment in moments:
        near.append(moment)
        waiting.append(moment)
        while waiting and waiting[0].end + 2 * width <= moment.start:
            yield _averaged(waiting.popleft(), near, width)
        while near and waiting and near[0].end + 2 * width <= waiting[0].start:
            near.popleft()
    while waiting:
        yield _averaged(waiting.popleft(), near, width)


def _averaged(moment: Moment, near: Iterable[Moment], width: float) -> Moment:
    if width == 0:
        return moment
    middle = (moment.start + moment.end) / 2
    total, weights = np.zeros_like(moment.scores), 0.0
    for other in near:
        distance = abs((other.start + other.end) / 2 - middle) / width
        if other.shot == moment.shot and distance <= 2:
            weight = math.exp(-(distance**2) / 2) * (other.end - other.start)
            total, weights = total + weight * other.scores, weights + weight
    return replace(moment, scores=total / weights)


class Hysteresis:
    """Runs in which a score stays at or above `low` and reaches `high` at least once (Canny, 1986, for edges).

    It remembers the open runs alone, of every scale and label; a gap in time ends them.
    """

    def __init__(self, high: float, low: float) -> None:
        self.high, self.low = high, low
        self.last = -math.inf
        self.opened: np.ndarray | None = None  # bool [S, K]

    def add(self, moment: Moment) -> Iterator[tuple[int, Proposal]]:
        """Label number and run of each run that ends before this moment."""
        scores = moment.scores
        if self.opened is None:
            self.opened = np.zeros(scores.shape, dtype=bool)
            self.start, self.mass, self.peak = (np.zeros(scores.shape) for _ in range(3))
        stays = (scores >= self.low) & (moment.start - self.last < TOUCHING)
        yield from self._closed(self.opened & ~stays)
        begins = (scores >= self.low) & ~self.opened
        self.start[begins], self.mass[begins], self.peak[begins] = moment.start, 0, 0
        self.opened |= begins
        self.mass += scores * (moment.end - moment.start)
        self.peak = np.maximum(self.peak, scores)
        self.last = moment.end

    def finish(self) -> Iterator[tuple[int, Proposal]]:
        """The runs that the end of the video ends."""
        if self.opened is not None:
            yield from self._closed(self.opened.copy())

    def _closed(self, which: np.ndarray) -> Iterator[tuple[int, Proposal]]:
        self.opened = self.opened & ~which if self.opened is not None else None
        for scale, label in np.argwhere(which & (self.peak >= self.high)).tolist():
            yield label, Proposal(float(self.start[scale, label]), self.last, float(self.mass[scale, label]))

    def is_open(self, label: int) -> bool:
        """Whether a run of the label goes on at some scale."""
        return self.opened is not None and bool(self.opened[:, label].any())


def soft_nms(proposals: Sequence[Proposal], least: float, sigma: float = 0.2) -> list[tuple[Proposal, float]]:
    """Proposals of one label with their scores; those that overlap a better one count less (Bodla et al., 2017).

    Their Gaussian form, `score * exp(-overlap^2 / sigma)`, with two changes for time, where a coarse scale joins what
    a fine one splits: the better of two is the one with more mass, and overlap is counted over the shorter of two, so
    that no part of a segment stands beside it.

    Args:
        least: proposals whose score has sunk below it are gone.
    """
    kept: list[tuple[Proposal, float]] = []
    rest = [(each, each.score) for each in proposals]
    while rest:
        best = max(rest, key=lambda pair: pair[1] * (pair[0].end - pair[0].start))
        rest.remove(best)
        kept.append(best)
        lowered = [(each, score * math.exp(-(_overlap(best[0], each) ** 2) / sigma)) for each, score in rest]
        rest = [(each, score) for each, score in lowered if score >= least]
    return kept


def _overlap(one: Proposal, other: Proposal) -> float:
    common = min(one.end, other.end) - max(one.start, other.start)
    return max(0.0, common) / min(one.end - one.start, other.end - other.start)


def decided(
    moments: Iterable[Moment], high: float, low: float, sigma: float = 0.2
) -> Iterator[tuple[int, Proposal, float]]:
    """Label number, extent and score of each segment, as soon as its label is over at every scale."""
    runs = Hysteresis(high, low)
    pending: dict[int, list[Proposal]] = {}

    def over(labels: Iterable[int]) -> Iterator[tuple[int, Proposal, float]]:
        found = [(label, *each) for label in labels for each in soft_nms(pending.pop(label), low, sigma)]
        return iter(sorted(found, key=lambda each: (each[1].start, each[0])))

    for moment in moments:
        _take(pending, runs.add(moment))
        yield from over([label for label in pending if not runs.is_open(label)])
    _take(pending, runs.finish())
    yield from over(list(pending))


def _take(pending: dict[int, list[Proposal]], closed: Iterable[tuple[int, Proposal]]) -> None:
    for label, proposal in closed:
        mine = pending.setdefault(label, [])
        mine.append(proposal)
        if len(mine) > MOST_PROPOSALS:
            mine.remove(min(mine, key=lambda each: each.mass))
