"""Frames to pixel values: resize, crop, normalize, in torch and without torchvision.

Each step is a function on `[T, H, W, 3]` or `[N, 3, H, W]`, so that training augmentation can stand between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from .limits import hold_to


RESAMPLES = {"bicubic": "bicubic", "bilinear": "bilinear", 2: "bilinear", 3: "bicubic"}
# Gray levels up to which frames become floats all at once, 4 bytes each.
FLOAT_AT_ONCE = 2**26
ROUNDINGS: dict[str, Callable[[float], int]] = {"round": round, "floor": math.floor, "ceil": math.ceil}


def channels_first(frames: torch.Tensor) -> torch.Tensor:
    """`[T, H, W, 3]` -> a `[T, 3, H, W]` view in channels-last memory, the layout that torch resizes fastest."""
    return frames.permute(0, 3, 1, 2)


def target_size(height: int, width: int, size: Mapping[str, int]) -> tuple[int, int]:
    """Height and width after resizing to `{"shortest_edge"}` (ratio kept, long side rounded down),
    `{"height", "width"}` or `{"min_pixels", "max_pixels", "multiple"}` (ratio kept nearly; see [`fitting_size`])."""
    if "multiple" in size:
        return fitting_size(height, width, size["min_pixels"], size["max_pixels"], size["multiple"])
    if "shortest_edge" in size:
        short = size["shortest_edge"]
        if height <= width:
            return short, max(short, int(short * width / height))
        return max(short, int(short * height / width)), short
    return size["height"], size["width"]


def fitting_size(height: int, width: int, least: int, most: int, multiple: int) -> tuple[int, int]:
    """The size of about this shape whose sides are multiples of a number and whose area lies in a range, as near to
    the given one as may be; the largest where the range is one number."""
    sides = [max(1, round(side / multiple)) for side in (height, width)]
    area = sides[0] * sides[1] * multiple**2
    if least == most or area > most:
        scale = math.sqrt(most / (height * width)) / multiple
        sides = [math.floor(side * scale) for side in (height, width)]
        if 0 in sides:  # a strip
            longer = min(max(height, width) // min(height, width), most // multiple**2)
            sides = [1, longer] if height < width else [longer, 1]
    elif area < least:
        scale = math.sqrt(least / (height * width)) / multiple
        sides = [math.ceil(side * scale) for side in (height, width)]
    return sides[0] * multiple, sides[1] * multiple


def resize(
    frames: torch.Tensor, size: Mapping[str, int], resample: str | int = "bicubic", antialias: bool = True
) -> torch.Tensor:
    """Resize `[N, 3, H, W]`.

    With `antialias` the result of uint8 frames is uint8 and equals Pillow's up to one gray level. Without it (what the
    official STDD and E2E pipelines do) the arithmetic is in float and the result is float on the 0..255 scale.
    """
    height, width = target_size(frames.shape[-2], frames.shape[-1], size)
    if (height, width) == tuple(frames.shape[-2:]):
        return frames
    hold_to("value_pixels", len(frames) * height * width, f"{len(frames)} frames resized to {width}x{height}, pixels")
    if not antialias and len(frames) > 1 and frames.numel() > FLOAT_AT_ONCE:
        return torch.cat([resize(frame[None], size, resample, antialias) for frame in frames])
    if not antialias:
        frames = frames.float()
    return F.interpolate(
        frames, size=(height, width), mode=RESAMPLES[resample], align_corners=False, antialias=antialias
    )


def crop_offsets(
    height: int, width: int, crop: tuple[int, int], num_crops: int = 1, rounding: str = "round"
) -> list[tuple[int, int]]:
    """Top-left corners `(y, x)` of the center crop, or of three crops along the longer side: first, center, last.

    The three crops stand at 0, 2 and 4 quarters of the spare room, in whole steps (card of DA-STI, S8). The half pixel
    of the single crop is rounded as `rounding` says: `round` (to even, as torchvision), `floor` (as transformers) or
    `ceil` (as SlowFast).
    """
    spare_y, spare_x = height - crop[0], width - crop[1]
    if num_crops == 1:
        return [(ROUNDINGS[rounding](spare_y / 2), ROUNDINGS[rounding](spare_x / 2))]
    if num_crops != 3:
        raise ValueError(f"num_crops must be 1 or 3, got {num_crops}.")
    step_y, step_x = spare_y // 4, spare_x // 4
    if spare_x >= spare_y:
        return [(2 * step_y, k * step_x) for k in (0, 2, 4)]
    return [(k * step_y, 2 * step_x) for k in (0, 2, 4)]


def crop(frames: torch.Tensor, size: tuple[int, int], num_crops: int = 1, rounding: str = "round") -> torch.Tensor:
    """Crop `[N, 3, H, W]` to `[C, N, 3, h, w]`; frames smaller than the crop are padded with black first."""
    height, width = frames.shape[-2:]
    what = f"{len(frames)} frames cropped to {size[1]}x{size[0]}, pixels"
    hold_to("value_pixels", num_crops * len(frames) * max(size[0], height) * max(size[1], width), what)
    pad_y, pad_x = max(0, size[0] - height), max(0, size[1] - width)
    if pad_y or pad_x:
        frames = F.pad(frames, (pad_x // 2, pad_x - pad_x // 2, pad_y // 2, pad_y - pad_y // 2))
        height, width = frames.shape[-2:]
    corners = crop_offsets(height, width, size, num_crops, rounding)
    views = [frames[..., y : y + size[0], x : x + size[1]] for y, x in corners]
    return stack(views)


def normalize(
    frames: torch.Tensor, rescale_factor: float | None, mean: Sequence[float] | None, std: Sequence[float] | None
) -> torch.Tensor:
    """`(frames * rescale_factor - mean) / std` over the channel axis -3, bit for bit as transformers rounds it.

    Returns:
        float32, contiguous, never sharing memory with `frames`.
    """
    # A division: of gray levels by 255 it rounds as transformers' multiplication in float64 does.
    divisor, channels = 1.0 if rescale_factor is None else 1 / rescale_factor, frames.shape[-3]
    centers, spreads = ([0.0] * channels, [1.0] * channels) if mean is None or std is None else (mean, std)
    if frames.device.type != "cpu" or frames.requires_grad:
        gray = frames.to(torch.float32, memory_format=torch.contiguous_format) / divisor
        center, spread = (torch.tensor(each, dtype=torch.float32, device=frames.device) for each in (centers, spreads))
        return (gray - center.view(-1, 1, 1)) / spread.view(-1, 1, 1)
    # numpy, because waking torch's threads takes longer than this, and many readers may be doing it at once.
    source, out = frames.numpy(), np.empty(frames.shape, dtype=np.float32)
    for channel in range(channels):
        plane = out[..., channel, :, :]
        np.divide(source[..., channel, :, :], np.float32(divisor), out=plane, dtype=np.float32, casting="unsafe")
        plane -= np.float32(centers[channel])
        plane /= np.float32(spreads[channel])
    return torch.from_numpy(out)


def stack(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """`torch.stack` on the CPU without torch's threads, see [`normalize`]."""
    if len(parts) == 1:
        return parts[0].unsqueeze(0)
    if any(part.device.type != "cpu" or part.requires_grad for part in parts):
        return torch.stack(list(parts))
    return torch.from_numpy(np.stack([part.numpy() for part in parts]))
