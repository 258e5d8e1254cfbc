"""Sums over the videos of each class, for methods with prototypes: shared by processes, resumable after a kill."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tqdm import tqdm

from hf_zsar.files import replacing
from hf_zsar.modeling.modeling_zsar import ZSARPreTrainedModel, fingerprint_of
from hf_zsar.modeling.tensor_files import read_tensors
from hf_zsar.processing.processing_zsar import ZSARProcessor

from .collator import VideoTextCollator


def fit_prototypes(
    model: ZSARPreTrainedModel,
    processor: ZSARProcessor,
    dataset: Any,
    label_names: Sequence[str],
    **options: Any,
) -> None:
    """What a method makes of the videos of a data set when training is over: prototypes of their classes, or nothing.

    Args:
        dataset, label_names, options: see [`class_sums`].

    Raises:
        ValueError: the model was trained on other classes.
    """
    model.check_classes(label_names)
    model.finish_training(
        processor, label_names, lambda: class_sums(model, processor, dataset, label_names, **options)
    )


def class_sums(
    model: ZSARPreTrainedModel,
    processor: ZSARProcessor,
    dataset: Any,
    label_names: Sequence[str],
    *,
    batch_size: int = 8,
    state_file: str | os.PathLike | None = None,
    save_every: int = 20,
    accelerator: Any | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of the video embeddings of each class `[classes, dim]`, and numbers of videos `[classes]`.

    Args:
        dataset: rows `video`, `label`; every video is seen once, centrally, not augmented.
        label_names: of the class ids.
        state_file: where the sums so far are kept, one file per process; a second call goes on from there if weights,
            data and processes are the same. Removed at the end.
        save_every: batches between two savings.
        accelerator: of `accelerate`, to share the work between processes.
    """
    rank, world = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    collator = VideoTextCollator(processor, label_names, sampling=None)
    rows = range(rank, len(dataset), world)
    batches = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    data = getattr(dataset, "_fingerprint", len(dataset))  # of `datasets`: names the content
    key = fingerprint_of(model.weights_fingerprint(), list(label_names), data, batch_size, world)
    path = Path(f"{os.fspath(state_file)}.{rank}") if state_file is not None else None
    # Without a dimension yet, which the first batch says.
    sums, counts, done = torch.zeros(len(label_names), 1), torch.zeros(len(label_names)), 0
    if path is not None and path.exists():
        sums, counts, done = _load_state(path, key) or (sums, counts, 0)
    training = model.training
    model.eval()
    for number in tqdm(range(done, len(batches)), unit="batch", disable=None, leave=False):
        inputs = collator([dataset[int(i)] for i in batches[number]])
        with torch.no_grad():
            embeds = model.encode_videos(inputs["pixel_values_videos"].to(model.device)).video_embeds.float().cpu()
        sums = sums.expand(-1, embeds.shape[1]).index_add(0, inputs["labels"], embeds)
        counts += torch.bincount(inputs["labels"], minlength=len(label_names))
        if path is not None and (number + 1) % save_every == 0:
            _save_state(path, key, sums, counts, number + 1)
    if accelerator is not None:
        sums = accelerator.reduce(sums.to(accelerator.device)).cpu()
        counts = accelerator.reduce(counts.to(accelerator.device)).cpu()
    model.train(training)
    if path is not None:
        path.unlink(missing_ok=True)
    return sums, counts


def _save_state(path: Path, key: str, sums: torch.Tensor, counts: torch.Tensor, done: int) -> None:
    with replacing(path) as temporary:
        save_file({"sums": sums, "counts": counts}, temporary, metadata={"key": key, "done": str(done)})


def _load_state(path: Path, key: str) -> tuple[torch.Tensor, torch.Tensor, int] | None:
    tensors, metadata = read_tensors(path)
    return (tensors["sums"], tensors["counts"], int(metadata["done"])) if metadata.get("key") == key else None


__all__ = ["fit_prototypes"]
