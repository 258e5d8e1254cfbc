"""The metrics of zero-shot action recognition on plain numpy arrays; the `evaluate` modules beside it wrap them.

Conventions, the same everywhere:

- A score table is `[n, K]`, one row per clip and one column per candidate; larger is better. NaN is an error.
- **Ties** go to the candidate that stands first, as in `numpy.argmax`: top-1 is the argmax, and every rank is unique.
- A class without a clip is left out of a mean over classes; a mean over nothing is NaN.
- Standard deviations are the population ones (ddof 0), as E2E and BIKE report them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


STD_DDOF = 0


def check_scores(scores: npt.ArrayLike) -> np.ndarray:
    """The table as float64 `[n, K]`.

    Raises:
        ValueError: not two axes, no candidate, or a NaN in it.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] == 0:
        raise ValueError(f"scores must be [clips, candidates] with at least one candidate, got shape {table.shape}.")
    bad = np.isnan(table).any(axis=1)
    if bad.any():
        raise ValueError(
            f"{int(bad.sum())} of {len(table)} rows of scores hold NaN, the first is row {int(bad.argmax())}."
        )
    return table


def true_ranks(scores: npt.ArrayLike, targets: npt.ArrayLike) -> np.ndarray:
    """Rank of the right candidate in every row, 1 = best; of several right ones (`targets [n, K]` bool) the best.

    Args:
        scores: `[n, K]`.
        targets: `[n]` positions of the right candidates, or `[n, K]` bool.

    Raises:
        ValueError: shapes that do not fit, a position outside 0..K-1, a row without a right candidate, or NaN.
    """
    table = check_scores(scores)
    truth = np.asarray(targets)
    if truth.dtype == bool and truth.ndim == 2:
        if truth.shape != table.shape or not truth.any(axis=1).all():
            raise ValueError("targets [n, K] must have the shape of the scores and a right candidate in every row.")
        order = np.argsort(-table, axis=1, kind="stable")
        return np.take_along_axis(truth, order, axis=1).argmax(axis=1) + 1
    if truth.shape != (len(table),) or (len(truth) and (truth.min() < 0 or truth.max() >= table.shape[1])):
        raise ValueError(f"targets must be {len(table)} positions in 0..{table.shape[1] - 1}.")
    own = np.take_along_axis(table, truth[:, None].astype(np.int64), axis=1)
    earlier = np.arange(table.shape[1])[None, :] < truth[:, None]
    return 1 + (table > own).sum(axis=1) + ((table == own) & earlier).sum(axis=1)


def top_k_accuracy(ranks: npt.ArrayLike, k: int) -> float:
    """Share of the ranks that are at most `k`; NaN for no rank."""
    ranks = np.asarray(ranks)
    return float((ranks <= k).mean()) if len(ranks) else math.nan


def class_accuracy(correct: npt.ArrayLike, targets: npt.ArrayLike, num_classes: int) -> np.ndarray:
    """Accuracy of each class `[num_classes]`, NaN where a class has no clip."""
    targets = np.asarray(targets, dtype=np.int64)
    totals = np.bincount(targets, minlength=num_classes).astype(np.float64)
    hits = np.bincount(targets, weights=np.asarray(correct, dtype=np.float64), minlength=num_classes)
    return np.divide(hits, totals, out=np.full(num_classes, np.nan), where=totals > 0)


def mean_class_accuracy(correct: npt.ArrayLike, targets: npt.ArrayLike, num_classes: int) -> float:
    """Mean of the accuracies of the classes that have a clip: every class counts alike."""
    return nan_mean(class_accuracy(correct, targets, num_classes))


def nan_mean(values: npt.ArrayLike) -> float:
    """Mean without the NaN entries; NaN when nothing is left."""
    kept = np.asarray(values, dtype=np.float64)
    kept = kept[~np.isnan(kept)]
    return float(kept.mean()) if len(kept) else math.nan


def mean_and_std(values: npt.ArrayLike) -> tuple[float, float]:
    """Mean and population standard deviation (ddof 0) without the NaN entries."""
    kept = np.asarray(values, dtype=np.float64)
    kept = kept[~np.isnan(kept)]
    return (float(kept.mean()), float(kept.std(ddof=STD_DDOF))) if len(kept) else (math.nan, math.nan)


def harmonic_mean(first: float, second: float) -> float:
    """`2ab / (a + b)`; 0 when both are 0."""
    total = first + second
    return 2 * first * second / total if total else (0.0 if total == 0 else math.nan)


@dataclass(frozen=True)
class StackingCurve:
    """Seen against unseen accuracy over the calibration constant. `[G]` arrays, gamma ascending.

    `gamma` is subtracted from the scores of seen classes (Chao et al., arXiv 1605.04253); a larger one moves answers
    to unseen classes. `area` is that under the seen-over-unseen curve (AUSUC).
    """

    gamma: np.ndarray
    seen: np.ndarray
    unseen: np.ndarray
    area: float

    @property
    def harmonic(self) -> np.ndarray:
        """Harmonic mean at every gamma."""
        total = self.seen + self.unseen
        return np.divide(2 * self.seen * self.unseen, total, out=np.zeros_like(total), where=total > 0)

    def best(self) -> tuple[float, float]:
        """(gamma, harmonic mean) of the largest harmonic mean; the gamma nearest to 0 where several reach it."""
        harmonic = self.harmonic
        at_best = np.flatnonzero(harmonic >= harmonic.max() - 1e-12)
        chosen = at_best[np.abs(self.gamma[at_best]).argmin()]
        return float(self.gamma[chosen]), float(harmonic[chosen])


def clip_weights(targets: np.ndarray, members: np.ndarray, per_class: bool) -> np.ndarray:
    """Weight of every clip in the accuracy over the clips of `members` (bool `[K]`): equal, or equal per class."""
    inside = members[targets]
    if not per_class:
        return inside / max(1, inside.sum())
    counts = np.bincount(targets, minlength=len(members))
    present = ((counts > 0) & members).sum()
    return inside / np.maximum(1, counts[targets]) / max(1, present)


def stacking_curve(
    scores: npt.ArrayLike, targets: npt.ArrayLike, seen: npt.ArrayLike, per_class: bool = True
) -> StackingCurve:
    """The exact calibrated stacking curve: one point between any two neighboring gammas that change an answer.

    Args:
        scores: `[n, K]` over seen and unseen candidates, on one scale (probabilities).
        targets: `[n]` positions of the right candidates.
        seen: `[K]` bool.
        per_class: average over classes (Mandal et al.) instead of over clips.

    Raises:
        ValueError: no seen or no unseen candidate; else as `true_ranks`.
    """
    table, targets, seen = check_scores(scores), np.asarray(targets, dtype=np.int64), np.asarray(seen, dtype=bool)
    if seen.shape != (table.shape[1],) or seen.all() or not seen.any():
        raise ValueError("seen must be [K] bool with at least one seen and one unseen candidate.")
    best_seen = np.where(seen, table, -np.inf).argmax(axis=1)
    best_unseen = np.where(seen, -np.inf, table).argmax(axis=1)
    rows = np.arange(len(table))
    margin = table[rows, best_seen] - table[rows, best_unseen]  # the answer is a seen class while gamma < margin
    steps = np.unique(margin)
    middle = (steps[1:] + steps[:-1]) / 2
    reach = max(1.0, float(np.abs(steps).max())) if len(steps) else 1.0
    gamma = np.concatenate(
        [[(steps[0] if len(steps) else 0.0) - reach], middle, [(steps[-1] if len(steps) else 0.0) + reach]]
    )

    order = np.argsort(margin, kind="stable")
    seen_hit = (clip_weights(targets, seen, per_class) * (best_seen == targets))[order]
    unseen_hit = (clip_weights(targets, ~seen, per_class) * (best_unseen == targets))[order]
    passed = np.searchsorted(margin[order], gamma)  # clips whose margin lies below gamma answer with an unseen class
    cumulative_seen = np.concatenate([[0.0], np.cumsum(seen_hit)])
    cumulative_unseen = np.concatenate([[0.0], np.cumsum(unseen_hit)])
    seen_accuracy = cumulative_seen[-1] - cumulative_seen[passed]
    unseen_accuracy = cumulative_unseen[passed]
    widths, heights = np.diff(unseen_accuracy), (seen_accuracy[1:] + seen_accuracy[:-1]) / 2
    return StackingCurve(gamma, seen_accuracy, unseen_accuracy, float((widths * heights).sum()))


def average_precision(scores: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Average precision of one candidate over n clips, without interpolation; equal scores count as one threshold.

    NaN when no clip is positive.
    """
    values, positive = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=bool)
    if not positive.any():
        return math.nan
    from sklearn.metrics import average_precision_score

    _, places = np.unique(values, return_inverse=True)  # the order is all that counts, and infinite ones have a place
    return float(average_precision_score(positive, places))


def mean_average_precision(scores: npt.ArrayLike, truth: npt.ArrayLike) -> tuple[float, np.ndarray]:
    """mAP over the candidates that have a positive clip, and the average precision of each candidate `[K]`.

    Args:
        scores: `[n, K]`.
        truth: `[n, K]` bool, several candidates may be right for a clip.
    """
    table, positive = check_scores(scores), np.asarray(truth, dtype=bool)
    if positive.shape != table.shape:
        raise ValueError(f"truth has shape {positive.shape}, the scores {table.shape}.")
    each = np.array([average_precision(table[:, k], positive[:, k]) for k in range(table.shape[1])])
    return nan_mean(each), each


def wilson_interval(hits: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a share of independent trials; (0, 1) for no trial."""
    if total == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest

    low, high = binomtest(hits, total).proportion_ci(confidence, method="wilson")
    return float(low), float(high)


def bootstrap_interval(
    statistic: Callable[[np.ndarray], float],
    count: int,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of `statistic(indices)` over resampled `0..count-1`; NaN results are left out."""
    generator = np.random.default_rng(seed)
    values = np.array([statistic(generator.integers(0, count, count)) for _ in range(resamples if count else 0)])
    values = values[~np.isnan(values)]
    if not len(values):
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def softmax(logits: npt.ArrayLike) -> np.ndarray:
    """Softmax over the last axis in float64; a row of -inf alone is an error.

    Raises:
        ValueError: NaN in the result.
    """
    table = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(table - table.max(axis=-1, keepdims=True))
    return check_scores(shifted / shifted.sum(axis=-1, keepdims=True))


def per_split(values: Sequence[float]) -> dict[str, float | int]:
    """`{"mean", "std", "ddof", "splits"}` of one number per split; splits without a clip (NaN) are not counted."""
    mean, std = mean_and_std(values)
    counted = int((~np.isnan(np.asarray(values, dtype=np.float64))).sum())
    return {"mean": mean, "std": std, "ddof": STD_DDOF, "splits": counted}
