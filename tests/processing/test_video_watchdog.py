"""Nothing hangs: processes that read good and broken files in many threads, stop half-way or fork, and a watchdog."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


LIMIT_S = 90
ROOT = Path(__file__).resolve().parents[2]

IN_THREADS = """
import random, sys, warnings
from concurrent.futures import ThreadPoolExecutor
from hf_zsar.processing.video_reading import VideoReadError, open_video
warnings.simplefilter("ignore")
paths = sys.argv[1:]

def read(job):
    rng = random.Random(job)
    path = rng.choice(paths)
    try:
        # More codec threads than a worker thread would take by itself: the worst case.
        with open_video(path, thread_count=rng.choice([1, 2, 3])) as reader:
            kind = rng.randrange(4)
            if kind == 0:
                reader.read_at([rng.random() * reader.duration for _ in range(3)])
            elif kind == 1:
                next(reader.windows(0.3))
            elif kind == 2:
                next(reader.iter_frames())
            else:
                reader.read_at([0.0], mode="keyframe")
                reader.read_at([reader.duration / 2])
        return "frames"
    except VideoReadError:
        return "error"

with ThreadPoolExecutor(6) as pool:
    outcomes = list(pool.map(read, range(160)))
print(sorted(set(outcomes)), len(outcomes))
"""

LEFT_HALF_WAY = """
import sys
import torch
from hf_zsar.processing.video_reading import open_video
readers, iterators = [], []
for path in sys.argv[1:]:
    reader = open_video(path, thread_count=3)
    reader.read_at([0.1, reader.duration / 2])
    iterators += [reader.windows(0.3, num_frames=2), reader.iter_frames()]
    next(iterators[-1])
    readers.append(reader)
print("half-way")
# Nothing is closed: the interpreter ends with decoders open and generators suspended.
"""

FORKED = """
import sys
import torch
from hf_zsar.processing.video_processing_zsar import ZSARVideoProcessor
processor = ZSARVideoProcessor(num_frames=4, size=32, crop_size=32)

class Clips(torch.utils.data.Dataset):
    def __init__(self, paths): self.paths = paths * 6
    def __len__(self): return len(self.paths)
    def __getitem__(self, index): return processor(self.paths[index])["pixel_values_videos"][0]

if __name__ == "__main__":
    processor(sys.argv[1])  # decoders have run in this process before it forks
    loader = torch.utils.data.DataLoader(
        Clips(sys.argv[2:]), batch_size=3, num_workers=2, multiprocessing_context="fork"
    )
    print(sum(len(batch) for batch in loader))
"""


def run(code: str, paths: list[Path], tmp_path: Path) -> str:
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def good(synthetic) -> list[Path]:
    names = (
        "h264.mp4",
        "one_gop.mp4",
        "h264.mkv",
        "h264.ts",
        "hevc.mp4",
        "vp9.webm",
        "vp8.webm",
        "mpeg4_b.avi",
        "av1.mp4",
    )
    return [synthetic(name) for name in names]


@pytest.fixture
def broken(good, tmp_path) -> list[Path]:
    paths = []
    for path in good:
        data = bytearray(path.read_bytes())
        cut, rotten = tmp_path / f"cut_{path.name}", tmp_path / f"rotten_{path.name}"
        cut.write_bytes(data[: len(data) * 2 // 3])
        for place in range(len(data) // 3, len(data), 97):
            data[place] ^= 0xFF
        rotten.write_bytes(data)
        paths += [cut, rotten]
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video")
    return [*paths, tmp_path / "empty.mp4", tmp_path / "text.mp4"]


def test_broken_files_among_good_ones_in_many_threads(good, broken, tmp_path):
    assert run(IN_THREADS, [*good, *broken], tmp_path) == "['error', 'frames'] 160"


def test_hard_files_in_many_threads(good, hard_clips_dir, tmp_path):
    hard = [path for path in sorted(hard_clips_dir.iterdir()) if path.suffix != ".json"]
    assert run(IN_THREADS, [*good, *hard], tmp_path) == "['error', 'frames'] 160"


def test_decoders_left_half_way_do_not_keep_the_process(good, tmp_path):
    assert run(LEFT_HALF_WAY, good, tmp_path) == "half-way"


def test_forked_loader_workers(good, tmp_path):
    assert run(FORKED, [good[0], *good], tmp_path) == str(6 * len(good))
