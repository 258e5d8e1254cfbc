"""A user's own labeled clips as a protocol; what may hold them: `hf_zsar.clips.manifests`."""

from __future__ import annotations

import os
from collections.abc import Iterable

from hf_zsar.clips.manifests import Manifest, read_manifest

from .protocols import Protocol, Split
from .splits import HALF_SEEDS, half_classes


_RULES = {
    "full": "all labels are candidates",
    "half_e2e": "ten halves of the labels by numpy's legacy generator, seeds 0 to 9, over sorted labels",
    "half_bike": "ten halves of the labels by numpy's legacy generator, seeds 0 to 9, over the manifest's order",
    "gzsl": "seen and unseen labels compete; per-class mean S and U, H = 2SU/(S+U)",
}
MANIFEST_PROTOCOLS = tuple(_RULES)


def manifest_protocol(
    path: str | os.PathLike, protocol: str = "full", videos: str | os.PathLike | None = None
) -> Protocol:
    """A protocol over the clips of a manifest, a list or a folder of class folders.

    Args:
        protocol: `full`; `half_e2e` (ten halves of the sorted labels); `half_bike` (of those in file order); `gzsl`.
        videos: where the files of a list lie; default: beside it.

    Raises:
        FileNotFoundError, VideoDatasetError: see `read_manifest`.
        ValueError: a protocol that a manifest does not define.
    """
    if protocol not in _RULES:
        raise ValueError(f"Protocol {protocol!r} is not defined on a manifest, but {', '.join(_RULES)}.")
    manifest = read_manifest(path, videos)
    return Protocol(
        id=protocol,
        dataset="manifest",
        classes=manifest.classes,
        labels_of=manifest.labels_of,
        splits=tuple(_splits(manifest, protocol)),
        rule=_RULES[protocol],
        clip_set=f"the {len(manifest.labels_of)} clips of {manifest.path.name}",
        training="as the manifest's author says",
        label_order="as in the manifest" if manifest.ordered else "alphabetical",
    )


def _splits(manifest: Manifest, protocol: str) -> Iterable[Split]:
    classes, labels_of = manifest.classes, manifest.labels_of
    if protocol == "full":
        yield Split("full", classes, tuple(labels_of))
    elif protocol == "gzsl":
        yield Split("all", classes, tuple(labels_of), manifest.seen_classes())
    else:
        order = sorted(classes) if protocol == "half_e2e" else classes
        for seed in HALF_SEEDS:
            half = set(half_classes(order, seed))
            clips = tuple(clip for clip, labels in labels_of.items() if half.issuperset(labels))
            yield Split(f"seed{seed}", tuple(name for name in classes if name in half), clips)
