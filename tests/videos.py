"""Small synthetic videos whose frames carry their number, for tests and benchmarks.

`write_video` encodes them with the codecs that PyAV's wheels carry; `frame_number` reads the number back from decoded
pixels, after lossy compression, scaling or cropping of up to a quarter of either side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


BITS = 16
GRID = 4  # the code is a GRID x GRID board in the middle half of the picture


def frame_picture(number: int, height: int = 128, width: int = 160) -> np.ndarray:
    """uint8 `[H, W, 3]`: a moving texture with `number` (below 65,536) as a board of bright and dark squares."""
    y, x = np.mgrid[0:height, 0:width]
    texture = 96 + 48 * np.sin((x + 3 * number) / 9.0) + 48 * np.cos((y - 2 * number) / 7.0)
    picture = np.stack([texture, np.roll(texture, 5, axis=0), 255 - texture], axis=-1).clip(0, 255).astype(np.uint8)
    for bit in range(BITS):
        top, bottom, left, right = _square(bit, height, width)
        picture[top:bottom, left:right] = 255 if number >> bit & 1 else 0
    return picture


def frame_number(picture: Any) -> int:
    """The number in a decoded frame, `[H, W, 3]` (array, tensor or PIL picture)."""
    gray = np.asarray(picture).astype(float).mean(axis=-1)
    number = 0
    for bit in range(BITS):
        top, bottom, left, right = _square(bit, *gray.shape)
        margin_y, margin_x = (bottom - top) // 4, (right - left) // 4
        center = gray[top + margin_y : bottom - margin_y, left + margin_x : right - margin_x]
        number |= int(center.mean() > 127) << bit
    return number


def _square(bit: int, height: int, width: int) -> tuple[int, int, int, int]:
    row, column = divmod(bit, GRID)
    top, left = height // 4 + row * height // (2 * GRID), width // 4 + column * width // (2 * GRID)
    return top, top + height // (2 * GRID), left, left + width // (2 * GRID)


def write_video(
    path: Path | str,
    num_frames: int = 48,
    *,
    fps: int | Fraction = 24,
    height: int = 128,
    width: int = 160,
    codec: str = "libx264",
    gop: int = 12,
    options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    container: str | None = None,
    container_options: dict[str, str] | None = None,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    display_matrix: Sequence[int] | None = None,
    aspect: Fraction | None = None,
    bit_rate: int | None = None,
    first_number: int = 0,
) -> Path:
    """Encode frames numbered from `first_number` and return the path.

    `pts` (with `time_base`) gives every frame its own time; the default is a constant rate. `display_matrix` are the
    nine integers of the rotation metadata, `aspect` the sample aspect ratio, `container` FFmpeg's name of the format.
    """
    with av.open(str(path), "w", format=container, options=container_options or {}) as output:
        stream = output.add_stream(codec, rate=Fraction(fps), options=dict(options or {}))
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.gop_size = gop
        stream.codec_context.thread_count = 1
        if bit_rate:
            stream.codec_context.bit_rate = bit_rate
        if time_base:
            stream.codec_context.time_base = time_base
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if display_matrix is not None:
            stream.set_display_matrix(display_matrix)
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(frame_picture(first_number + index, height, width), format="rgb24")
            frame = frame.reformat(format=pix_fmt)
            if pts is not None:
                frame.pts, frame.time_base = pts[index], time_base or 1 / Fraction(fps)
            else:
                frame.pts, frame.time_base = index, 1 / Fraction(fps)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return Path(path)


def repeat_video(
    source: Path | str, path: Path | str, times: int, container_options: dict[str, str] | None = None
) -> Path:
    """`source` (one video stream, starting with a key frame) `times` times in a row, without encoding again."""
    with av.open(str(path), "w", options=container_options or {}) as output:
        with av.open(str(source)) as first:
            stream = output.add_stream_from_template(first.streams.video[0])
        shift = 0
        for _ in range(times):
            with av.open(str(source)) as again:
                video = again.streams.video[0]
                end = 0
                for packet in again.demux(video):
                    if packet.size == 0:
                        continue
                    end = max(end, packet.pts + packet.duration)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = stream
                    output.mux(packet)
                shift += end
    return Path(path)


def sequential_frames(path: Path | str) -> Iterator[tuple[int, np.ndarray]]:
    """Ground truth: every frame of a plain full decode, (pts, rgb24 `[H, W, 3]`), with nothing clever in between."""
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.video[0]):
            yield frame.pts, frame.to_ndarray(format="rgb24")
