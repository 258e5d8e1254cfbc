"""`evaluate_zero_shot`: a model, a protocol and a folder of videos in, one record out."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_zsar.clips.class_lists import background_for
from hf_zsar.clips.layouts import FoundClips, dataset_info, find_clips
from hf_zsar.clips.manifests import find_manifest_clips
from hf_zsar.features.encoding import EncodingOptions, encode_videos, feature_header, open_store
from hf_zsar.features.processes import Processes
from hf_zsar.features.store import FeatureStore, Header, VideoFile, file_signature
from hf_zsar.files import scratch_folder
from hf_zsar.modeling.modeling_zsar import LabelBank, ZSARPreTrainedModel
from hf_zsar.processing.processing_zsar import ZSARProcessor

from .manifest import manifest_protocol
from .protocol_builders import load_protocol
from .protocols import Protocol, digest, in_label_order
from .records import FORMAT, library_versions, now
from .scoring import SplitScores, score_splits
from .summary import INTERVALS, summarize, summarize_split
from .trust import unknown_section


# How descriptions count in a score.
USES = {
    "ensemble": "an ensemble of prompts (arXiv 2408.16412, 2603.08289), half of the weight on names, half on "
    "descriptions: that share is ours",
    "own": "as the method does",
}


@dataclass(frozen=True)
class ModelFacts:
    """What a record says about the model that the model itself does not know.

    Args:
        id: Hub id or folder name; default: what the configuration was loaded from.
        revision: commit of a Hub model.
        training_set: what the model was trained on, in words.
    """

    id: str | None = None
    revision: str | None = None
    training_set: str | None = None


def evaluate_zero_shot(
    model: ZSARPreTrainedModel,
    processor: ZSARProcessor,
    protocol: str | Protocol = "full",
    *,
    dataset: str | None = None,
    videos: str | os.PathLike | None = None,
    manifest: str | os.PathLike | None = None,
    splits: Sequence[str] | None = None,
    templates: str | Sequence[str] | None = None,
    descriptions: Any = None,
    bank: LabelBank | None = None,
    unknown_labels: Collection[str] = (),
    background_labels: Sequence[str] | None = None,
    video_options: Mapping[str, Any] | None = None,
    store: str | os.PathLike | None = None,
    batch_size: int = 8,
    num_workers: int | None = None,
    facts: ModelFacts | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Score a model by a protocol.

    Every video is decoded and encoded once, whatever the number of splits and candidate sets. With descriptions the
    numbers without them are measured as well. Under `accelerate
    launch` or `torchrun` the videos are shared out over the processes; every process returns the same record.

    Args:
        protocol: an id of `PROTOCOLS`, or a `Protocol` of your own.
        dataset: name of the data set, where the protocol is defined on several.
        videos: folder with the videos in the data set's official layout.
        manifest: your own clips instead of a data set: a JSON file (see `clips/manifests.py`), a folder of class
            folders, a CSV, JSONL or list file. Files are relative to `videos`, else to the list.
        splits: only these splits of the protocol.
        templates, descriptions: instead of the processor's, see `ZSARProcessor.prepare_labels`.
        bank: of this model, with the classes of the protocol, instead of one that is made here: with examples, say.
            What `hf-zsar calibrate` found counts where the bank has these classes alone.
        unknown_labels: classes that are no candidates: how well their clips are told as "none of these" is added.
        background_labels: for that, see the pipeline; default: the classes of Kinetics-400.
        video_options: overrides of the video processor: `num_frames`, `num_views`, `num_crops`, `sampling`...
        store: folder for video features, which later runs and other protocols reuse. Without it they are forgotten,
            which needs a single process.
        batch_size: videos per forward pass.
        num_workers: decoding threads (default: up to 4).

    Returns:
        The record (see `records.py`): `summary`, `results` per split with metrics and intervals, what was missing or
        broken, and all that the numbers stand on. `without_descriptions`: `summary` and `results` of the same clips by
        the names alone, where there are descriptions.

    Raises:
        ValueError: unknown protocol, data set or split, a broken manifest, or a split with a single candidate.
        FileNotFoundError: no such folder, or none of the clips in it.
    """
    started, processes = time.monotonic(), Processes.current()
    protocol = resolve_protocol(protocol, dataset, manifest, videos)
    protocol = protocol.only(splits) if splits else protocol
    whole, protocol = protocol, protocol.without(unknown_labels) if unknown_labels else protocol
    _check_choices(protocol)
    workers = num_workers or _default_workers()
    options = EncodingOptions(dict(video_options or {}), batch_size=batch_size, num_workers=workers, progress=progress)
    if processes.device is not None:
        model.to(processes.device)
    with model.evaluating(), ExitStack() as stack:
        root = store if store is not None else stack.enter_context(_temporary_store(processes))
        facts = facts or ModelFacts()
        header = feature_header(model, processor, options, facts.id, facts.revision)
        found = processes.from_main(lambda: _find(whole, videos, manifest))
        files = processes.from_main(lambda: _files(whole, found))
        features = _open(Path(root), header, processes)
        # May refuse, so it goes first.
        is_given, plain = bank is not None, None
        bank = encode_candidates(model, processor, protocol, templates, descriptions, bank)
        if not is_given and processor.read_descriptions(descriptions) is not None:
            plain = encode_candidates(model, _without_descriptions(processor), protocol, templates)
        broken = encode_videos(model, processor, files, features, options, processes)
        good = [file for file in files if file.id not in broken]
        scores = score_splits(model, features, bank, protocol, good, batch_size, processes)
        strange = {clip for clip in whole.clips if not set(unknown_labels).isdisjoint(whole.labels_of[clip])}
        more = {}
        if plain is not None:
            by_names = score_splits(model, features, plain, protocol, good, batch_size, processes)
            more["without_descriptions"] = _numbers(protocol, by_names)
        if unknown_labels:
            joint = _with_background(model, processor, bank, whole, templates, descriptions, background_labels)
            more["unknown"] = {
                "labels": sorted(unknown_labels),
                **unknown_section(model, features, bank, joint, good, strange, batch_size, processes),
            }
        partial = {file.id: " ".join(notes) for file in good if (notes := features.warnings_of(file))}
    return {
        "format": FORMAT,
        "created": now(),
        "model": _model_section(model, facts),
        **_protocol_section(protocol),
        "clips": _clips_section(protocol, found, broken, partial, scores),
        "sampling": _sampling_section(header.encoding["video"]),
        "prompts": _prompts_section(processor, protocol, bank, templates, descriptions),
        "intervals": INTERVALS,
        **_numbers(protocol, scores),
        **more,
        "versions": library_versions(),
        "seconds": round(time.monotonic() - started, 2),
    }


def _check_choices(protocol: Protocol) -> None:
    for split in protocol.splits:
        if len(split.candidates) < 2 and not protocol.multi_label:
            raise ValueError(
                f"{protocol.id}, {split.name}: {list(split.candidates)} is no choice, every clip would count as "
                "right: at least two classes are needed."
            )


def _without_descriptions(processor: ZSARProcessor) -> ZSARProcessor:
    plain = copy.copy(processor)
    plain.descriptions = None
    return plain


def encode_candidates(
    model: ZSARPreTrainedModel,
    processor: ZSARProcessor,
    protocol: Protocol,
    templates: str | Sequence[str] | None = None,
    descriptions: Any = None,
    bank: LabelBank | None = None,
) -> LabelBank:
    """The text side of every candidate of any split, once, on the model's device; or those of a given bank."""
    used = {name for split in protocol.splits for name in split.candidates}
    labels = list(in_label_order(protocol.classes, used))
    if bank is None:
        return model.build_label_bank(processor, labels, templates=templates, descriptions=descriptions)
    missing = [label for label in labels if label not in bank.labels]
    if missing:
        raise ValueError(f"the bank lacks {len(missing)} of the {len(labels)} classes, {missing[0]!r} for one.")
    return bank.select(labels).to(model.device)


def _with_background(
    model: ZSARPreTrainedModel,
    processor: ZSARProcessor,
    bank: LabelBank,
    protocol: Protocol,
    templates: str | Sequence[str] | None,
    descriptions: Any,
    background: Sequence[str] | None,
) -> LabelBank:
    """The labels of a bank that have a name and, behind them, background labels, of which none is a class here."""
    labels = bank.without_examples.labels
    together = [*labels, *background_for(background or None, protocol.classes)]
    joint = model.build_label_bank(processor, together, templates=templates, descriptions=descriptions)
    return joint.with_background(len(labels)).to(model.device)


def resolve_protocol(
    protocol: str | Protocol,
    dataset: str | None = None,
    manifest: str | os.PathLike | None = None,
    videos: str | os.PathLike | None = None,
) -> Protocol:
    """The protocol that the arguments of `evaluate_zero_shot` mean; errors as there."""
    if isinstance(protocol, Protocol):
        return protocol
    if manifest is not None:
        if dataset is not None:
            raise ValueError("Pass a manifest or a data set, not both.")
        return manifest_protocol(manifest, protocol, videos)
    return load_protocol(protocol, dataset)


def _find(protocol: Protocol, videos: str | os.PathLike | None, manifest: str | os.PathLike | None) -> FoundClips:
    if manifest is not None:
        return find_manifest_clips(manifest, protocol.clips, videos)
    if videos is None:
        raise ValueError(f"Pass the folder with the videos of {protocol.dataset}.")
    labels_of = {clip: protocol.labels_of[clip][0] for clip in protocol.clips}
    return find_clips(videos, dataset_info(protocol.dataset), labels_of)


def _files(protocol: Protocol, found: FoundClips) -> list[VideoFile]:
    """The clips with the signatures of their files, in the order of the protocol."""
    paths = [(clip, found.paths[clip]) for clip in protocol.clips if clip in found.paths]
    return [VideoFile(clip, os.fspath(path), file_signature(path)) for clip, path in paths]


def _open(root: Path, header: Header, processes: Processes) -> FeatureStore:
    """The store of this model and these frames: a folder under `root`, named by them."""
    return open_store(root / f"{header.model['model_type']}-{header.fingerprint}", header, processes)


def _temporary_store(processes: Processes) -> AbstractContextManager[Path]:
    if processes.count > 1:
        raise ValueError("Several processes need a common folder for features: pass `store`.")
    return scratch_folder()


def _default_workers() -> int:
    return min(4, os.cpu_count() or 1)


def _model_section(model: ZSARPreTrainedModel, facts: ModelFacts) -> dict[str, Any]:
    config = model.config
    name = facts.id or getattr(config, "_name_or_path", "") or type(model).__name__
    return {
        # A folder's place on one machine means nothing on another.
        "id": Path(name).name if Path(name).is_dir() else name,
        "revision": facts.revision or getattr(config, "_commit_hash", None),
        "model_type": config.model_type,
        "fingerprint": model.weights_fingerprint(),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "dtype": str(model.dtype).removeprefix("torch."),
        "training_set": facts.training_set or "not stated",
    }


def _protocol_section(protocol: Protocol) -> dict[str, Any]:
    return {
        "protocol": {
            "id": protocol.id,
            "dataset": protocol.dataset,
            "split_rule": protocol.rule,
            "clip_set": protocol.clip_set,
            "expects_training_on": protocol.training,
            "split_hash": protocol.split_hash,
            "lists": dict(protocol.lists),
            "caveats": list(protocol.caveats),
        },
        "classes": {
            "names": list(protocol.classes),
            "label_order": protocol.label_order,
            "hash": protocol.class_hash,
        },
    }


def _clips_section(
    protocol: Protocol,
    found: FoundClips,
    broken: Mapping[str, str],
    partial: Mapping[str, str],
    scores: Sequence[SplitScores],
) -> dict[str, Any]:
    class_numbers = {name: number for number, name in enumerate(protocol.classes)}
    scored = {clip for table in scores for clip in table.clips}
    ids = [clip for clip in protocol.clips if clip in scored]
    return {
        "expected": len(protocol.clips),
        "scored": len(ids),
        "missing": found.missing,
        "broken": {clip: broken[clip] for clip in protocol.clips if clip in broken},
        "partial": partial,
        "duplicates": found.duplicates,
        "ids": ids,
        "labels": [[class_numbers[name] for name in protocol.labels_of[clip]] for clip in ids],
    }


def _sampling_section(video: Mapping[str, Any]) -> dict[str, Any]:
    frames = f"{video['num_frames']} frames" if video["fps"] is None else f"{video['fps']} frames a second"
    views = f"{video['num_views']} clips x {video['num_crops']} crops"
    mode = "" if video["mode"] == "exact" else f", {video['mode']} mode"
    return {"frames_x_views": f"{frames}, {views}{mode}", "video_processor": dict(video)}


def _prompts_section(
    processor: ZSARProcessor,
    protocol: Protocol,
    bank: LabelBank,
    templates: str | Sequence[str] | None,
    descriptions: Any,
) -> dict[str, Any]:
    used = [templates] if isinstance(templates, str) else list(templates or processor.prompt_templates)
    known = processor.read_descriptions(descriptions)
    return {
        "templates": used,
        "clean_labels": processor.clean_labels,
        "names_in_prompts_hash": digest(processor.check_labels(list(bank.labels))),
        "descriptions": known.fingerprint if known is not None else None,
        "descriptions_used": USES["ensemble" if processor.descriptions_kind is None else "own"] if known else None,
        "label_bank": bank.fingerprint,
        "temperature": bank.calibration.temperature,
        "candidates": "the classes of each split" if len(protocol.splits) > 1 else f"{len(bank)} classes",
    }


def _numbers(protocol: Protocol, scores: Sequence[SplitScores]) -> dict[str, Any]:
    scored = {clip for table in scores for clip in table.clips}
    clip_numbers = {clip: number for number, clip in enumerate(clip for clip in protocol.clips if clip in scored)}
    class_numbers = {name: number for number, name in enumerate(protocol.classes)}
    results = [summarize_split(table, clip_numbers, class_numbers) for table in scores]
    return {"summary": summarize(protocol, results), "results": results}
