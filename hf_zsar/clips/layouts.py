"""The data sets that protocols are defined on, and where their videos lie on disk in the official layouts.

A clip is found by its id (its file's stem), never by its position in a list; its class comes from the packaged list,
and where the layout has class folders, a file that lies in the folder of *another* class is reported, not used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hf_zsar.processing.prompts import class_key

from .folders import find_videos


def _same(stem: str) -> str:
    return stem


def _activitynet_id(stem: str) -> str:
    return stem[2:] if stem.startswith("v_") and len(stem) == 13 else stem


@dataclass(frozen=True)
class DatasetInfo:
    """One data set: its class list, its layout on disk, and how a file name gives a clip id.

    Args:
        class_folders: the layout has one folder per class, so a folder's name can contradict the list.
        fold_case: ids that differ in case alone are one clip (never for YouTube ids).
        clip_id: file stem -> clip id.
    """

    name: str
    title: str
    layout: str
    class_folders: bool = False
    fold_case: bool = False
    clip_id: Callable[[str], str] = _same

    def key(self, clip: str) -> str:
        """What clips are compared by."""
        return clip.casefold() if self.fold_case else clip


_KINETICS = "<YouTube id>_<start, 6 digits>_<end, 6 digits>.mp4, in any sub-folders"

DATASETS = {
    info.name: info
    for info in (
        DatasetInfo("ucf101", "UCF101", "<Class>/v_<Class>_g<NN>_c<NN>.avi", class_folders=True, fold_case=True),
        DatasetInfo("hmdb51", "HMDB51", "<class_with_underscores>/<clip>.avi", class_folders=True, fold_case=True),
        DatasetInfo("kinetics400", "Kinetics-400", _KINETICS),
        DatasetInfo("kinetics600", "Kinetics-600", _KINETICS),
        DatasetInfo(
            "activitynet200", "ActivityNet v1.3", "v_<YouTube id>.mp4 or <YouTube id>.mp4", clip_id=_activitynet_id
        ),
        DatasetInfo("ssv2", "Something-Something v2", "<number>.webm"),
    )
}
_ALIASES = {"k400": "kinetics400", "k600": "kinetics600", "activitynet": "activitynet200", "anet": "activitynet200"}


def dataset_info(name: str) -> DatasetInfo:
    """The data set of that name; case, `-` and `_` do not matter (`UCF-101`).

    Raises:
        ValueError: unknown, naming those that exist.
    """
    plain = class_key(name)
    found = DATASETS.get(_ALIASES.get(plain, plain))
    if found is None:
        raise ValueError(f"Unknown data set {name!r}. Known: {', '.join(DATASETS)}, or your own through a manifest.")
    return found


@dataclass
class FoundClips:
    """Where the clips of a protocol are. Every clip asked for is in exactly one of `paths` and `missing`."""

    paths: dict[str, Path] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    duplicates: int = 0


def find_clips(root: str | os.PathLike, dataset: DatasetInfo, labels_of: Mapping[str, str]) -> FoundClips:
    """Look for the clips of a protocol under a folder.

    Args:
        labels_of: clip id -> class name.

    Raises:
        FileNotFoundError: no such folder, or none of the clips is in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder: pass the one that holds the videos of {dataset.title}.")
    wanted = {dataset.key(clip) for clip in labels_of}
    candidates: dict[str, list[Path]] = {}
    for path in map(Path, find_videos(root)):
        key = dataset.key(dataset.clip_id(path.stem))
        if key in wanted:
            candidates.setdefault(key, []).append(path)
    if not candidates:
        raise FileNotFoundError(
            f"None of the {len(labels_of)} clips of {dataset.title} is under {root}. Expected: {dataset.layout}."
        )
    found = FoundClips()
    folders = {class_key(name): name for name in set(labels_of.values())} if dataset.class_folders else {}
    for clip, label in labels_of.items():
        paths = candidates.get(dataset.key(clip), [])
        allowed = [path for path in paths if folders.get(class_key(path.parent.name), label) == label]
        if allowed:
            # A file in the folder of its own class goes first.
            found.paths[clip] = min(allowed, key=lambda path: (class_key(path.parent.name) != class_key(label), path))
            found.duplicates += len(allowed) > 1
        elif paths:
            found.missing[clip] = f"only in the folder {paths[0].parent.name!r}, which is another class than {label!r}"
        else:
            found.missing[clip] = "not found"
    return found
