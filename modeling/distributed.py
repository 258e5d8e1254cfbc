"""Tensors of several processes joined, with gradient."""

from __future__ import annotations

import torch
from torch import nn


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


__all__ = ["gather_with_grad"]
