"""Export of a model's two towers to ONNX, checked against PyTorch before it is kept.

`video.onnx` gives what `encode_videos` gives; `text.onnx` gives the embeddings of token rows. What a method makes of
them (label banks, scores) is a few matrix products and stays with the caller.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from .files import is_empty, replacing_folder


class OnnxExportError(ValueError):
    """An export that does not compute what the model computes; nothing is left behind."""


class VideoTower(nn.Module):
    """`encode_videos` with a tuple of tensors instead of [`VideoFeatures`]."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values_videos: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.model.encode_videos(pixel_values_videos).to_tuple()


class TextTower(nn.Module):
    """Token rows `[R, L]` -> embeddings `[R, dim]` and, for methods that use words, of all tokens `[R, L, dim]`."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if hasattr(self.model, "encode_texts"):
            return (self.model.encode_texts(input_ids, attention_mask),)
        words = "word_index" in self.model.text_input_names
        pooled, tokens = self.model.backbone.encode_text(input_ids, return_tokens=words)
        # Keeps the mask an input, so that all methods are called alike.
        pooled = pooled + 0 * attention_mask.sum().to(pooled.dtype)
        return (pooled, tokens) if words else (pooled,)


def export_onnx(
    model: PreTrainedModel, processor: Any, folder: str | os.PathLike, tolerance: float = 1e-4
) -> dict[str, float]:
    """Write `video.onnx` and `text.onnx`.

    Args:
        model, processor: as loaded; the number of frames and the picture size are the processor's, the batch is free.
        folder: new or empty.
        tolerance: largest difference from PyTorch allowed, relative to the largest output.

    Returns:
        the largest relative difference of each file.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is not installed.
        OnnxExportError: the exported towers differ.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError("ONNX export needs: pip install 'hf-zsar[export]'") from error
    folder = Path(folder)
    if folder.exists() and not is_empty(folder):
        raise OnnxExportError(f"{folder} exists and is not empty: choose another folder.")
    model = model.eval().float()
    size, frames = processor.video_processor.crop_size, processor.video_processor.num_frames
    batch, rows, length = (torch.export.Dim(name, min=1) for name in ("batch", "rows", "length"))
    video = torch.randn(2, frames, 3, size["height"], size["width"], generator=torch.Generator().manual_seed(0))
    text = processor.tokenize(["a first text to export with", "another, longer text, to export with"])
    text_shape = {0: rows, 1: length}
    towers = {
        "video": (VideoTower(model), {"pixel_values_videos": video}, {"pixel_values_videos": {0: batch}}),
        "text": (TextTower(model), text, {"input_ids": text_shape, "attention_mask": text_shape}),
    }
    with replacing_folder(folder) as work:
        differences = {}
        for name, (tower, inputs, shapes) in towers.items():
            path = work / f"{name}.onnx"
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the exporter, about itself
                torch.onnx.export(
                    tower.eval(),
                    (),
                    path,
                    kwargs=inputs,
                    dynamic_shapes=shapes,
                    dynamo=True,
                    verbose=False,
                    external_data=False,
                )
                session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
                differences[name] = _difference(session, tower, inputs)
            if not differences[name] <= tolerance:
                raise OnnxExportError(f"{name}.onnx is off by {differences[name]:.2g}, allowed {tolerance:.2g}.")
    return differences


def _difference(session: Any, tower: nn.Module, inputs: dict[str, torch.Tensor]) -> float:
    """Largest difference for the inputs of the export and for one of another batch size."""
    worst = 0.0
    for count in (2, 1):
        part = {name: tensor[:count] for name, tensor in inputs.items()}
        found = session.run(None, {name: tensor.numpy() for name, tensor in part.items()})
        for ours, theirs in zip(tower(**part), found, strict=True):
            scale = max(ours.abs().max().item(), 1e-6)
            worst = max(worst, (ours - torch.from_numpy(theirs)).abs().max().item() / scale)
    return worst


__all__ = ["OnnxExportError", "export_onnx"]
