"""Is the difference between two results significant? Paired bootstrap over what both have scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .splits import source_group


_BLOCK = 256


@dataclass(frozen=True)
class Comparison:
    """Of two results by one protocol, B against A, on the clips that both have scored.

    Attributes:
        first, second: top-1 of A and B, mean over splits, 0..1.
        difference: B minus A.
        low, high: 95 % interval of the difference (percentile bootstrap).
        p_value: two-sided; chance of a difference as large if there were none.
        clips, groups: how many clips both have scored, and from how many source videos.
        only_first, only_second: clips that one has scored and the other has not.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float
    clips: int
    groups: int
    only_first: int
    only_second: int

    @property
    def significant(self) -> bool:
        """At the 5 % level: the interval leaves out 0."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        verdict = "significant" if self.significant else "not significant"
        interval = f"[{100 * self.low:+.2f}, {100 * self.high:+.2f}]"
        lines = [
            f"A {100 * self.first:.2f}   B {100 * self.second:.2f}   B - A {100 * self.difference:+.2f} points",
            f"95 % interval {interval}, p = {self.p_value:.4f}: {verdict} at the 5 % level",
            f"paired bootstrap over {self.groups} source videos ({self.clips} clips that both have scored)",
        ]
        if self.only_first or self.only_second:
            lines.append(f"left out: {self.only_first} clips that only A has scored, {self.only_second} only B")
        return "\n".join(lines)


def hits_by_split(record: Mapping[str, Any]) -> dict[str, dict[str, bool]]:
    """Split -> clip -> whether top-1 was right."""
    ids = record["clips"]["ids"]
    hits = {}
    for entry in record["results"]:
        each = entry["per_clip"]
        hits[entry["split"]] = {ids[clip]: rank == 1 for clip, rank in zip(each["clip"], each["rank"], strict=True)}
    return hits


def check_comparable(first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    """Raises:
    ValueError: two results that do not measure the same thing, saying what differs.
    """
    for name, of in (
        ("data set", lambda record: record["protocol"]["dataset"]),
        ("protocol", lambda record: record["protocol"]["id"]),
        ("class list", lambda record: record["classes"]["hash"]),
        ("splits", lambda record: record["protocol"]["split_hash"]),
    ):
        if of(first) != of(second):
            raise ValueError(f"The results are not comparable: {name} {of(first)!r} against {of(second)!r}.")


def compare(first: Mapping[str, Any], second: Mapping[str, Any], resamples: int = 10_000, seed: int = 0) -> Comparison:
    """Paired bootstrap of the difference of top-1, mean over splits.

    Clips cut from one source video are drawn together (UCF101's groups, HMDB51's films, Kinetics' YouTube ids), since
    they are right or wrong together; a clip that stands in several splits is drawn once for all of them.

    Raises:
        ValueError: results of different protocols, or no clip that both have scored.
    """
    check_comparable(first, second)
    hits = hits_by_split(first), hits_by_split(second)
    common = {name: sorted(hits[0][name].keys() & hits[1][name].keys()) for name in hits[0]}
    common = {name: clips for name, clips in common.items() if clips}
    clips = sorted({clip for of_split in common.values() for clip in of_split})
    if not clips:
        raise ValueError("No clip was scored in both results.")
    dataset = first["protocol"]["dataset"]
    groups = sorted({source_group(dataset, clip) for clip in clips})
    number = {group: i for i, group in enumerate(groups)}
    # [groups, splits]: clips and hits of each source video in each split; a draw of groups is a product with these.
    counts, right = np.zeros((len(groups), len(common))), np.zeros((2, len(groups), len(common)))
    for column, (name, members) in enumerate(common.items()):
        for clip in members:
            row = number[source_group(dataset, clip)]
            counts[row, column] += 1
            for side in (0, 1):
                right[side, row, column] += hits[side][name][clip]
    means = (right.sum(axis=1) / counts.sum(axis=0)).mean(axis=1)
    observed = float(means[1] - means[0])
    drawn = _resampled_differences(counts, right, resamples, seed)
    low, high = np.quantile(drawn, [0.025, 0.975])
    # As if there were no difference: the resampled ones, moved to 0.
    extreme = int((np.abs(drawn - observed) >= abs(observed) - 1e-12).sum())
    sets = [set(record["clips"]["ids"]) for record in (first, second)]
    return Comparison(
        first=float(means[0]),
        second=float(means[1]),
        difference=observed,
        low=float(low),
        high=float(high),
        p_value=(1 + extreme) / (1 + len(drawn)),
        clips=len(clips),
        groups=len(groups),
        only_first=len(sets[0] - sets[1]),
        only_second=len(sets[1] - sets[0]),
    )


def _resampled_differences(counts: np.ndarray, right: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Difference of the mean over splits for every draw of groups with replacement; empty splits are left out."""
    generator = np.random.default_rng(seed)
    size, gain = len(counts), right[1] - right[0]
    differences = []
    for start in range(0, resamples, _BLOCK):
        draws = min(_BLOCK, resamples - start)
        weights = np.stack([np.bincount(generator.integers(0, size, size), minlength=size) for _ in range(draws)])
        totals = weights @ counts
        each = np.divide(weights @ gain, totals, out=np.full(totals.shape, np.nan), where=totals > 0)
        differences.append(np.nanmean(each, axis=1))
    return np.concatenate(differences)
