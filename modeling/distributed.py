"""What several processes have, joined with gradient: a loss over the videos and texts of all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from .label_bank import LabelBank
from .outputs import VideoFeatures


def gather_with_grad(tensor: torch.Tensor) -> torch.Tensor:
    """Join a tensor of all processes along the first axis, in rank order; gradients flow back to every rank.

    Other axes (and the first) may differ between ranks: each is padded to the longest with zeros (-1 for integers)
    for the transfer; padding along the first axis is removed again.
    """
    import torch.distributed as dist
    import torch.distributed.nn.functional as dist_nn

    shape = torch.tensor(tensor.shape, device=tensor.device)
    shapes = [torch.empty_like(shape) for _ in range(dist.get_world_size())]
    dist.all_gather(shapes, shape)
    longest = torch.stack(shapes).amax(0)
    padding = [
        p for have, want in zip(tensor.shape[::-1], longest.tolist()[::-1], strict=True) for p in (0, want - have)
    ]
    carrier = tensor.to(torch.int8) if tensor.dtype == torch.bool else tensor
    carrier = nn.functional.pad(
        carrier, padding, value=0 if tensor.is_floating_point() or tensor.dtype == torch.bool else -1
    )
    if carrier.requires_grad:
        parts = dist_nn.all_gather(carrier.contiguous())
    else:
        parts = [torch.empty_like(carrier) for _ in shapes]
        dist.all_gather(parts, carrier.contiguous())
    joined = torch.cat([part[: int(size[0])] for part, size in zip(parts, shapes, strict=True)])
    return joined.to(tensor.dtype)


def gather_batch(
    model: Any, features: VideoFeatures, bank: LabelBank, labels: torch.Tensor, label_ids: torch.Tensor
) -> tuple[VideoFeatures, LabelBank, torch.Tensor, torch.Tensor, slice]:
    """The batches of all processes as one, in rank order.

    Args:
        labels, label_ids: `[B]` and `[K]`, see `ZSARPreTrainedModel.forward`.

    Returns:
        Features, bank, `labels` and `label_ids`, and which rows are this process's own.
    """
    batch = features.video_embeds.shape[0]
    sizes = gather_with_grad(torch.tensor([batch], device=labels.device)).tolist()
    first = sum(sizes[: torch.distributed.get_rank()])
    features = replace(features, **dict.fromkeys(features.stays_here)).map(gather_with_grad)
    label_ids = gather_with_grad(label_ids)
    tensors = {name: gather_with_grad(tensor) for name, tensor in bank.tensors.items()}
    bank = LabelBank(labels=tuple(str(i) for i in label_ids.tolist()), tensors=tensors)
    if model.text_candidates != "per_sample":
        seen: dict[int, int] = {}
        for position, label in enumerate(label_ids.tolist()):
            seen.setdefault(label, position)
        places = [seen[label] for label in sorted(seen)]  # the same order on any number of processes
        bank, label_ids = bank.select(places), label_ids[places]
    return features, bank, gather_with_grad(labels), label_ids, slice(first, first + batch)
