"""A user's own labelled clips as a protocol: a JSON file of labels and clips that lies beside the videos.

```
{"labels": ["archery", ...], "clips": [{"file": "a.mp4", "label": "archery"}, ...],
 "prompt": "a video of a person {label}", "seen": [...]}
```
`labels` (the candidates, in order) may be left out: then they are those of the clips, sorted. A clip may carry a list
`labels` instead of `label`. `seen` names the labels that training has seen, for `gzsl`. Other keys are ignored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .catalog import FoundClips
from .protocols import Protocol, Split
from .splits import HALF_SEEDS, half_classes


MANIFEST_PROTOCOLS = ("full", "half_e2e", "half_bike", "gzsl")


class ManifestError(ValueError):
    """A manifest that cannot be used; the message names the file, the entry and what is wrong."""


def read_manifest(path: str | os.PathLike) -> dict[str, Any]:
    """Read and check a manifest.

    Raises:
        FileNotFoundError: no such file.
        ManifestError: not JSON, or not in the form above.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no manifest {path}.")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ManifestError(f"{path} is not JSON: {error}.") from error
    if not isinstance(record, dict) or not isinstance(record.get("clips"), list) or not record["clips"]:
        raise ManifestError(f"{path}: expected an object with a non-empty list 'clips'.")
    return record


def _clip_labels(path: Path, number: int, clip: Any) -> tuple[str, tuple[str, ...]]:
    """File name and labels of one entry."""
    file = clip.get("file") if isinstance(clip, dict) else None
    if not isinstance(file, str) or not file:
        raise ManifestError(f"{path}: clip {number} has no 'file'.")
    labels = clip["labels"] if "labels" in clip else [clip.get("label")]
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) and label for label in labels):
        raise ManifestError(f"{path}: clip {file!r} needs a 'label' (a name, not a number), or a list 'labels'.")
    return file, tuple(dict.fromkeys(labels))


def _label_list(path: Path, record: Mapping[str, Any], labels_of: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    used = {label for labels in labels_of.values() for label in labels}
    labels = record.get("labels", sorted(used))
    if not isinstance(labels, list) or not all(isinstance(label, str) and label for label in labels):
        raise ManifestError(f"{path}: 'labels' must be a list of names.")
    unknown, twice = sorted(used - set(labels)), sorted({label for label in labels if labels.count(label) > 1})
    if unknown or twice:
        raise ManifestError(
            f"{path}: clips with labels that 'labels' lacks: {unknown}; labels that stand twice: {twice}."
        )
    return tuple(labels)


def manifest_protocol(path: str | os.PathLike, protocol: str = "full") -> Protocol:
    """A protocol over the clips of a manifest.

    Args:
        protocol: `full`; `half_e2e` (ten halves of the sorted labels); `half_bike` (of those in file order); `gzsl`.

    Raises:
        FileNotFoundError, ManifestError: see `read_manifest`.
        ValueError: a protocol that a manifest does not define.
    """
    if protocol not in MANIFEST_PROTOCOLS:
        raise ValueError(f"Protocol {protocol!r} is not defined on a manifest, but {', '.join(MANIFEST_PROTOCOLS)}.")
    path, record = Path(path), read_manifest(path)
    labels_of: dict[str, tuple[str, ...]] = {}
    for number, clip in enumerate(record["clips"], start=1):
        file, labels = _clip_labels(path, number, clip)
        if file in labels_of:
            raise ManifestError(f"{path}: the file {file!r} stands twice.")
        labels_of[file] = labels
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
    if protocol in ("full", "gzsl"):
        seen = frozenset(record.get("seen", ()) if protocol == "gzsl" else ())
        if protocol == "gzsl" and (not seen or seen >= set(classes) or not seen <= set(classes)):
            raise ManifestError(f"{path}: 'seen' must name some, not all, of the labels for generalised evaluation.")
        return (Split("full" if protocol == "full" else "all", classes, tuple(labels_of), seen),)
    order = sorted(classes) if protocol == "half_e2e" else classes
    splits = []
    for seed in HALF_SEEDS:
        half = set(half_classes(order, seed))
        clips = tuple(clip for clip, labels in labels_of.items() if half.issuperset(labels))
        splits.append(Split(f"seed{seed}", tuple(name for name in classes if name in half), clips))
    return tuple(splits)


def find_manifest_clips(
    manifest: str | os.PathLike, protocol: Protocol, videos: str | os.PathLike | None
) -> FoundClips:
    """The files of a manifest, relative to `videos` or to the manifest's own folder."""
    root = Path(videos) if videos is not None else Path(manifest).parent
    found = FoundClips()
    for clip in protocol.clips:
        path = root / clip
        if path.is_file():
            found.paths[clip] = path
        else:
            found.missing[clip] = "not found"
    if not found.paths:
        raise FileNotFoundError(f"None of the {len(protocol.clips)} clips of {manifest} is under {root}.")
    return found
