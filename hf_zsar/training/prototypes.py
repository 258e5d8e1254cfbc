"""Seen prototypes of ResT over a data set: sharded over processes, resumable after a kill."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tqdm import tqdm

from hf_zsar.files import replacing
from hf_zsar.modeling.modeling_rest import ResTModel
from hf_zsar.modeling.modeling_zsar import fingerprint_of
from hf_zsar.modeling.tensor_files import read_tensors
from hf_zsar.processing.processing_zsar import ZSARProcessor

from .collator import VideoTextCollator


def check_class_head(model: torch.nn.Module, label_names: Sequence[str]) -> None:
    """
    Raises:
        ValueError: the model has a class head of another size than the data.
    """
    head = getattr(model, "class_head", None)
    if head is not None and head.out_features != len(label_names):
        raise ValueError(
            f"The model has a class head of {head.out_features} classes, the data has {len(label_names)}: choose the "
            "classes it was trained on (data.classes of a recipe), or a model without a head for other classes."
        )


def fit_prototypes(
    model: ResTModel,
    processor: ZSARProcessor,
    dataset: Any,
    label_names: Sequence[str],
    *,
    batch_size: int = 8,
    state_file: str | os.PathLike | None = None,
    save_every: int = 20,
    accelerator: Any | None = None,
) -> None:
    """Compute the class means of the video embeddings and set them as the model's prototypes.

    Args:
        dataset: rows `video`, `label`; every video is seen once, centrally, not augmented.
        label_names: of the class ids.
        state_file: where the sums so far are kept, one file per process; a second call goes on from there if weights,
            data and processes are the same. Removed at the end.
        save_every: batches between two savings.
        accelerator: of `accelerate`, to share the work between processes.
    """
    check_class_head(model, label_names)
    rank, world = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    collator = VideoTextCollator(processor, label_names, sampling=None)
    rows = range(rank, len(dataset), world)
    batches = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    data = getattr(dataset, "_fingerprint", len(dataset))  # of `datasets`: names the content
    key = fingerprint_of(model.weights_fingerprint(), list(label_names), data, batch_size, world)
    path = Path(f"{os.fspath(state_file)}.{rank}") if state_file is not None else None
    sums = torch.zeros(len(label_names), model.seen_prototypes.shape[1])
    counts, done = torch.zeros(len(label_names)), 0
    if path is not None and path.exists():
        sums, counts, done = _load_state(path, key) or (sums, counts, 0)
    training = model.training
    model.eval()
    for number in tqdm(range(done, len(batches)), unit="batch", disable=None, leave=False):
        inputs = collator([dataset[int(i)] for i in batches[number]])
        with torch.no_grad():
            embeds = model.encode_videos(inputs["pixel_values_videos"].to(model.device)).video_embeds.float().cpu()
        sums.index_add_(0, inputs["labels"], embeds)
        counts += torch.bincount(inputs["labels"], minlength=len(label_names))
        if path is not None and (number + 1) % save_every == 0:
            _save_state(path, key, sums, counts, number + 1)
    if accelerator is not None:
        sums = accelerator.reduce(sums.to(accelerator.device)).cpu()
        counts = accelerator.reduce(counts.to(accelerator.device)).cpu()
    _finish(model, processor, sums, counts, label_names)
    model.train(training)
    if path is not None:
        path.unlink(missing_ok=True)


def _finish(
    model: ResTModel, processor: ZSARProcessor, sums: torch.Tensor, counts: torch.Tensor, names: Sequence[str]
) -> None:
    text = processor.prepare_labels(names, templates=[model.config.text_template])
    with torch.no_grad():
        rows = model.encode_texts(text["input_ids"].to(model.device), text["attention_mask"].to(model.device))
    if model.config.prototype_source == "classifier":
        sums, counts = model.class_head.weight.detach().float().cpu(), torch.ones(len(names))
    model.set_prototypes(sums, rows[text["prompt_index"][:, 0].to(rows.device)], counts, names)


def _save_state(path: Path, key: str, sums: torch.Tensor, counts: torch.Tensor, done: int) -> None:
    with replacing(path) as temporary:
        save_file({"sums": sums, "counts": counts}, temporary, metadata={"key": key, "done": str(done)})


def _load_state(path: Path, key: str) -> tuple[torch.Tensor, torch.Tensor, int] | None:
    tensors, metadata = read_tensors(path)
    return (tensors["sums"], tensors["counts"], int(metadata["done"])) if metadata.get("key") == key else None


__all__ = ["fit_prototypes"]
