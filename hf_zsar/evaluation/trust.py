"""How far scores can be trusted: whether probabilities are shares, how large label sets are, and "none of these"."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from hf_zsar.features.encoding import batches_of
from hf_zsar.features.processes import Processes
from hf_zsar.features.store import FeatureStore, VideoFile
from hf_zsar.modeling.calibration import Calibration
from hf_zsar.modeling.modeling_zsar import LabelBank, ZSARPreTrainedModel


BINS = 15
COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
ACCEPTED = 0.95  # share of the clips of known labels at which FPR@95 is read
_CURVE_POINTS = 101


def reliability(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    """Whether the best label is right as often as its probability says: `[n, K]`, positions `[n]`.

    Returns:
        `ece`, the expected calibration error (Guo et al., arXiv 1706.04599) in `BINS` bins of equal width, and for
        each bin with clips their mean `confidence`, their `accuracy`, and how many they are.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    places = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    clips = np.bincount(places, minlength=BINS)
    used = clips > 0
    means = [np.bincount(places, values, BINS)[used] / clips[used] for values in (confidence, right.astype(float))]
    error = (np.abs(means[0] - means[1]) * clips[used]).sum() / len(targets)
    return {
        "ece": float(error),
        "confidence": means[0].tolist(),
        "accuracy": means[1].tolist(),
        "clips": clips[used].tolist(),
    }


def label_set(probabilities: np.ndarray, targets: np.ndarray, least: float) -> tuple[float, float]:
    """(coverage, mean size) of sets of the best label and all that are at least so probable."""
    inside = probabilities >= least
    inside[np.arange(len(targets)), probabilities.argmax(axis=1)] = True
    return float(inside[np.arange(len(targets)), targets].mean()), float(inside.sum(axis=1).mean())


def coverage_curve(probabilities: np.ndarray, targets: np.ndarray, calibration: Calibration) -> dict[str, Any]:
    """Coverage against size of label sets: `sets` for thresholds that were looked up on these very clips, and
    `promised` for those of a calibration: `[asked, coverage, size]`, as far as it has the clips for them."""
    right = np.sort(probabilities[np.arange(len(targets)), targets])[::-1]
    places = np.unique(np.linspace(0, len(right) - 1, _CURVE_POINTS).round().astype(int))
    asked = [share for share in COVERAGES if len(calibration.wrong) * (1 - share) >= share - 1e-9]
    promised = [[share, *label_set(probabilities, targets, calibration.least_probability(share))] for share in asked]
    return {"sets": [label_set(probabilities, targets, right[place]) for place in places], "promised": promised}


def detection(known: np.ndarray, unknown: np.ndarray) -> dict[str, float]:
    """How well a score, larger for clips of none of the labels, tells them from the others.

    Returns:
        `auroc`, the share of pairs that it orders rightly, and `fpr95`, the share of unknown clips that pass as known
        where 95 % of the known ones do.
    """
    from sklearn.metrics import roc_auc_score

    truth = np.r_[np.zeros(len(known)), np.ones(len(unknown))]
    limit = np.quantile(known, ACCEPTED, method="inverted_cdf")
    return {"auroc": float(roc_auc_score(truth, np.r_[known, unknown])), "fpr95": float((unknown <= limit).mean())}


UNKNOWN_SCORES: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "background labels": lambda logits, background: background,
    "maximum softmax": lambda logits, background: -logits.softmax(dim=-1).amax(dim=-1),
    "maximum score": lambda logits, background: -logits.amax(dim=-1),
}


@torch.inference_mode()
def unknown_section(
    model: ZSARPreTrainedModel,
    store: FeatureStore,
    bank: LabelBank,
    joint: LabelBank,
    files: Sequence[VideoFile],
    unknown: Collection[str],
    batch_size: int,
    processes: Processes,
) -> dict[str, Any]:
    """What the scores "none of these" tell of clips of other labels.

    Args:
        bank: of the labels that are known, on the model's device.
        joint: of those of them that have a name and, behind them, background labels.
        files: the videos that the store holds.
        unknown: which of them, by id, show none of the labels.

    Returns:
        `clips`, how many are known and unknown, and `scores`, see `detection`; none where there are not both kinds.
    """
    rows: list[tuple[str, list[float]]] = []
    named = len(bank.without_examples)
    for batch in processes.share(batches_of(files, batch_size)):
        features = store.read([file.row for file in batch]).to(model.device)
        logits = model.score(features, bank).float() / bank.calibration.temperature
        background = model.score(features, joint).softmax(dim=-1)[:, named:].sum(dim=-1)
        columns = torch.stack([score(logits, background.float()) for score in UNKNOWN_SCORES.values()], dim=1)
        rows += zip((file.id for file in batch), columns.tolist(), strict=True)
    gathered = processes.gather(rows)
    table = np.array([row for _, row in gathered]).reshape(-1, len(UNKNOWN_SCORES))
    strange = np.array([clip in unknown for clip, _ in gathered], dtype=bool)
    both = strange.any() and not strange.all()
    scores = {
        name: detection(column[~strange], column[strange])
        for name, column in zip(UNKNOWN_SCORES if both else (), table.T, strict=False)
    }
    return {"clips": {"known": int((~strange).sum()), "unknown": int(strange.sum())}, "scores": scores}
