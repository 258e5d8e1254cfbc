"""Where one shot ends and another begins, told from the frames that were decoded anyway."""

from __future__ import annotations

import torch
import torch.nn.functional as F


# Side of the small picture of a frame.
SIDE = 12
# A cut is a change of the picture above this share of its own contrast, and so many times the recent changes.
LEAST_CHANGE, TIMES_USUAL = 0.6, 3.0
# How much the newest change counts among the recent ones.
NEWEST = 0.25


class ShotDetector:
    """Numbers the shots of a video, frame by frame.

    A frame is reduced to the mean colors of 12 x 12 fields. A cut is where these change by more than
    `LEAST_CHANGE` of their standard deviation and by more than `TIMES_USUAL` times what they changed of late: the
    twin comparison of pictures with a threshold that follows the video (Zhang, Kankanhalli, Smoliar, 1993; Yusoff et
    al., 2000). Motion changes a part of the picture, a cut most of it. It costs a thousandth of an encoder.
    """

    def __init__(self) -> None:
        self.shot = 0
        self._last: torch.Tensor | None = None
        self._usual = 0.0

    def number(self, pixels: torch.Tensor) -> list[int]:
        """Frames `[N, 3, H, W]`, in any linear scale -> the number of the shot of each."""
        small = F.adaptive_avg_pool2d(pixels.float(), SIDE).flatten(1)
        return [self._next(each) for each in small]

    def _next(self, small: torch.Tensor) -> int:
        if self._last is not None:
            contrast = torch.stack([small, self._last]).std(dim=1).mean().clamp_min(1e-3)
            change = float((small - self._last).abs().mean() / contrast)
            if change > max(LEAST_CHANGE, TIMES_USUAL * self._usual):
                self.shot += 1
            else:
                self._usual += NEWEST * (change - self._usual)
        self._last = small
        return self.shot
