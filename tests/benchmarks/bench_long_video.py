"""Memory of a timeline over a long video: ours, streaming, and transformers' `load_video` with windows of its array.

Run `python -m tests.benchmarks.bench_long_video`. Each side is a process of its own; the peak resident set above that
after loading the model counts. The video is made by repeating a short one.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.measuring import report
from tests.videos import repeat_video, write_video


WINDOW, FRAMES = 10.0, 8


def run_side(side: str, video: str) -> None:
    """In a process of its own: print the extra peak memory in bytes and the number of windows."""
    import numpy as np
    from transformers import pipeline

    import hf_zsar

    pipe = pipeline("zero-shot-video-classification", model=str(hf_zsar.embedded_model_path()), device="cpu")
    labels = ["riding a bike", "cooking", "playing guitar", "swimming"]
    small = np.zeros((FRAMES, 64, 64, 3), dtype=np.uint8)
    pipe(small, candidate_labels=labels)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if side == "ours":
        windows = len(pipe(video, candidate_labels=labels, window=WINDOW))
    else:
        from transformers.video_utils import load_video

        frames, metadata = load_video(video, backend="pyav")
        step = int(WINDOW * metadata.fps)
        windows = 0
        for start in range(0, len(frames) - step + 1, step):
            rows = np.linspace(start, start + step - 1, FRAMES).astype(int)
            pipe(frames[rows], candidate_labels=labels)
            windows += 1
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(json.dumps({"extra": extra, "windows": windows}))


def measure(side: str, video: Path) -> dict[str, int]:
    command = [sys.executable, "-m", "tests.benchmarks.bench_long_video", "--side", side, "--video", str(video)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--fps", type=int, default=4, help="frames a second; the peer keeps all of them, 3 times over")
    parser.add_argument("--side", choices=("ours", "peer"))
    parser.add_argument("--video")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    if args.side:
        run_side(args.side, args.video)
        return
    with tempfile.TemporaryDirectory() as folder:
        short = write_video(Path(folder) / "short.mp4", 60 * args.fps, fps=args.fps, height=240, width=320, gop=50)
        third = repeat_video(short, Path(folder) / "third.mp4", max(args.minutes // 3, 1))
        whole = repeat_video(short, Path(folder) / "whole.mp4", args.minutes)
        ours, ours_third, peer = measure("ours", whole), measure("ours", third), measure("peer", whole)
    mib = 2**20
    print(f"{args.minutes} min, 320x240, {args.fps} fps, {ours['windows']} windows; the peer scored {peer['windows']}")
    print(f"  extra memory: ours {ours['extra'] / mib:.0f} MiB, peer {peer['extra'] / mib:.0f} MiB,")
    print(f"  ours of a third of the video {ours_third['extra'] / mib:.0f} MiB")
    rows = [
        {"name": "peer / ours, extra peak memory", "ratio": peer["extra"] / max(ours["extra"], mib)},
        {
            "name": "ours, whole video / a third of it",
            "ratio": max(ours["extra"], mib) / max(ours_third["extra"], mib),
        },
    ]
    report("memory of a timeline over a long video", rows, args.json)


if __name__ == "__main__":
    main()
