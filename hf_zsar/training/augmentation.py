"""Augmentations of a clip in torch: every frame of it gets the same crop, flip and colors, drawn from one seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from hf_zsar.processing.video_transforms import channels_first, crop, resize


# Fractions of the short side, and how far height and width may be apart in this list (ActionCLIP, after TSN).
MULTI_SCALES = (1.0, 0.875, 0.75, 0.66)


@dataclass(frozen=True)
class ClipAugmentation:
    """What happens to the frames of a training clip. Recipes name it field by field.

    Args:
        size: side of the square that comes out, in pixels.
        cropping: `"random_resized"` (a random area and aspect; BIKE), `"multi_scale"` (one of four scales at one of 13
            places; ActionCLIP), `"short_side"` (short side drawn from `short_side`, then a random square; STDD, ResT),
            or `"center"`.
        short_side: smallest and largest short side, in pixels, for `"short_side"` and `"center"`.
        area, aspect: ranges for `"random_resized"`.
        flip: probability of a horizontal flip. 0 where left and right mean something.
        grayscale: probability of taking the color out.
        jitter: probability of the color jitter; brightness, contrast, saturation, hue: its largest changes.
    """

    size: int = 224
    cropping: Literal["random_resized", "multi_scale", "short_side", "center"] = "random_resized"
    short_side: tuple[int, int] = (256, 256)
    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    grayscale: float = 0.0
    jitter: float = 0.0
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1

    def __post_init__(self) -> None:
        if self.cropping not in ("random_resized", "multi_scale", "short_side", "center"):
            raise ValueError(
                f"cropping must be random_resized, multi_scale, short_side or center, got {self.cropping!r}"
            )
        if self.size < 1:
            raise ValueError(f"size is a number of pixels, got {self.size}.")
        for name in ("short_side", "area", "aspect"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} is a smallest and a largest value, got {getattr(self, name)}.")
        for name in ("flip", "grayscale", "jitter"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, got {getattr(self, name)}")

    def __call__(self, frames: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        """uint8 `[T, H, W, 3]` -> uint8 `[T, 3, size, size]`."""
        frames = self._crop(channels_first(frames), generator)
        if generator.random() < self.flip:
            frames = frames.flip(-1)
        if generator.random() < self.jitter:
            frames = self._jitter(frames, generator)
        if generator.random() < self.grayscale:
            frames = luma(frames.float()).round().to(torch.uint8).expand_as(frames)
        return frames.contiguous()

    def _crop(self, frames: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        height, width = frames.shape[-2:]
        square = {"height": self.size, "width": self.size}
        if self.cropping in ("short_side", "center"):
            side = int(generator.integers(self.short_side[0], self.short_side[1] + 1))
            frames = resize(frames, {"shortest_edge": max(side, self.size)}, "bilinear", True)
            if self.cropping == "center":
                return crop(frames, (self.size, self.size))[0]
            top = int(generator.integers(frames.shape[-2] - self.size + 1))
            left = int(generator.integers(frames.shape[-1] - self.size + 1))
            return frames[..., top : top + self.size, left : left + self.size]
        if self.cropping == "multi_scale":
            top, left, h, w = multi_scale_box(height, width, generator)
        else:
            top, left, h, w = random_resized_box(height, width, self.area, self.aspect, generator)
        return resize(frames[..., top : top + h, left : left + w], square, "bilinear", True)

    def _jitter(self, frames: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        pixels = frames.float()
        brightness, contrast, saturation = (
            1 + generator.uniform(-strength, strength)
            for strength in (self.brightness, self.contrast, self.saturation)
        )
        pixels = pixels * brightness
        gray = luma(pixels)
        pixels = gray.mean() + contrast * (pixels - gray.mean())
        gray = luma(pixels)
        pixels = gray + saturation * (pixels - gray)
        pixels = rotate_hue(pixels, 2 * math.pi * generator.uniform(-self.hue, self.hue))
        return pixels.round().clamp(0, 255).to(torch.uint8)


def luma(pixels: torch.Tensor) -> torch.Tensor:
    """Brightness `[T, 1, H, W]` of RGB `[T, 3, H, W]` (ITU-R 601)."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=pixels.device)
    return torch.einsum("c,tchw->thw", weights, pixels)[:, None]


def rotate_hue(pixels: torch.Tensor, angle: float) -> torch.Tensor:
    """Turn the colors by `angle` radians around the gray axis; grays stay."""
    cosine, sine = math.cos(angle), math.sin(angle)
    third, root = (1 - cosine) / 3, math.sqrt(1 / 3) * sine
    matrix = torch.tensor(
        [
            [cosine + third, third - root, third + root],
            [third + root, cosine + third, third - root],
            [third - root, third + root, cosine + third],
        ],
        device=pixels.device,
    )
    return torch.einsum("dc,tchw->tdhw", matrix, pixels)


def random_resized_box(
    height: int, width: int, area: tuple[float, float], aspect: tuple[float, float], generator: np.random.Generator
) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a box of random area and aspect; the largest centered square after ten misses."""
    for _ in range(10):
        target = generator.uniform(*area) * height * width
        ratio = math.exp(generator.uniform(math.log(aspect[0]), math.log(aspect[1])))
        w, h = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < h <= height and 0 < w <= width:
            return int(generator.integers(height - h + 1)), int(generator.integers(width - w + 1)), h, w
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def multi_scale_box(height: int, width: int, generator: np.random.Generator) -> tuple[int, int, int, int]:
    """(top, left, height, width): scales of the short side at most one step apart, at a corner, edge, center or
    quarter point (13 places)."""
    base = min(height, width)
    pairs = [(a, b) for i, a in enumerate(MULTI_SCALES) for j, b in enumerate(MULTI_SCALES) if abs(i - j) <= 1]
    scale = pairs[int(generator.integers(len(pairs)))]
    h, w = int(base * scale[0]), int(base * scale[1])
    quarters = [(y, x) for y in (0, 2, 4) for x in (0, 2, 4)] + [(y, x) for y in (1, 3) for x in (1, 3)]
    y, x = quarters[int(generator.integers(len(quarters)))]
    return y * (height - h) // 4, x * (width - w) // 4, h, w


__all__ = ["ClipAugmentation"]
