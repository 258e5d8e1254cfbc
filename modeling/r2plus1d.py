"""R(2+1)D-18, a 3D ResNet whose convolutions are factorized into space and time (arXiv 1711.11248).

The visual backbone of E2E's protocol, under which ResT reports. Names are torchvision's, so that its `r2plus1d_18`
weights load after the classifier is dropped; 31,300,125 parameters at the default widths.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers import initialization as init


class TemporalConvolution(nn.Conv3d):
    """Kernel 3x1x1 as a 2D convolution over time and place, which gives the same numbers.

    On CPUs with AVX-512 torch's 3D convolution returns wrong gradients of the weights, now and then NaN, for bfloat16
    clips of two frames (2.13; found by `test_autocast_trains_and_scores_as_float32_does`). The last stage of this
    network sees such clips.
    """

    def __init__(self, width_in: int, width_out: int, stride: int = 1) -> None:
        super().__init__(width_in, width_out, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        weight, (stride, _, _) = self.weight.flatten(3), self.stride
        flat = nn.functional.conv2d(hidden.flatten(3), weight, stride=(stride, 1), padding=(1, 0))
        return flat.unflatten(3, hidden.shape[3:])


def factorized_convolution(width_in: int, width_mid: int, width_out: int, stride: int) -> nn.Sequential:
    """Spatial 1x3x3, norm, ReLU, temporal 3x1x1; the stride is in space and time."""
    return nn.Sequential(
        nn.Conv3d(width_in, width_mid, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
        nn.BatchNorm3d(width_mid),
        nn.ReLU(inplace=True),
        TemporalConvolution(width_mid, width_out, stride),
    )


class R2Plus1DBlock(nn.Module):
    """Two factorized convolutions and a shortcut. The middle width keeps the parameters of the 3x3x3 convolution."""

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        width_mid = 27 * width_in * width_out // (9 * width_in + 3 * width_out)
        self.conv1 = nn.Sequential(
            factorized_convolution(width_in, width_mid, width_out, stride),
            nn.BatchNorm3d(width_out),
            nn.ReLU(inplace=True),
        )
        self.conv2 = nn.Sequential(
            factorized_convolution(width_out, width_mid, width_out, 1), nn.BatchNorm3d(width_out)
        )
        self.downsample = None
        if stride != 1 or width_in != width_out:
            self.downsample = nn.Sequential(
                nn.Conv3d(width_in, width_out, 1, stride, bias=False), nn.BatchNorm3d(width_out)
            )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        shortcut = hidden if self.downsample is None else self.downsample(hidden)
        return torch.relu(self.conv2(self.conv1(hidden)) + shortcut)


class R2Plus1D(nn.Module):
    """Clips `[B, 3, T, H, W]` -> feature grid `[B, widths[-1], T/8, H/16, W/16]` (rounded up).

    Args:
        widths: channels of the four stages.
        stem_width: channels between the two convolutions of the stem.
    """

    def __init__(self, widths: Sequence[int] = (64, 128, 256, 512), stem_width: int = 45) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, stem_width, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
            nn.BatchNorm3d(stem_width),
            nn.ReLU(inplace=True),
            TemporalConvolution(stem_width, widths[0]),
            nn.BatchNorm3d(widths[0]),
            nn.ReLU(inplace=True),
        )
        width_in = widths[0]
        for stage, width in enumerate(widths, start=1):
            stride = 1 if stage == 1 else 2
            blocks = nn.Sequential(R2Plus1DBlock(width_in, width, stride), R2Plus1DBlock(width, width, 1))
            self.add_module(f"layer{stage}", blocks)
            width_in = width

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        hidden = self.stem(clips)
        for stage in range(1, 5):
            hidden = self.get_submodule(f"layer{stage}")(hidden)
        return hidden

    @torch.no_grad()
    def init_weights(self) -> None:
        """Kaiming-normal convolutions; norms start at weight 1, bias 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
