"""What labeled clips say about how far the scores of a label bank can be trusted.

- A temperature by which logits are divided (Guo et al., arXiv 1706.04599).
- Sets of labels of which one is right with a chosen probability: split conformal prediction with one minus the
  probability of the right label as the score (Sadinle et al., arXiv 1609.00451).
- A threshold of the score "none of these", by the same quantile.
- For several labels at once a scale and a bias for each (Platt, 1999).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F


# Clips with a label, and without it, from which a scale and a bias for it are fitted.
LEAST_FOR_PLATT = 8
TEMPERATURES = (0.01, 100.0)


@dataclass(frozen=True)
class Calibration:
    """What was learned from labeled clips. A value.

    Args:
        temperature: logits are divided by it.
        wrong: ascending, for each clip one minus the probability of its label.
        unknown: ascending, the score "none of these" of clips that do show one of the labels.
    """

    temperature: float = 1.0
    wrong: tuple[float, ...] = ()
    unknown: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not (isinstance(self.temperature, (int, float)) and TEMPERATURES[0] <= self.temperature <= TEMPERATURES[1]):
            raise ValueError(f"a temperature lies between 0.01 and 100, got {self.temperature!r}.")
        for values in (self.wrong, self.unknown):
            if not all(isinstance(value, (int, float)) and 0 <= value <= 1 for value in values):
                raise ValueError("the scores of a calibration lie between 0 and 1.")
            if list(values) != sorted(values):
                raise ValueError("the scores of a calibration ascend.")

    def least_probability(self, coverage: float) -> float:
        """The labels that are at least so probable hold the right one with the probability `coverage`.

        Raises:
            ValueError: see [`quantile`].
        """
        return 1 - quantile(self.wrong, coverage, "coverage")

    def unknown_above(self, false_alarms: float) -> float:
        """Above it, a clip shows none of the labels; of those that do, a share of `false_alarms` lie above, too.

        Raises:
            ValueError: see [`quantile`].
        """
        return quantile(self.unknown, 1 - false_alarms, "1 - false_alarms")

    def check(self, coverage: float | None, false_alarms: float | None) -> None:
        """
        Raises:
            ValueError: there are too few clips for what is asked for; see [`quantile`].
        """
        if coverage is not None:
            self.least_probability(coverage)
        if false_alarms is not None:
            self.unknown_above(false_alarms)

    def __str__(self) -> str:
        """One line for the metadata of a bank; [`~Calibration.parse`] reads it."""
        values = {name: [round(value, 6) for value in getattr(self, name)] for name in ("wrong", "unknown")}
        return json.dumps({"temperature": self.temperature, **values})

    @classmethod
    def parse(cls, text: str) -> Calibration:
        """
        Raises:
            ValueError: not what `str(calibration)` gives.
        """
        try:
            found: dict[str, Any] = json.loads(text)
            return cls(found["temperature"], tuple(found["wrong"]), tuple(found["unknown"]))
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"no calibration ({type(error).__name__}: {error})") from error


def quantile(ascending: Sequence[float], share: float, name: str) -> float:
    """The least of the values at or below which a new one lies with the probability `share`, whatever they are
    distributed like, as long as their order says nothing: the `ceil((n + 1) * share)`-th of n.

    Raises:
        ValueError: no share between 0 and 1, or too few values for it.
    """
    if not 0 < share < 1:
        raise ValueError(f"{name} lies between 0 and 1, got {share:g}.")
    # A share such as 0.9 is a little more or less as a float: 9 * (1 / 10) must not ask for a tenth value.
    place = math.ceil((len(ascending) + 1) * share - 1e-9)
    if place > len(ascending):
        needed = math.ceil(share / (1 - share) - 1e-9)
        raise ValueError(
            f"{name} {share:g} needs {needed} calibration clips or more, there are {len(ascending)}: see "
            "`hf-zsar calibrate`."
        )
    return float(ascending[place - 1])


def fit_temperature(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """The temperature with the least cross-entropy: logits `[N, K]`, positions of the right labels `[N]`.

    The cross-entropy is convex in the inverse of the temperature, so halving an interval of it finds the minimum.
    """
    logits = logits.double()
    right = logits.gather(1, targets[:, None]).squeeze(1)
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    for _ in range(60):
        middle = math.sqrt(low * high)
        expected = ((logits * middle).softmax(dim=-1) * logits).sum(dim=-1)
        low, high = (middle, high) if (expected - right).mean() < 0 else (low, middle)
    return 1 / math.sqrt(low * high)


def calibrate(
    logits: torch.Tensor, targets: torch.Tensor, unknown: torch.Tensor | None = None, seed: int = 0
) -> Calibration:
    """From scores `[N, K]` of clips whose labels are at `targets [N]`, and their scores "none of these" `[N]`.

    One half of the clips, drawn by `seed`, gives the temperature, the other half what sets and thresholds rest on:
    those hold only for clips that the temperature has not seen.

    Raises:
        ValueError: fewer than two clips.
    """
    if len(logits) < 2:
        raise ValueError("a calibration needs at least two clips.")
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(seed))
    first, second = order[: len(order) // 2], order[len(order) // 2 :]
    temperature = fit_temperature(logits[first], targets[first])
    probabilities = (logits[second].double() / temperature).softmax(dim=-1)
    right = probabilities.gather(1, targets[second][:, None]).squeeze(1)
    alarms = () if unknown is None else unknown[second].double().clamp(0, 1).tolist()
    return Calibration(temperature, tuple(sorted((1 - right).clamp(0, 1).tolist())), tuple(sorted(alarms)))


def fit_platt(logits: torch.Tensor, truths: torch.Tensor) -> torch.Tensor:
    """Scale and bias of each label, `[K, 2]`: `sigmoid(scale * logit + bias)` is the probability that it is there.

    Args:
        logits: `[N, K]`.
        truths: `[N, K]`, bool: which labels a clip shows.

    Raises:
        ValueError: a label of which fewer than `LEAST_FOR_PLATT` clips show it, or fewer do not.
    """
    few = [label for label in range(truths.shape[1]) if _fewest(truths[:, label]) < LEAST_FOR_PLATT]
    if few:
        raise ValueError(
            f"label number {few[0]} (counted from 0) has {_fewest(truths[:, few[0]])} clips with it or without: "
            f"{LEAST_FOR_PLATT} of either are the least."
        )
    return torch.stack([_platt(logits[:, k].double(), truths[:, k]) for k in range(truths.shape[1])]).float()


def _fewest(truth: torch.Tensor) -> int:
    return int(min(truth.sum(), (~truth).sum()))


def _platt(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Newton's method on a logistic regression of one variable, with Platt's targets, which are not quite 0 and 1."""
    count = truth.sum().item()
    target = torch.where(truth, (count + 1) / (count + 2), 1 / (len(truth) - count + 2)).double()
    center, spread = logits.mean(), logits.std().clamp_min(1e-6)
    inputs = torch.stack([(logits - center) / spread, torch.ones_like(logits)], dim=1)
    weights = torch.zeros(2, dtype=torch.double)
    for _ in range(50):
        guess = (inputs @ weights).sigmoid()
        gradient = inputs.T @ (guess - target)
        curvature = (inputs * (guess * (1 - guess))[:, None]).T @ inputs + 1e-6 * torch.eye(2, dtype=torch.double)
        weights = weights - torch.linalg.solve(curvature, gradient).clamp(-4, 4)
    scale = weights[0] / spread
    return torch.stack([scale, weights[1] - scale * center])


def far_from(labels: torch.Tensor, background: torch.Tensor) -> torch.Tensor:
    """Which background labels say something else than the labels: `[N]`, from embeddings `[K, dim]`, `[N, dim]`.

    A background label is left out where some label is as near to it as background labels are to their nearest one, on
    the median: it may well mean the same. The farther half always stays.
    """
    labels, background = F.normalize(labels.float(), dim=-1), F.normalize(background.float(), dim=-1)
    among = background @ background.T
    among.fill_diagonal_(-1)
    near = (background @ labels.T).amax(dim=1)
    return near <= torch.maximum(among.amax(dim=1).median(), near.median())
