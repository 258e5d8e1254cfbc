"""Videos -> features in the store: decoded by threads, encoded in fixed chunks, shared out over processes.

The list of videos is cut into chunks once, before anything is looked up, and a chunk is encoded as a whole by one
process and written as one shard. So the numbers do not depend on how many processes there are, nor on where a killed
run stopped.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from transformers import PreTrainedModel

from hf_zsar.modeling.modeling_zsar import VideoFeatures
from hf_zsar.pipeline_zero_shot_video_classification import prefetch
from hf_zsar.processing.frame_sampling import get_sampler
from hf_zsar.processing.processing_zsar import ZSARProcessor
from hf_zsar.processing.video_sources import VideoReadError, VideoReadWarning

from .feature_store import ClipFile, FeatureStore
from .processes import Processes


BATCHES_PER_SHARD = 4


@dataclass(frozen=True)
class EncodingOptions:
    """How videos are read and encoded.

    Args:
        video_options: overrides of the video processor: `num_frames`, `num_views`, `num_crops`, `sampling`...
        batch_size: videos per forward pass.
        num_workers: decoding threads.
        progress: show a bar on a terminal.
    """

    video_options: Mapping[str, Any]
    batch_size: int = 8
    num_workers: int = 2
    progress: bool = False


def feature_settings(
    model: PreTrainedModel, processor: ZSARProcessor, video_options: Mapping[str, Any]
) -> dict[str, Any]:
    """All that a feature depends on besides the video: what a `FeatureStore` is named by.

    Raises:
        ValueError: a sampler that draws frames at random: another run would see other frames.
    """
    settings = {**processor.video_processor.to_dict(), **video_options}
    if settings["fps"] is None and get_sampler(settings["sampling"]).is_random:
        raise ValueError(
            f"sampling {settings['sampling']!r} draws frames at random: evaluate with 'uniform' or another."
        )
    return {
        "weights": model.weights_fingerprint(),
        "model_type": model.config.model_type,
        "video": settings,
        "dtype": str(model.dtype).removeprefix("torch."),
    }


def chunks_of(files: Sequence[ClipFile], batch_size: int) -> list[Sequence[ClipFile]]:
    """The videos in shards of a few batches, in order."""
    size = batch_size * BATCHES_PER_SHARD
    return [files[start : start + size] for start in range(0, len(files), size)]


def encode_clips(
    model: PreTrainedModel,
    processor: ZSARProcessor,
    files: Sequence[ClipFile],
    store: FeatureStore,
    options: EncodingOptions,
    processes: Processes,
) -> dict[str, str]:
    """Encode the videos that the store lacks; afterwards it holds every video that can be read, on every process.

    A video that cannot be read does not stop the others. It is tried again by the next run.

    Returns:
        clip id -> why it cannot be read.
    """
    chunks = chunks_of(files, options.batch_size)
    # Looked up once and told to all: another process may be writing already when this one looks.
    pending = processes.from_main(
        lambda: [number for number, chunk in enumerate(chunks) if any(file not in store for file in chunk)]
    )
    todo = [(number, file) for number in processes.share(pending) for file in chunks[number] if file not in store]
    broken: list[tuple[str, str]] = []
    with _read_warnings() as caught:
        decoded = _progress(_decode(processor, todo, options), len(todo), options.progress and processes.is_main)
        for _, chunk in groupby(decoded, key=lambda item: item[0]):
            broken += _encode_chunk(model, [item[1:] for item in chunk], store, options.batch_size, caught)
    broken = processes.gather(broken)
    store.refresh()
    return dict(broken)


Decoded = tuple[int, ClipFile, "torch.Tensor | VideoReadError"]


def _decode(
    processor: ZSARProcessor, todo: Sequence[tuple[int, ClipFile]], options: EncodingOptions
) -> Iterator[Decoded]:
    """Chunk number, file, and pixel values `[1, (V,) T, 3, H, W]` or what is wrong, in order; a few are read ahead."""

    def read(item: tuple[int, ClipFile]) -> Decoded:
        number, file = item
        try:
            inputs = processor.video_processor(file.path, return_tensors="pt", **options.video_options)
        except VideoReadError as error:
            return number, file, error
        return number, file, inputs["pixel_values_videos"]

    return prefetch(read, todo, options.num_workers)


def _encode_chunk(
    model: PreTrainedModel,
    items: Sequence[tuple[ClipFile, torch.Tensor | VideoReadError]],
    store: FeatureStore,
    batch_size: int,
    caught: list[warnings.WarningMessage],
) -> list[tuple[str, str]]:
    """Encode and store one chunk; gives (clip, reason) of those that could not be read."""
    broken = [(file.clip, str(value)) for file, value in items if isinstance(value, VideoReadError)]
    good = [(file, value) for file, value in items if not isinstance(value, VideoReadError)]
    if good:
        parts = [
            encode_batch(model, [value for _, value in good[i : i + batch_size]])
            for i in range(0, len(good), batch_size)
        ]
        files = [file for file, _ in good]
        store.write(files, VideoFeatures.cat(parts), _notes(files, caught))
    return broken


@torch.inference_mode()
def encode_batch(model: PreTrainedModel, pixel_values: Sequence[torch.Tensor]) -> VideoFeatures:
    """Features of one batch, on the CPU, in the number type that the model gives.

    Raises:
        ValueError: videos that give different numbers of frames.
    """
    shapes = sorted({tuple(each.shape[1:]) for each in pixel_values})
    if len(shapes) > 1:
        raise ValueError(f"The videos give frames of different shapes {shapes}: fix num_frames and crop_size.")
    batch = torch.cat(list(pixel_values)).to(model.device, model.dtype)
    return model.encode_videos(batch).to("cpu")


@contextmanager
def _read_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Collect the warnings of partly readable videos, from the decoding threads too; others are shown at the end."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", VideoReadWarning)
        yield caught
    for other in caught:
        if not issubclass(other.category, VideoReadWarning):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)


def _notes(files: Sequence[ClipFile], caught: Sequence[warnings.WarningMessage]) -> dict[str, str]:
    """File key -> what was wrong, from the warnings, whose text begins with the path."""
    messages = [str(warning.message) for warning in caught if issubclass(warning.category, VideoReadWarning)]
    return {
        file.key: message.removeprefix(f"{file.path}: ")
        for file in files
        for message in messages
        if message.startswith(f"{file.path}: ")
    }


def _progress(items: Iterator[Decoded], total: int, wanted: bool) -> Iterator[Decoded]:
    from tqdm import tqdm

    return iter(tqdm(items, total=total, unit="video", desc="encoding", disable=None if wanted else True, leave=False))
