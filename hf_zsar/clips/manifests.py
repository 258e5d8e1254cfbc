"""A user's own labeled clips: a manifest beside the videos, or any list or folder that training takes.

```
{"labels": ["archery", ...], "clips": [{"file": "a.mp4", "label": "archery"}, ...],
 "prompt": "a video of a person {label}", "seen": [...]}
```
`labels` (the candidates, in order) may be left out: then they are those of the clips, sorted. A clip may carry a list
`labels` instead of `label`. `seen` names the labels that training has seen, for `gzsl`. Other keys are ignored.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_zsar.processing.text_files import TextFileError, read_json
from hf_zsar.processing.urls import is_url, redacted

from .folders import warn
from .layouts import FoundClips
from .lists import VideoDatasetError, check_names, labeled_files, locate, matching_lists


# Of lists that hold several parts, the first of these that has clips is measured.
_PARTS = ("test", "validation", "train")


@dataclass(frozen=True)
class Manifest:
    """Labeled clips.

    Args:
        path: where they are listed.
        labels_of: file as listed -> its class names, in the order of the list.
        classes: all class names in their order.
        ordered: the author gave that order; else it is alphabetical.
        seen: as given, unchecked.
    """

    path: Path
    labels_of: Mapping[str, tuple[str, ...]]
    classes: tuple[str, ...]
    ordered: bool
    seen: Any

    def seen_classes(self) -> frozenset[str]:
        """The classes that training has seen.

        Raises:
            VideoDatasetError: not some, or not only, of the classes.
        """
        check_names(self.seen, str(self.path), "seen")
        if unknown := sorted(set(self.seen) - set(self.classes)):
            raise VideoDatasetError(f"{self.path}: 'seen' names classes that 'labels' lacks: {unknown}.")
        if not self.seen or len(self.seen) == len(self.classes):
            raise VideoDatasetError(
                f"{self.path}: 'seen' must name some, not all, of the labels for generalized evaluation."
            )
        return frozenset(self.seen)


def read_manifest(path: str | os.PathLike, videos: str | os.PathLike | None = None) -> Manifest:
    """The clips of a manifest, of a folder of class folders or of a list.

    Args:
        videos: where the files of a list lie; default: beside it.

    Raises:
        FileNotFoundError: no such file or folder.
        VideoDatasetError: not in a form that we know; the message names the file, the entry and what is wrong.
    """
    path = Path(path)
    if not path.is_dir() and not matching_lists(path):
        raise FileNotFoundError(f"There is no manifest {path}.")
    try:
        record = read_json(path) if path.suffix.lower() == ".json" and path.is_file() else None
    except TextFileError as error:
        raise VideoDatasetError(str(error)) from error
    if not isinstance(record, dict) or isinstance(record.get("database"), dict):
        files, labels = labeled_files(path, videos, _PARTS)
        record = {"clips": [{"file": file.name, "label": file.label} for file in files]}
        record |= {"labels": labels} if labels else {}
    elif not isinstance(record.get("clips"), list) or not record["clips"]:
        raise VideoDatasetError(f"{path}: expected an object with a non-empty list 'clips'.")
    labels_of = _labels_of(path, record["clips"])
    used = {label for labels in labels_of.values() for label in labels}
    classes = record.get("labels", sorted(used))
    check_names(classes, str(path))
    if unknown := sorted(used - set(classes)):
        raise VideoDatasetError(f"{path}: clips with labels that 'labels' lacks: {unknown}.")
    return Manifest(path, labels_of, tuple(classes), "labels" in record, record.get("seen", []))


def _labels_of(path: Path, clips: Iterable[Any]) -> dict[str, tuple[str, ...]]:
    labels_of: dict[str, tuple[str, ...]] = {}
    repeated = []
    for number, clip in enumerate(clips, start=1):
        file, labels = _clip_labels(path, number, clip)
        repeated += [file] if file in labels_of else []
        if labels_of.setdefault(file, labels) != labels:
            raise VideoDatasetError(f"{path}: the file {file!r} stands twice, with {labels_of[file]} and {labels}.")
    if repeated:
        warn(f"{path}: clips that stand twice count once", repeated)
    return labels_of


def _clip_labels(path: Path, number: int, clip: Any) -> tuple[str, tuple[str, ...]]:
    """File name and labels of one entry."""
    file = clip.get("file") if isinstance(clip, dict) else None
    if not isinstance(file, str) or not file:
        raise VideoDatasetError(f"{path}: clip {number} has no 'file'.")
    if is_url(file):
        raise VideoDatasetError(
            f"{path}: clip {number} is the URL {redacted(file)}: download it, clips are files here."
        )
    labels = clip["labels"] if "labels" in clip else [clip.get("label")]
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) and label for label in labels):
        raise VideoDatasetError(f"{path}: clip {file!r} needs a 'label' (a name, not a number), or a list 'labels'.")
    return file, tuple(dict.fromkeys(labels))


def find_manifest_clips(
    manifest: str | os.PathLike, clips: Iterable[str], videos: str | os.PathLike | None
) -> FoundClips:
    """The listed files, relative to `videos`, to the manifest's own folder, or to the folder of class folders.

    Raises:
        FileNotFoundError: none of them is there.
    """
    beside = Path(manifest) if Path(manifest).is_dir() else Path(manifest).parent
    root = Path(videos) if videos is not None else beside
    found = FoundClips()
    for clip in clips:
        path = Path(locate(root, clip))
        if path.is_file():
            found.paths[clip] = path
        else:
            found.missing[clip] = "not found"
    if not found.paths:
        raise FileNotFoundError(f"None of the {len(found.missing)} clips of {manifest} is under {root}.")
    return found
