"""The sparse frame cache: what it keeps, and that a kill leaves whole shards only."""

from __future__ import annotations

import io
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from hf_zsar.cli import main
from hf_zsar.clips import frame_cache
from hf_zsar.clips.datasets import VideoDatasetError, load_video_dataset, with_classes
from hf_zsar.clips.frame_cache import build_frame_cache
from hf_zsar.processing.video_reading import VideoReadError
from hf_zsar.training.collator import VideoTextCollator
from tests.tiny_models import tiny_processor
from tests.videos import frame_number, write_video


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Three videos of two classes whose frames carry their number."""
    root = tmp_path_factory.mktemp("videos")
    for label, name, frames in (("cooking", "a", 24), ("cooking", "b", 3), ("surfing", "c", 50)):
        (root / label).mkdir(exist_ok=True)
        write_video(root / label / f"{name}.mp4", frames)
    return root


def pictures(row):
    return [np.asarray(Image.open(io.BytesIO(data))) for data in row["frames"]]


def test_candidates_are_the_centers_of_equal_segments(videos, tmp_path):
    dataset = load_video_dataset(videos)
    assert build_frame_cache(dataset, tmp_path / "cache", num_frames=6, short_side=64, shard_size=2) == []
    cached = load_video_dataset(tmp_path / "cache")
    assert cached.features["label"].names == ["cooking", "surfing"]
    assert cached["label"][:] == [0, 0, 1] and cached["index"][:] == [0, 1, 2]
    assert pictures(cached[0])[0].shape == (64, 80, 3)
    numbers = [[frame_number(picture) for picture in pictures(row)] for row in cached]
    assert numbers == [[2, 6, 10, 14, 18, 22], [0, 1, 2], [4, 12, 20, 29, 37, 45]]
    assert with_classes(cached, ["surfing"])["index"][:] == [2]
    assert [row["index"] for row in load_video_dataset(tmp_path / "cache", streaming=True)] == [0, 1, 2]


def test_a_cache_in_a_folder_with_any_name(videos, tmp_path):
    """`datasets` takes names for patterns."""
    folder = tmp_path / "cache[1]*?"
    build_frame_cache(load_video_dataset(videos), folder, num_frames=2, short_side=16)
    assert load_video_dataset(folder)["label"][:] == [0, 0, 1]


def test_small_frames_are_not_enlarged_and_jpegs_are_close(videos, tmp_path):
    build_frame_cache(load_video_dataset(videos), tmp_path / "cache", num_frames=2, short_side=999, quality=95)
    row = load_video_dataset(tmp_path / "cache")[0]
    reader = frame_cache.open_video(str(videos / "cooking" / "a.mp4"))
    with reader:
        original = reader.read_indices([6]).frames[0].numpy()
    assert np.abs(pictures(row)[0].astype(int) - original).mean() < 4


def test_the_collator_trains_on_a_cache(videos, tmp_path):
    build_frame_cache(load_video_dataset(videos), tmp_path / "cache", num_frames=8)
    cached = load_video_dataset(tmp_path / "cache")
    collator = VideoTextCollator(tiny_processor("rest"), cached.features["label"].names)
    batch = collator([cached[i] for i in range(3)])
    assert batch["labels"].tolist() == [0, 0, 1]
    assert torch.equal(batch["pixel_values_videos"][2], collator([cached[2]])["pixel_values_videos"][0])


def test_workers_change_nothing(videos, tmp_path):
    dataset = load_video_dataset(videos)
    for workers in (0, 2):
        build_frame_cache(dataset, tmp_path / str(workers), num_frames=4, workers=workers)
    alone, shared = (load_video_dataset(tmp_path / name) for name in ("0", "2"))
    assert alone["frames"][:] == shared["frames"][:]


def test_an_interrupted_cache_goes_on_and_is_not_read_before(videos, tmp_path, monkeypatch):
    dataset, folder = load_video_dataset(videos), tmp_path / "cache"
    original, calls = frame_cache.candidate_frames, []

    def failing(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(frame_cache, "candidate_frames", failing)
        build_frame_cache(dataset, folder, num_frames=4, shard_size=1)
    with pytest.raises(VideoDatasetError, match="2 of 3 shards"):
        load_video_dataset(folder)
    written = (folder / "frames-00000.parquet").stat().st_mtime_ns
    build_frame_cache(dataset, folder, num_frames=4, shard_size=1)
    assert (folder / "frames-00000.parquet").stat().st_mtime_ns == written
    assert len(load_video_dataset(folder)) == 3
    assert not list(folder.glob(".*"))


def test_a_folder_of_something_else_is_refused(videos, tmp_path):
    dataset = load_video_dataset(videos)
    build_frame_cache(dataset, tmp_path / "cache", num_frames=4)
    with pytest.raises(VideoDatasetError, match="other videos or settings"):
        build_frame_cache(dataset, tmp_path / "cache", num_frames=5)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with pytest.raises(VideoDatasetError, match="not empty"):
        build_frame_cache(dataset, tmp_path / "full")


def test_broken_videos_and_the_command(videos, tmp_path, capsys):
    for label in ("cooking", "surfing"):
        (tmp_path / "videos" / label).mkdir(parents=True)
    write_video(tmp_path / "videos" / "cooking" / "good.mp4", 8)
    (tmp_path / "videos" / "surfing" / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(VideoReadError, match=r"bad\.mp4"):
        build_frame_cache(load_video_dataset(tmp_path / "videos"), tmp_path / "cache", num_frames=4)
    command = ["cache", str(tmp_path / "videos"), str(tmp_path / "cache"), "--num-frames", "4"]
    assert main(command) == 2
    assert main([*command, "--skip-broken"]) == 1
    shown = capsys.readouterr()
    assert "bad.mp4" in shown.err and "frames of 1 videos" in shown.out
    assert len(load_video_dataset(tmp_path / "cache")) == 1
    assert main(["cache", str(videos), str(tmp_path / "whole")]) == 0


SLOW = """
import time
from hf_zsar.clips import frame_cache

def slow(*_):
    time.sleep(60)

frame_cache.candidate_frames = slow
frame_cache._decode_all([{"video": "a"}] * 3, (2, 32, 90), 3)
"""


def test_workers_end_with_a_killed_parent():
    parent = subprocess.Popen([sys.executable, "-c", SLOW])
    deadline = time.monotonic() + 60
    while len(workers := psutil.Process(parent.pid).children()) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=10)
    for worker in alive:
        worker.kill()
    assert len(workers) == 3 and alive == []
