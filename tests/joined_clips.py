"""Synthetic truth: labeled clips one after the other in random order, and when each label happens in the result."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


FPS, SIZE = 12, 128
BITS = 8  # of the number of a clip, painted over the top of its pictures where asked for
BAND = SIZE // 8


@dataclass(frozen=True)
class Clip:
    """A labeled video; its `number` is what an oracle reads."""

    path: Path
    label: str
    number: int


def real_clips(folder: Path, manifest: dict[str, Any]) -> list[Clip]:
    """The clips of a manifest."""
    entries = enumerate(manifest["clips"], start=1)
    return [Clip(folder / entry["file"], entry["label"], number) for number, entry in entries]


def join(
    clips: Sequence[Clip], path: Path, seconds: tuple[float, float], seed: int, marked: bool = False
) -> list[dict[str, Any]]:
    """Write a video of clips in random order, `seconds` (least, most) long, and give the truth: `label, start, end`.

    Args:
        marked: paint the number of each clip over the top of its pictures.
    """
    draw = random.Random(seed)
    wanted = round(draw.uniform(*seconds) * FPS)
    truth: list[dict[str, Any]] = []
    count, last = 0, None
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "20"})
        stream.width = stream.height = SIZE
        stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", 10 * FPS
        while count < wanted:
            clip = draw.choice([clip for clip in clips if last is None or clip.label != last.label])
            start = count / FPS
            for picture in pictures(clip.path, wanted - count):
                if marked:
                    paint(picture, clip.number)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = count, Fraction(1, FPS)
                output.mux(stream.encode(frame))
                count += 1
            truth.append({"label": clip.label, "start": start, "end": count / FPS})
            last = clip
        output.mux(stream.encode(None))
    return truth


def pictures(path: Path, most: int) -> Iterator[np.ndarray]:
    """A clip at `FPS`, as squares of `SIZE`, at most so many."""
    number = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        start = None
        for frame in container.decode(stream):
            time = float((frame.pts or 0) * stream.time_base)
            start = time if start is None else start
            picture = None
            while number < most and (time - start) * FPS >= number:
                if picture is None:
                    picture = frame.reformat(SIZE, SIZE, "rgb24").to_ndarray()
                yield picture.copy()
                number += 1
            if number >= most:
                return


def paint(picture: np.ndarray, number: int) -> None:
    """Write a number over the top of a picture, as black and white squares."""
    side = SIZE // BITS
    for bit in range(BITS):
        picture[:BAND, bit * side : (bit + 1) * side] = 255 if number >> bit & 1 else 0


def read(pictures: Any) -> Any:
    """The numbers on pictures `[..., 3, H, W]` (a tensor, in any scale that rises), `[...]`."""
    height, width = pictures.shape[-2:]
    row = pictures[..., height // 32 : 3 * height // 32, :].mean(dim=(-3, -2))
    side = width // BITS
    squares = row.unflatten(-1, (BITS, side))[..., side // 4 : 3 * side // 4].mean(dim=-1)
    middle = (pictures.amax(dim=(-3, -2, -1)) + pictures.amin(dim=(-3, -2, -1))) / 2
    bits = (squares > middle[..., None]).long()
    return (bits << bits.new_tensor(range(BITS))).sum(dim=-1)
