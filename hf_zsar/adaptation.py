"""Label banks that know labeled videos: examples instead of training, and how far scores can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from hf_zsar.features.encoding import encode_batch
from hf_zsar.modeling.calibration import Calibration, calibrate, fit_platt
from hf_zsar.modeling.outputs import VideoFeatures
from hf_zsar.processing.video_sources import VideoReadError


if TYPE_CHECKING:
    from hf_zsar.modeling.label_bank import LabelBank
    from hf_zsar.modeling.modeling_zsar import ZSARPreTrainedModel
    from hf_zsar.processing.processing_zsar import ZSARProcessor


# Threads that decode while the model encodes.
READERS = 2


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
    kept = [label for label in candidates if label in bank.labels]  # all examples of an unnamed one may be broken
    return bank if list(bank.labels) == kept else bank.select(kept)


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
    on_error: Callable[[str], None] | None = None,
) -> tuple[LabelBank, int]:
    """What labeled clips say about the scores of a bank (see `modeling/calibration.py`).

    Args:
        pipe: the pipeline of the model that made the bank.
        examples: (video, label) pairs, other clips than those that the bank has as examples.
        unknown: also score "none of these", so that a threshold can be set by false alarms.
        multi_label: also fit a scale and a bias for each label.
        seed: which half of the clips gives the temperature.
        on_error: told of every video that cannot be read, which is then left out; default: the first one raises.

    Returns:
        The bank, and how many clips were read.

    Raises:
        ValueError: a label that the bank does not hold, or too few clips.
    """
    known = {label: place for place, label in enumerate(bank.labels)}
    strange = sorted({label for _, label in examples} - known.keys())
    if strange:
        raise ValueError(f"the bank has no label {strange[0]!r}, which a clip shows.")
    plain = bank.calibrated(Calibration())
    asked: dict[str, Any] = dict(label_bank=plain, function_to_apply="none", unknown=unknown)
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
    return bank.calibrated(found, platt), len(logits)
