"""Side-by-side measurements against named peers; nothing here is a test.

Peers that need torchvision get one that loads beside a torch for the CPU: its wheel takes two operators for granted
that only its own binary for CUDA defines. This must come before transformers is imported.
"""

from __future__ import annotations

import importlib.util

import torch


if importlib.util.find_spec("torchvision") is not None and not torch.cuda.is_available():
    _operators = torch.library.Library("torchvision", "DEF")  # gone with its last reference
    _operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
