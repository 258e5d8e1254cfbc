"""Eight frames of a video: ours, exact and by key frames, against transformers, torchcodec, decord and OpenCV.

Run `python -m tests.benchmarks.bench_decode`. All sides read the same frames, which are compared first. Peers that are
not installed are left out, visibly. `--folder` keeps the made videos for the next run. `--cpu-time` counts processor
time instead of elapsed time, for a machine that is busy with other work; it does not see work done side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_zsar.processing.video_reading import open_video
from tests.benchmarks.footage import bench_files
from tests.benchmarks.measuring import ratio, take_turns


COUNT = 8
Side = Callable[[], np.ndarray]


def ours(path: Path, mode: str = "exact") -> np.ndarray:
    with open_video(path) as reader:
        times = (np.arange(COUNT) + 0.5) * reader.duration / COUNT
        return reader.read_at(times + reader.clock_tick, mode=mode).frames.numpy()


def through_transformers(path: Path, indices: Sequence[int], backend: str) -> np.ndarray:
    from transformers.video_utils import load_video

    frames, _ = load_video(str(path), backend=backend, sample_indices_fn=lambda **_: np.array(indices))
    return as_array(frames)


def through_torchcodec(path: Path, indices: Sequence[int], **options: Any) -> np.ndarray:
    from torchcodec.decoders import VideoDecoder

    return as_array(VideoDecoder(str(path), **options).get_frames_at(list(indices)).data)


def through_decord(path: Path, indices: Sequence[int]) -> np.ndarray:
    import decord

    return decord.VideoReader(str(path)).get_batch(list(indices)).asnumpy()


def through_opencv(path: Path, indices: Sequence[int]) -> np.ndarray:
    """Grabbing to the last index, converting only wanted frames: faster than one seek per frame."""
    import cv2

    capture = cv2.VideoCapture(str(path))
    wanted, frames = set(indices), []
    for number in range(max(indices) + 1):
        capture.grab()
        if number in wanted:
            frames.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
    capture.release()
    return np.stack(frames)


def as_array(frames: Any) -> np.ndarray:
    """Frames of any library as `[T, H, W, 3]`."""
    frames = frames.numpy() if hasattr(frames, "numpy") else np.asarray(frames)
    return frames if frames.shape[-1] == 3 else frames.transpose(0, 2, 3, 1)


def peers_of(path: Path, indices: Sequence[int], long: bool) -> dict[str, Side]:
    """Installed peers that give the same frames. OpenCV, which decodes all before, is left out of the long file."""
    candidates: dict[str, Side] = {
        "transformers, torchcodec": lambda: through_transformers(path, indices, "torchcodec"),
        "torchcodec, 1 thread": lambda: through_torchcodec(path, indices),
        "torchcodec, approximate": lambda: through_torchcodec(path, indices, seek_mode="approximate"),
        "torchcodec, threads by FFmpeg": lambda: through_torchcodec(path, indices, num_ffmpeg_threads=0),
        "decord": lambda: through_decord(path, indices),
    }
    if not long:
        candidates["OpenCV, grab"] = lambda: through_opencv(path, indices)
    expected, found = ours(path), {}
    for name, side in candidates.items():
        try:
            frames = side()
        except (ImportError, RuntimeError, OSError) as error:
            print(f"  left out: {name} ({type(error).__name__}: {str(error).splitlines()[0][:80]})")
            continue
        if frames.shape == expected.shape and (frames == expected).all():
            found[name] = side
        else:
            print(f"  left out: {name} gives other frames")
    return found


def best(names: list[str], seconds: dict[str, list[float]]) -> str:
    return min(names, key=lambda name: float(np.median(seconds[name])))


def bench_file(title: str, path: Path, rounds: int, clock: Callable[[], float]) -> list[dict[str, Any]]:
    """Rows of one file: exact frames to transformers' default and the best peer, key frames to the former."""
    with open_video(path) as reader:
        long = reader.duration > 60
        indices = reader.read_at((np.arange(COUNT) + 0.5) * reader.duration / COUNT + reader.clock_tick).indices
    print(title)
    peers = peers_of(path, indices, long)
    sides = {"ours": lambda: ours(path), "ours, key frames": lambda: ours(path, "keyframe"), **peers}
    seconds = take_turns(sides, rounds, clock=clock)
    for name, values in seconds.items():
        print(f"  {name:<34} {1e3 * float(np.median(values)):>9.1f} ms")
    rows = []
    default = "transformers, torchcodec"
    if default in peers:
        rows.append({"name": f"exact / {default}", **ratio(seconds[default], seconds["ours"])})
        rows.append({"name": f"key frames / {default}", **ratio(seconds[default], seconds["ours, key frames"])})
    direct = [name for name in peers if name != default]
    if direct:
        winner = best(direct, seconds)
        rows.append({"name": "exact / best peer", "peer": winner, **ratio(seconds[winner], seconds["ours"])})
    if long:
        slow = take_turns({"pyav": lambda: through_transformers(path, indices, "pyav")}, 1, warm_up=0, clock=clock)
        figure = float(np.median(slow["pyav"]) / np.median(seconds["ours"]))
        rows.append({"name": "exact / transformers, pyav (one run)", "ratio": figure})
    return [{"file": title, **row} for row in rows]


def geometric_means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    means = []
    for kind in ("exact / transformers, torchcodec", "exact / best peer"):
        values = [row["ratio"] for row in rows if row["name"] == kind]
        if values:
            means.append(
                {"name": f"{kind}, geometric mean of {len(values)}", "ratio": float(np.exp(np.mean(np.log(values))))}
            )
            means.append({"name": f"{kind}, least", "ratio": min(values)})
    return means


def finish(rows: list[dict[str, Any]]) -> None:
    """Add the geometric means and put the file into the names of the others."""
    means = geometric_means(rows)
    for row in rows:
        parts = row["file"].split(",")
        row["name"] = f"{parts[0]} {parts[2]}: {row['name']}"
    rows += means


if __name__ == "__main__":
    bench_files(__doc__, f"{COUNT} frames of a video", bench_file, finish)
