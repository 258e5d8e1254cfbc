"""A user's own labelled clips as a protocol: a manifest beside the videos, or any list or folder that training takes.

```
{"labels": ["archery", ...], "clips": [{"file": "a.mp4", "label": "archery"}, ...],
 "prompt": "a video of a person {label}", "seen": [...]}
```
`labels` (the candidates, in order) may be left out: then they are those of the clips, sorted. A clip may carry a list
`labels` instead of `label`. `seen` names the labels that training has seen, for `gzsl`. Other keys are ignored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_zsar.data.video_folders import warn
from hf_zsar.data.video_lists import VideoDatasetError, check_names, labelled_files, locate, matching_lists
from hf_zsar.processing.text_files import TextFileError, read_json
from hf_zsar.processing.urls import is_url, redacted

from .catalog import FoundClips
from .protocols import Protocol, Split
from .splits import HALF_SEEDS, half_classes


MANIFEST_PROTOCOLS = ("full", "half_e2e", "half_bike", "gzsl")
# Of lists that hold several parts, the first of these that has clips is measured.
_PARTS = ("test", "validation", "train")


class ManifestError(ValueError):
    """A manifest that cannot be used; the message names the file, the entry and what is wrong."""


def read_manifest(path: str | os.PathLike, videos: str | os.PathLike | None = None) -> dict[str, Any]:
    """A manifest, or what a folder of class folders or a list says in the form of one.

    Args:
        videos: where the files of a list lie; default: beside it.

    Raises:
        FileNotFoundError: no such file or folder.
        ManifestError: not in a form that we know.
    """
    path = Path(path)
    if not path.is_dir() and not matching_lists(path):
        raise FileNotFoundError(f"There is no manifest {path}.")
    try:
        record = read_json(path) if path.suffix.lower() == ".json" and path.is_file() else None
        if isinstance(record, dict) and not isinstance(record.get("database"), dict):
            if not isinstance(record.get("clips"), list) or not record["clips"]:
                raise ManifestError(f"{path}: expected an object with a non-empty list 'clips'.")
            return record
        files, labels = labelled_files(path, videos, _PARTS)
    except (TextFileError, VideoDatasetError) as error:
        raise ManifestError(str(error)) from error
    clips = [{"file": file.name, "label": file.label} for file in files]
    return {"clips": clips, **({"labels": labels} if labels else {})}


def _clip_labels(path: Path, number: int, clip: Any) -> tuple[str, tuple[str, ...]]:
    """File name and labels of one entry."""
    file = clip.get("file") if isinstance(clip, dict) else None
    if not isinstance(file, str) or not file:
        raise ManifestError(f"{path}: clip {number} has no 'file'.")
    if is_url(file):
        raise ManifestError(f"{path}: clip {number} is the URL {redacted(file)}: download it, clips are files here.")
    labels = clip["labels"] if "labels" in clip else [clip.get("label")]
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) and label for label in labels):
        raise ManifestError(f"{path}: clip {file!r} needs a 'label' (a name, not a number), or a list 'labels'.")
    return file, tuple(dict.fromkeys(labels))


def _label_list(path: Path, record: Mapping[str, Any], labels_of: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    used = {label for labels in labels_of.values() for label in labels}
    labels = record.get("labels", sorted(used))
    _check_names(path, labels, "labels")
    if unknown := sorted(used - set(labels)):
        raise ManifestError(f"{path}: clips with labels that 'labels' lacks: {unknown}.")
    return tuple(labels)


def manifest_protocol(
    path: str | os.PathLike, protocol: str = "full", videos: str | os.PathLike | None = None
) -> Protocol:
    """A protocol over the clips of a manifest, a list or a folder of class folders.

    Args:
        protocol: `full`; `half_e2e` (ten halves of the sorted labels); `half_bike` (of those in file order); `gzsl`.
        videos: where the files of a list lie; default: beside it.

    Raises:
        FileNotFoundError, ManifestError: see `read_manifest`.
        ValueError: a protocol that a manifest does not define.
    """
    if protocol not in MANIFEST_PROTOCOLS:
        raise ValueError(f"Protocol {protocol!r} is not defined on a manifest, but {', '.join(MANIFEST_PROTOCOLS)}.")
    path, record = Path(path), read_manifest(path, videos)
    labels_of: dict[str, tuple[str, ...]] = {}
    repeated = []
    for number, clip in enumerate(record["clips"], start=1):
        file, labels = _clip_labels(path, number, clip)
        if labels_of.setdefault(file, labels) != labels:
            raise ManifestError(f"{path}: the file {file!r} stands twice, with {labels_of[file]} and {labels}.")
        repeated += [file] if len(labels_of) + len(repeated) < number else []
    if repeated:
        warn(f"{path}: clips that stand twice count once", repeated)
    classes = _label_list(path, record, labels_of)
    return Protocol(
        id=protocol,
        dataset="manifest",
        classes=classes,
        labels_of=labels_of,
        splits=_splits(path, record, protocol, classes, labels_of),
        rule=_RULES[protocol],
        clip_set=f"the {len(labels_of)} clips of {path.name}",
        training="as the manifest's author says",
        label_order="as in the manifest" if "labels" in record else "alphabetical",
    )


_RULES = {
    "full": "all labels are candidates",
    "half_e2e": "ten halves of the labels by numpy's legacy generator, seeds 0 to 9, over sorted labels",
    "half_bike": "ten halves of the labels by numpy's legacy generator, seeds 0 to 9, over the manifest's order",
    "gzsl": "seen and unseen labels compete; per-class mean S and U, H = 2SU/(S+U)",
}


def _splits(
    path: Path,
    record: Mapping[str, Any],
    protocol: str,
    classes: tuple[str, ...],
    labels_of: Mapping[str, tuple[str, ...]],
) -> tuple[Split, ...]:
    if protocol == "full":
        return (Split("full", classes, tuple(labels_of)),)
    if protocol == "gzsl":
        return (Split("all", classes, tuple(labels_of), _seen(path, record, classes)),)
    order = sorted(classes) if protocol == "half_e2e" else classes
    splits = []
    for seed in HALF_SEEDS:
        half = set(half_classes(order, seed))
        clips = tuple(clip for clip, labels in labels_of.items() if half.issuperset(labels))
        splits.append(Split(f"seed{seed}", tuple(name for name in classes if name in half), clips))
    return tuple(splits)


def _seen(path: Path, record: Mapping[str, Any], classes: tuple[str, ...]) -> frozenset[str]:
    names = record.get("seen", [])
    _check_names(path, names, "seen")
    if unknown := sorted(set(names) - set(classes)):
        raise ManifestError(f"{path}: 'seen' names what is no label: {unknown}.")
    if not names or len(names) == len(classes):
        raise ManifestError(f"{path}: 'seen' must name some, not all, of the labels for generalised evaluation.")
    return frozenset(names)


def _check_names(path: Path, names: Any, field: str) -> None:
    try:
        check_names(names, str(path), field)
    except VideoDatasetError as error:
        raise ManifestError(str(error)) from error


def find_manifest_clips(
    manifest: str | os.PathLike, protocol: Protocol, videos: str | os.PathLike | None
) -> FoundClips:
    """The files of a manifest or list, relative to `videos`, to its own folder, or to the folder of class folders."""
    beside = Path(manifest) if Path(manifest).is_dir() else Path(manifest).parent
    root = Path(videos) if videos is not None else beside
    found = FoundClips()
    for clip in protocol.clips:
        path = Path(locate(root, clip))
        if path.is_file():
            found.paths[clip] = path
        else:
            found.missing[clip] = "not found"
    if not found.paths:
        raise FileNotFoundError(f"None of the {len(protocol.clips)} clips of {manifest} is under {root}.")
    return found
