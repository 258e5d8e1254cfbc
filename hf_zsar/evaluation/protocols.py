"""What a protocol is: splits of clips and candidates, resolved to names, with the rule and the lists it stands on.

The protocols themselves are built in `protocol_builders.py` out of packaged lists, and in `manifest.py` out of a
user's own; each names the paper or code that its rule is from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value, 16 hex digits."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    # Names of files need not be text.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True)
class Split:
    """One number of a protocol: score these clips against these candidates.

    Args:
        candidates: class names in label order.
        clips: clip ids.
        seen: the candidates that training has seen (generalized evaluation), else empty.
    """

    name: str
    candidates: tuple[str, ...]
    clips: tuple[str, ...]
    seen: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Protocol:
    """A protocol resolved for one data set.

    Args:
        id: as in `PROTOCOLS`.
        dataset: name of the data set; `manifest` for a user's own.
        classes: all class names in label order.
        labels_of: clip id -> its class names (one, unless `multi_label`).
        splits: at least one.
        rule: how the splits came about, in a sentence.
        clip_set: which clips, in a sentence.
        training: what the model should have been trained on for the number to mean what the protocol says.
        lists: packaged list -> SHA-256 of its content.
        label_order: which order `classes` has.
        caveats: what to know before comparing the number with another.
    """

    id: str
    dataset: str
    classes: tuple[str, ...]
    labels_of: Mapping[str, tuple[str, ...]]
    splits: tuple[Split, ...]
    rule: str
    clip_set: str
    training: str
    label_order: str
    lists: Mapping[str, str] = field(default_factory=dict)
    caveats: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = set(self.classes)
        if len(known) != len(self.classes):
            raise ValueError(f"{self.id}: a class name stands twice in the label list.")
        names = [split.name for split in self.splits]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"{self.id}: a protocol needs at least one split, each with its own name, got {names}.")
        for split in self.splits:
            self._check_split(split, known)

    def _check_split(self, split: Split, known: Collection[str]) -> None:
        unknown = sorted((set(split.candidates) | split.seen) - set(known))
        if unknown:
            raise ValueError(f"{self.id}, {split.name}: not in the label list: {unknown}.")
        allowed = set(split.candidates)
        if len(allowed) != len(split.candidates):
            raise ValueError(f"{self.id}, {split.name}: a candidate stands twice.")
        for clip in split.clips:
            if not allowed.issuperset(self.labels_of[clip]):
                raise ValueError(f"{self.id}, {split.name}: clip {clip!r} is none of the candidates.")

    @property
    def multi_label(self) -> bool:
        """A clip may show several actions."""
        return any(len(labels) != 1 for labels in self.labels_of.values())

    @property
    def generalized(self) -> bool:
        """Seen and unseen classes compete."""
        return any(split.seen for split in self.splits)

    @property
    def clips(self) -> tuple[str, ...]:
        """Every clip of any split once, in the order of `labels_of`."""
        used = {clip for split in self.splits for clip in split.clips}
        return tuple(clip for clip in self.labels_of if clip in used)

    @property
    def split_hash(self) -> str:
        """Digest of what is scored against what, by name: the order of clips and candidates does not matter."""
        order = sorted(self.clips)
        numbers = {clip: number for number, clip in enumerate(order)}
        splits = [
            [split.name, sorted(split.candidates), sorted(split.seen), sorted(numbers[clip] for clip in split.clips)]
            for split in self.splits
        ]
        return digest({"clips": [[clip, *sorted(self.labels_of[clip])] for clip in order], "splits": splits})

    @property
    def class_hash(self) -> str:
        """Digest of the class names in label order."""
        return digest(list(self.classes))

    def only(self, names: Sequence[str]) -> Protocol:
        """The protocol reduced to some of its splits.

        Raises:
            ValueError: a name that is none of them.
        """
        known = {split.name: split for split in self.splits}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"{self.id} on {self.dataset} has no split {unknown}. It has: {', '.join(known)}.")
        return replace(self, splits=tuple(known[name] for name in names))

    def without(self, labels: Collection[str]) -> Protocol:
        """The protocol without some classes, as candidates and with their clips.

        Raises:
            ValueError: a label that is no class, or clips of several labels.
        """
        in_label_order(self.classes, labels)
        if self.multi_label:
            raise ValueError(f"{self.id} on {self.dataset}: its clips show several actions, none is of one alone.")
        splits = tuple(
            replace(
                split,
                candidates=tuple(name for name in split.candidates if name not in labels),
                clips=tuple(clip for clip in split.clips if self.labels_of[clip][0] not in labels),
                seen=split.seen - set(labels),
            )
            for split in self.splits
        )
        return replace(self, splits=splits)


def in_label_order(classes: Sequence[str], chosen: Collection[str]) -> tuple[str, ...]:
    """The chosen names in label order.

    Raises:
        ValueError: a chosen name that is not a class: lists that do not belong together.
    """
    unknown = sorted(set(chosen) - set(classes))
    if unknown:
        raise ValueError(f"class names that are not in the label list: {unknown}.")
    chosen = set(chosen)
    return tuple(name for name in classes if name in chosen)
