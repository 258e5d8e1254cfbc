"""Samples a second of our training loader against the official recipe: dump every frame as JPEG first, then read.

The dump is paid over ten epochs. Also the share of a training step that waits for data, for a ViT-B/32-sized tower.

    python -m tests.benchmarks.bench_training_loader [FOLDER_WITH_MANIFEST]
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from transformers import CLIPVisionConfig, CLIPVisionModel

from hf_zsar import ZSARVideoProcessor
from hf_zsar.clips.datasets import load_video_dataset
from hf_zsar.clips.frame_cache import build_frame_cache
from hf_zsar.training.augmentation import ClipAugmentation
from hf_zsar.training.collator import VideoTextCollator
from tests.benchmarks.measuring import report
from tests.conftest import CLIPS_DIR
from tests.tiny_models import tiny_processor


EPOCHS, BATCH, FRAMES, SIZE = 10, 4, 8, 224
AUGMENTATION = ClipAugmentation(size=SIZE, cropping="random_resized", grayscale=0.2)


def dump(dataset: object, folder: Path) -> tuple[float, int]:
    """Seconds and bytes of writing all frames of all videos as JPEG with a short side of 256."""
    start, size = time.perf_counter(), 0
    for number, row in enumerate(dataset):
        target = folder / str(number)
        target.mkdir(parents=True)
        with av.open(row["video"]["path"]) as container:
            for index, frame in enumerate(container.decode(video=0)):
                picture = frame.to_image()
                scale = 256 / min(picture.size)
                picture = picture.resize([max(256, round(side * scale)) for side in picture.size], Image.BICUBIC)
                picture.save(target / f"{index:05d}.jpg", quality=90)
                size += (target / f"{index:05d}.jpg").stat().st_size
    return time.perf_counter() - start, size


def read_dump(folder: Path, count: int, epoch: int) -> float:
    """Seconds of an epoch as the official loaders do it: PIL, one random frame a segment, then the same tensors."""
    processor, start = ZSARVideoProcessor(), time.perf_counter()
    for number in range(count):
        files = sorted((folder / str(number)).iterdir())
        generator = np.random.default_rng([epoch, number])
        places = ((np.arange(FRAMES) + generator.random(FRAMES)) * len(files) / FRAMES).astype(int)
        frames = [np.asarray(Image.open(io.BytesIO(files[place].read_bytes())).convert("RGB")) for place in places]
        processor.normalize(AUGMENTATION(torch.from_numpy(np.stack(frames)), generator))
    return time.perf_counter() - start


def ours(dataset: object, epoch: int) -> float:
    """Seconds of an epoch of our collator, without workers."""
    collator = collator_of(dataset)
    collator.set_epoch(epoch)
    start = time.perf_counter()
    for first in range(0, len(dataset), BATCH):
        collator([dataset[i] for i in range(first, min(first + BATCH, len(dataset)))])
    return time.perf_counter() - start


def collator_of(dataset: object) -> VideoTextCollator:
    """For rendering frames of the size that real models take."""
    processor = tiny_processor("actionclip")
    processor.video_processor = ZSARVideoProcessor(num_frames=FRAMES)
    return VideoTextCollator(processor, dataset.features["label"].names, text="distinct", augmentation=AUGMENTATION)


def waiting_share(dataset: object, workers: int) -> float:
    """Share of the time of training steps (forward and backward of a ViT-B/32) spent waiting for the next batch."""
    tower = CLIPVisionModel(CLIPVisionConfig(patch_size=32))
    loader = DataLoader(dataset, BATCH, collate_fn=collator_of(dataset), num_workers=workers)
    waited, total, mark = 0.0, 0.0, time.perf_counter()
    for number, batch in enumerate(loader):
        arrived = time.perf_counter()
        tower(batch["pixel_values_videos"].flatten(0, 1)).pooler_output.square().mean().backward()
        done = time.perf_counter()
        if number:  # the first batch includes starting the workers
            waited, total = waited + arrived - mark, total + done - mark
        mark = done
    return waited / total


def measure(source: Path) -> list[dict[str, float | str]]:
    """All measurements, as rows."""
    dataset = load_video_dataset(source / "manifest.json" if (source / "manifest.json").exists() else source)
    count, video_bytes = len(dataset), sum(Path(row["video"]["path"]).stat().st_size for row in dataset)
    with tempfile.TemporaryDirectory() as work:
        seconds_dump, bytes_dump = dump(dataset, Path(work) / "dump")
        start = time.perf_counter()
        build_frame_cache(dataset, Path(work) / "cache", num_frames=32)
        seconds_cache = time.perf_counter() - start
        bytes_cache = sum(path.stat().st_size for path in (Path(work) / "cache").glob("*.parquet"))
        cached = load_video_dataset(Path(work) / "cache")
        epochs: dict[str, list[float]] = {"dump": [], "videos": [], "cache": []}
        for epoch in range(3):  # interleaved, so that a busy moment meets all three
            epochs["dump"].append(read_dump(Path(work) / "dump", count, epoch))
            epochs["videos"].append(ours(dataset, epoch))
            epochs["cache"].append(ours(cached, epoch))
        epoch = {name: statistics.median(times) for name, times in epochs.items()}
        total = {
            "dump": seconds_dump + EPOCHS * epoch["dump"],
            "videos": EPOCHS * epoch["videos"],
            "cache": seconds_cache + EPOCHS * epoch["cache"],
        }
        for name, seconds in total.items():
            print(f"  {name:<8} {EPOCHS * count / seconds:8.1f} samples/s, {1e3 * epoch[name] / count:6.1f} ms a clip")
        return [
            {"name": "dump and read / our cache", "ratio": total["dump"] / total["cache"]},
            {"name": "dump and read / our videos", "ratio": total["dump"] / total["videos"]},
            {"name": "an epoch of read JPEGs / of our cache", "ratio": epoch["dump"] / epoch["cache"]},
            {"name": "bytes of the dump / of the videos", "ratio": bytes_dump / video_bytes},
            {"name": "bytes of the cache / of the dump", "ratio": bytes_cache / bytes_dump},
            {"name": "share of a step waiting for data, videos", "ratio": waiting_share(dataset, 1)},
            {"name": "share of a step waiting for data, cache", "ratio": waiting_share(cached, 1)},
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=CLIPS_DIR, help="with class folders or a manifest")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    if not args.folder.is_dir():
        raise SystemExit(f"{args.folder}: no such folder; name one with videos")
    report(f"training data, {EPOCHS} epochs", measure(args.folder), args.json)


if __name__ == "__main__":
    main()
