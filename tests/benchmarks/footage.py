"""Videos for benchmarks, made here: a camera that pans over a natural-looking scene with a moving object and noise.

Spectrum and noise are set so that H.264 makes of them what it makes of real clips (the median of 30): key frames of
0.1 bytes a pixel, six times the size of the others, and motion vectors that do work.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.benchmarks.measuring import report
from tests.videos import repeat_video


def scene(height: int, width: int, seed: int) -> np.ndarray:
    """uint8 `[H, W, 3]` with a natural spectrum."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    layers = []
    for _ in range(3):
        noise = rng.normal(size=(2, height, width // 2 + 1))
        layer = np.fft.irfft2((noise[0] + 1j * noise[1]) / frequency**1.45, (height, width))
        layers.append((layer - layer.mean()) / layer.std())
    return (120 + 40 * layers[0][..., None] + 12 * np.stack(layers, axis=-1)).clip(0, 255).astype(np.uint8)


def footage(count: int, height: int, width: int, seed: int = 0) -> Iterator[np.ndarray]:
    """`count` frames, uint8 `[H, W, 3]`."""
    wide, thing = scene(2 * height, 2 * width, seed), scene(height // 2, width // 4, seed + 1)
    rng = np.random.default_rng(seed + 2)
    for number in range(count):
        time = number / 30
        y, x = int(height / 2 + height / 3 * np.sin(0.7 * time)), int(width / 2 + width / 3 * np.sin(0.45 * time + 1))
        frame = wide[y : y + height, x : x + width].astype(np.int16)
        top = int(height / 4 + height / 5 * np.sin(2.1 * time))
        left = int(0.4 * width + width / 4 * np.cos(1.3 * time))
        frame[top : top + height // 2, left : left + width // 4] = thing
        grain = rng.integers(-5, 6, size=(height // 2, width // 2, 1), dtype=np.int16).repeat(2, 0).repeat(2, 1)
        frame[: grain.shape[0], : grain.shape[1]] += grain
        yield frame.clip(0, 255).astype(np.uint8)


def encode(path: Path, count: int, height: int, width: int, codec: str, gop: int, bit_rate: int | None = None) -> Path:
    """`footage` at 30 frames a second; H.264 with x264's medium preset at quality 23, a slice per picture as
    command line tools make it."""
    options = {"preset": "medium", "crf": "23", "x264-params": "sliced-threads=0"} if codec == "libx264" else {}
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = gop
        if bit_rate:
            stream.codec_context.bit_rate = bit_rate
        for number, pixels in enumerate(footage(count, height, width)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def make_files(folder: Path) -> dict[str, Path]:
    """The four files of the decoding benchmarks: name -> path. Those that are there already are kept."""
    files = {
        "AVI, MPEG-4, 320x240, 6 s, key frame every 12": folder / "ucf_like.avi",
        "MP4, H.264, 340x256, 10 s, key frame every 250": folder / "small.mp4",
        "MP4, H.264, 1280x720, 10 s, key frame every 250": folder / "hd.mp4",
        "MP4, H.264, 1280x720, 10 min, key frame every 250": folder / "hd_long.mp4",
    }
    avi, small, hd, long = files.values()
    if not avi.exists():
        encode(avi, 180, 240, 320, "mpeg4", gop=12, bit_rate=500_000)
    if not small.exists():
        encode(small, 300, 256, 340, "libx264", gop=250)
    if not hd.exists():
        encode(hd, 300, 720, 1280, "libx264", gop=250)
    if not long.exists():
        repeat_video(hd, long, 60)
    return files


def bench_files(
    description: str,
    what: str,
    bench_file: Callable[[str, Path, int, Callable[[], float]], list[dict[str, Any]]],
    finish: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
) -> None:
    """The command of a benchmark over these files: `bench_file(title, path, rounds, clock)` gives the rows of one;
    `finish` may add to all rows or name them."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--folder", type=Path, help="where the made videos are kept")
    parser.add_argument("--cpu-time", action="store_true", help="processor time, for a busy machine")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    clock = time.process_time if args.cpu_time else time.perf_counter
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for title, path in make_files(folder).items():
            rows += bench_file(title, path, args.rounds, clock)
    finish(rows)
    clock_name = "processor time" if args.cpu_time else "elapsed time"
    report(f"{what}, {clock_name}, peer / ours", rows, args.json)
