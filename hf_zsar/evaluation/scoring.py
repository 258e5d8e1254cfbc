"""Features in the store -> one score table per split.

Every clip is scored once per *candidate set*. A restricted split is scored with the sub-bank of its candidates rather
than by cutting columns: where a method's logits already hold a softmax over the candidates, only that is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hf_zsar.features.encoding import batches_of
from hf_zsar.features.processes import Processes
from hf_zsar.features.store import FeatureStore, VideoFile
from hf_zsar.modeling.calibration import Calibration
from hf_zsar.modeling.modeling_zsar import LabelBank, ZSARPreTrainedModel

from .protocols import Protocol, Split


@dataclass(frozen=True)
class SplitScores:
    """Logits of one split.

    Args:
        clips: the n clips that could be scored, in the order of the protocol.
        logits: float32 `[n, K]`, K = the split's candidates in label order; divided by the bank's temperature.
        truth: bool `[n, K]`.
        expected: how many clips the split asks for.
        calibration: of the bank of exactly these candidates.
    """

    split: Split
    clips: tuple[str, ...]
    logits: np.ndarray
    truth: np.ndarray
    expected: int
    calibration: Calibration = Calibration()

    @property
    def targets(self) -> np.ndarray:
        """`[n]` position of the (first) right candidate."""
        return self.truth.argmax(axis=1)


@torch.inference_mode()
def score_splits(
    model: ZSARPreTrainedModel,
    store: FeatureStore,
    bank: LabelBank,
    protocol: Protocol,
    files: Sequence[VideoFile],
    batch_size: int,
    processes: Processes,
) -> list[SplitScores]:
    """Score every split; every process gets all of them.

    Args:
        bank: holds at least all candidates of the protocol, on the model's device.
        files: the videos that the store holds, in the order of `encode_videos`.
    """
    groups = list(dict.fromkeys(split.candidates for split in protocol.splits))
    banks = [bank.select(candidates) for candidates in groups]
    calibrations = [sub_bank.calibration for sub_bank in banks]
    wanted = [_clips_against(protocol, candidates) for candidates in groups]
    rows: list[tuple[int, str, np.ndarray]] = []
    for batch in processes.share(batches_of(files, batch_size)):
        features = store.read([file.row for file in batch]).to(model.device)
        for group, sub_bank in enumerate(banks):
            chosen = [i for i, file in enumerate(batch) if file.id in wanted[group]]
            if chosen:
                logits = model.score(features.select(chosen), sub_bank).float() / calibrations[group].temperature
                rows += [(group, batch[i].id, row) for i, row in zip(chosen, logits.cpu().numpy(), strict=True)]
    found: list[dict[str, np.ndarray]] = [{} for _ in groups]
    for group, clip, row in processes.gather(rows):
        found[group][clip] = row
    places = [groups.index(split.candidates) for split in protocol.splits]
    return [
        _table(protocol, split, found[place], calibrations[place])
        for split, place in zip(protocol.splits, places, strict=True)
    ]


def _clips_against(protocol: Protocol, candidates: tuple[str, ...]) -> set[str]:
    return {clip for split in protocol.splits if split.candidates == candidates for clip in split.clips}


def _table(protocol: Protocol, split: Split, rows: dict[str, np.ndarray], calibration: Calibration) -> SplitScores:
    clips = tuple(clip for clip in split.clips if clip in rows)
    position = {name: k for k, name in enumerate(split.candidates)}
    truth = np.zeros((len(clips), len(split.candidates)), dtype=bool)
    for n, clip in enumerate(clips):
        truth[n, [position[name] for name in protocol.labels_of[clip]]] = True
    table = np.stack([rows[clip] for clip in clips]) if clips else np.zeros(truth.shape, dtype=np.float32)
    return SplitScores(split, clips, table, truth, len(split.clips), calibration)
