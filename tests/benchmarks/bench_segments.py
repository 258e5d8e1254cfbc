"""What segments cost beside a timeline and beside decoding each window anew, and how well they find synthetic truth.

Run `HF_ZSAR_CLIPS=folder python -m tests.benchmarks.bench_segments [--videos 30] [--guessed 30]`. The truth: real
clips one after the other in random order, videos of 2 to 6 minutes (`tests/joined_clips.py`). An oracle, whose
features are one-hot of the true clip, shows what the segmenting itself loses; the embedded default what it finds.
Cost is counted in frames that the encoder saw and in processor time, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hf_zsar
from hf_zsar.evaluation.localization import HIGH, LOW
from hf_zsar.evaluation.metrics.localization import localization_map
from tests.benchmarks.footage import encode
from tests.benchmarks.measuring import ratio, report, take_turns
from tests.joined_clips import join, real_clips
from tests.segments.oracle import as_found, oracle


LABELS = ["riding a bike", "cooking", "playing guitar", "swimming"]
WINDOW, STRIDE = 2.0, 0.5


def decode_each_anew(pipe: Any, video: str, seconds: float) -> None:
    """Transformers' way: `load_video` for each window, then the pipeline."""
    from transformers.video_utils import load_video

    start = 0.0
    while start + WINDOW <= seconds:

        def places(metadata: Any, start: float = start, **options: Any) -> list[int]:
            return [int((start + (place + 0.5) * WINDOW / 8) * metadata.fps) for place in range(8)]

        frames, _ = load_video(video, backend="pyav", sample_indices_fn=places)
        pipe(frames, candidate_labels=LABELS)
        start += STRIDE


def cost(seconds: int, rounds: int) -> list[dict[str, Any]]:
    """Rows of what segments cost."""
    pipe = hf_zsar.pipeline(device="cpu")
    seen = count_frames(pipe)
    with tempfile.TemporaryDirectory() as folder:
        video = str(encode(Path(folder) / "video.mp4", 30 * seconds, 240, 320, "libx264", gop=250))
        plain = dict(window=WINDOW, candidate_labels=LABELS)
        sides: dict[str, Callable[[], Any]] = {
            "timeline": lambda: list(pipe.timeline(video, stride=WINDOW, **plain)),
            "timeline, overlapping": lambda: list(pipe.timeline(video, stride=STRIDE, **plain)),
            "segments at the stride of the timeline": lambda: pipe.segments(
                video, stride=WINDOW, scales=(1,), **plain
            ),
            "segments, stride a quarter of the window": lambda: pipe.segments(video, stride=STRIDE, **plain),
        }
        frames = {}
        for name, side in sides.items():
            seen.clear()
            side()
            frames[name] = sum(seen)
            print(f"  {name}: {frames[name]} frames encoded")
        sides["each window decoded anew"] = lambda: decode_each_anew(pipe, video, seconds)
        times = take_turns(sides, rounds, warm_up=0, clock=time.process_time)
    base, rows = times.pop("timeline"), []
    for name, each in times.items():
        rows.append({"name": f"{name} / timeline, processor time", **ratio(each, base)})
        if name in frames:
            rows.append({"name": f"{name} / timeline, frames encoded", "ratio": frames[name] / frames["timeline"]})
    return rows


def count_frames(pipe: Any) -> list[int]:
    """A list that grows by the number of frames of each forward pass."""
    seen: list[int] = []
    encode_videos = pipe.model.encode_videos

    def counted(pixels: Any, **options: Any) -> Any:
        seen.append(pixels.shape[:-3].numel())
        return encode_videos(pixels, **options)

    pipe.model.encode_videos = counted
    return seen


def found(folder: Path, videos: int, guessed: int) -> list[dict[str, Any]]:
    """Rows of what is found of the synthetic truth."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    clips, labels = real_clips(folder, manifest), manifest["labels"]
    rows = []
    for name, pipe, count, marked in (
        ("an oracle", oracle(clips), videos, True),
        ("the embedded default", hf_zsar.pipeline(device="cpu"), guessed, False),
    ):
        truth: list[dict[str, Any]] = []
        ours: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory() as temporary:
            for seed in range(count):
                video = Path(temporary) / f"{seed}.mp4"
                truth += as_found(join(clips, video, (120, 360), seed, marked), str(seed))
                ours += as_found(pipe.segments(str(video), labels, high=HIGH, low=LOW), str(seed))
                video.unlink()
        if truth:
            scores = localization_map(truth, ours)
            print(f"  {name}, {count} videos, {len(truth)} segments: mAP@0.5 {scores['map'][0]:.3f}", flush=True)
            rows.append({"name": f"mAP@0.5 of {name}, {count} videos", "ratio": scores["map"][0]})
            rows.append({"name": f"mean mAP of {name}", "ratio": scores["average_map"]})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=30, help="for the oracle")
    parser.add_argument("--guessed", type=int, default=30, help="for the embedded default")
    parser.add_argument("--seconds", type=int, default=30, help="of the video whose cost is measured; 0 leaves it out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    rows = cost(args.seconds, args.rounds) if args.seconds else []
    if folder := os.environ.get("HF_ZSAR_CLIPS"):
        rows += found(Path(folder), args.videos, args.guessed)
    report("segments", rows, args.json)


if __name__ == "__main__":
    main()
