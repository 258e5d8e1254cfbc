"""Label banks that know labeled videos: examples instead of training, and how far scores can be trusted."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from hf_zsar.features.encoding import encode_batch
from hf_zsar.files import file_sha256
from hf_zsar.modeling.calibration import Calibration, calibrate, fit_platt
from hf_zsar.modeling.outputs import VideoFeatures
from hf_zsar.processing.video_sources import VideoReadError


if TYPE_CHECKING:
    from hf_zsar.modeling.label_bank import LabelBank
    from hf_zsar.modeling.modeling_zsar import ZSARPreTrainedModel
    from hf_zsar.processing.processing_zsar import ZSARProcessor


# Threads that decode while the model encodes.
READERS = 2
# What of the video processor decides which frames a score is of.
SAMPLING = ("num_frames", "fps", "sampling", "mode", "num_views", "num_crops")


@torch.no_grad()
def bank_with_examples(
    model: ZSARPreTrainedModel,
    processor: ZSARProcessor,
    examples: Sequence[tuple[Any, str]],
    labels: Sequence[str] = (),
    *,
    unnamed: Collection[str] = (),
    templates: str | Sequence[str] | None = None,
    descriptions: Any = None,
    video_options: Mapping[str, Any] | None = None,
    on_error: Callable[[str], None] | None = None,
    progress: bool = False,
    **term: Any,
) -> LabelBank:
    """Encode labeled videos, and the bank of their labels that takes them into account.

    Args:
        examples: (video, label) pairs; a video is whatever the processor takes.
        labels: further labels, which have no examples.
        unnamed: labels that are known by their examples alone: their names say nothing ("my machine, state 3").
        templates, descriptions: see `ZSARProcessor.prepare_labels`.
        video_options: overrides of the video processor.
        on_error: told of every video that cannot be read, which is then left out; default: the first one raises.
        term: `method`, `strength`, `sharpness`, `ridge` of [`LabelBank.with_examples`].

    Raises:
        ValueError: no example that can be read, no label with a name, or see `LabelBank.with_examples`.
        VideoReadError: see `on_error`.
    """
    candidates = list(dict.fromkeys([*labels, *(label for _, label in examples)]))
    unknown = sorted(set(unnamed) - {label for _, label in examples})
    if unknown:
        raise ValueError(f"{unknown[0]!r} has neither a name nor an example.")
    named = [label for label in candidates if label not in unnamed]
    if not named:
        raise ValueError("at least one label must have a name: the examples add to what the text says.")
    with model.evaluating():
        bank = model.build_label_bank(processor, named, templates=templates, descriptions=descriptions)
        options = dict(video_options or {})
        parts = list(_encoded(model, processor, examples, options, on_error, progress))
        if not parts:
            raise ValueError(f"none of the {len(examples)} examples can be read.")
        features = VideoFeatures.cat([features for features, _ in parts])
        logits = model.score(features.to(model.device), bank)
    bank = bank.with_examples(features, [label for _, label in parts], logits=logits, **term)
    known = {digest for video, _ in examples if (digest := clip_digest(video))}
    bank = replace(bank, metadata={**bank.metadata, "example_files": " ".join(sorted(known))})
    bank = with_sampling(bank, processor, options)
    kept = [label for label in candidates if label in bank.labels]  # all examples of an unnamed one may be broken
    return bank if list(bank.labels) == kept else bank.select(kept)


def clip_digest(video: Any) -> str:
    """SHA-256 of what is in a file, or of bytes, 16 hex digits; empty for anything else."""
    if isinstance(video, Mapping):
        video = video.get("bytes") or video.get("path")
    if isinstance(video, bytes):
        return hashlib.sha256(video).hexdigest()[:16]
    is_file = isinstance(video, (str, os.PathLike)) and os.path.isfile(video)
    return file_sha256(video)[:16] if is_file else ""


def with_sampling(bank: LabelBank, processor: ZSARProcessor, options: Mapping[str, Any]) -> LabelBank:
    """The bank with a note of which frames of a video it knows."""
    return replace(bank, metadata={**bank.metadata, "sampling": json.dumps(_sampling(processor, options))})


def other_sampling(bank: LabelBank, processor: ZSARProcessor, options: Mapping[str, Any]) -> str:
    """A sentence where the examples or the calibration of a bank are of videos sampled in another way; else empty."""
    noted = json.loads(bank.metadata.get("sampling", "{}"))
    asked = _sampling(processor, options)
    other = [
        f"{name} {noted[name]}, here {asked[name]}" for name in SAMPLING if noted and noted.get(name) != asked[name]
    ]
    return f"the bank is of videos that were sampled in another way ({'; '.join(other)})." if other else ""


def _sampling(processor: ZSARProcessor, options: Mapping[str, Any]) -> dict[str, Any]:
    settings = {**processor.video_processor.to_dict(), **options}
    return {name: settings.get(name) for name in SAMPLING}


def _encoded(
    model: ZSARPreTrainedModel,
    processor: ZSARProcessor,
    examples: Sequence[tuple[Any, str]],
    options: dict[str, Any],
    on_error: Callable[[str], None] | None,
    progress: bool,
) -> Iterator[tuple[VideoFeatures, str]]:
    from tqdm import tqdm

    def read(example: tuple[Any, str]) -> tuple[Any, str]:
        try:
            inputs = processor.video_processor(example[0], return_tensors="pt", **options)
        except VideoReadError as error:
            return error, example[1]
        return inputs["pixel_values_videos"], example[1]

    ahead = processor.video_processor.prefetch(read, examples, READERS)
    bar = tqdm(ahead, total=len(examples), unit="example", disable=None if progress else True, leave=False)
    for pixels, label in bar:
        try:
            if isinstance(pixels, VideoReadError):
                raise pixels
            features = encode_batch(model, [pixels])
        except (VideoReadError, FloatingPointError) as error:
            if on_error is None:
                raise
            on_error(str(error))
            continue
        yield features, label


def calibrated_bank(
    pipe: Any,
    bank: LabelBank,
    examples: Sequence[tuple[Any, str]],
    *,
    unknown: bool = False,
    multi_label: bool = False,
    seed: int = 0,
    video_options: Mapping[str, Any] | None = None,
    on_error: Callable[[str], None] | None = None,
) -> tuple[LabelBank, int]:
    """What labeled clips say about the scores of a bank (see `modeling/calibration.py`).

    Args:
        pipe: the pipeline of the model that made the bank.
        examples: (video, label) pairs, other clips than those that the bank has as examples.
        unknown: also score "none of these", so that a threshold can be set by false alarms.
        multi_label: also fit a scale and a bias for each label.
        seed: which half of the clips gives the temperature.
        video_options: overrides of the video processor; the bank notes them.
        on_error: told of every video that cannot be read, which is then left out; default: the first one raises.

    Returns:
        The bank, and how many clips were read.

    Raises:
        ValueError: a label that the bank does not hold, a clip that is one of its examples, or too few clips.
    """
    known = {label: place for place, label in enumerate(bank.labels)}
    strange = sorted({label for _, label in examples} - known.keys())
    if strange:
        raise ValueError(f"the bank has no label {strange[0]!r}, which a clip shows.")
    own = set(bank.metadata.get("example_files", "").split())
    same = [number for number, (video, _) in enumerate(examples) if own and clip_digest(video) in own]
    if same:
        name = pipe._name_of(examples[same[0]][0], same[0])
        raise ValueError(f"{name} is an example of the bank, which is too sure of it: calibrate on other clips.")
    plain, options = bank.calibrated(Calibration()), dict(video_options or {})
    asked: dict[str, Any] = dict(label_bank=plain, function_to_apply="none", unknown=unknown, **options)
    results = pipe.stream([video for video, _ in examples], on_error="return" if on_error else "raise", **asked)
    logits, targets, shares = [], [], []
    for result, (_, label) in zip(results, examples, strict=True):
        if isinstance(result, Exception):
            if on_error is not None:
                on_error(str(result))
            continue
        scores = {each["label"]: each["score"] for each in (result["labels"] if unknown else result)}
        logits.append([scores[name] for name in bank.labels])
        targets.append(known[label])
        shares += [result["unknown"]] if unknown else []
    table, right = torch.tensor(logits), torch.tensor(targets)
    found = calibrate(table, right, torch.tensor(shares) if unknown else None, seed)
    platt = fit_platt(table, torch.nn.functional.one_hot(right, len(known)).bool()) if multi_label else None
    return with_sampling(bank.calibrated(found, platt), pipe.processor, options), len(logits)
