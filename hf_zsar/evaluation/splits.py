"""Rules that draw the field's class and clip subsets. Each reproduces the packaged list of the same name.

Every rule works on *names*: published index conventions disagree (HMDB51's kick / kick ball, UCF101's Hammering /
HammerThrow), so an index is only ever a position in a list of names that the caller passes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np


HALF_SEEDS = tuple(range(10))

_UCF_GROUP = re.compile(r"^(v_.+_g\d+)_c\d+$")
_HMDB_GROUP = re.compile(r"^(.+)_[a-z]_[a-z]{2}_np\d+_[a-z]{2}_[a-z]{3}_\d+$")
_KINETICS_GROUP = re.compile(r"^(.{11})_\d+_\d+$")
_GROUPS = {"ucf101": _UCF_GROUP, "hmdb51": _HMDB_GROUP}


def half_classes(names: Sequence[str], seed: int) -> list[str]:
    """The half of the classes that E2E, BIKE and Text4Vis draw for one seed.

    numpy's *legacy* generator, whose stream never changes: `permutation(C)[:C // 2]`. E2E passes the names sorted as
    ASCII, BIKE in the order of its label file; for UCF101 the two differ.

    Returns:
        floor(C / 2) names, in the order of `names`.
    """
    count = len(names)
    chosen = np.random.RandomState(seed).permutation(count)[: count // 2]
    return [names[i] for i in sorted(chosen)]


def source_group(dataset: str, clip: str) -> str:
    """The source video that a clip was cut from: clips of one group look alike and are not independent.

    UCF101: class and group number (`v_Archery_g01`); HMDB51: the title before the annotation codes; Kinetics: the
    YouTube id. Anything else is a group of its own.
    """
    pattern = _GROUPS.get(dataset, _KINETICS_GROUP if dataset.startswith("kinetics") else None)
    found = pattern.match(clip) if pattern else None
    return found[1] if found else clip


def held_out_clips(
    dataset: str, videos_by_class: Mapping[str, Sequence[str]], share: float = 0.2, seed: int = 0
) -> dict[str, list[str]]:
    """Clips of every class to keep out of training for generalized zero-shot evaluation (our reading).

    UCF101 is drawn by group, so that no source video lies on both sides; the others by clip. The draw of a class
    depends on its own clips and the seed alone, so a class is cut the same way in every seen/unseen split.

    Returns:
        class name -> held-out clip ids, at least one clip per class, in list order.
    """
    held_out = {}
    for name, clips in videos_by_class.items():
        unit_of = {clip: source_group(dataset, clip) if dataset == "ucf101" else clip for clip in clips}
        units = sorted(set(unit_of.values()))
        count = max(1, round(share * len(units)))
        chosen = {units[i] for i in np.random.RandomState(seed).permutation(len(units))[:count]}
        held_out[name] = [clip for clip in clips if unit_of[clip] in chosen]
    return held_out
