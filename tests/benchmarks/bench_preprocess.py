"""From a file to normalized pixel values in one call: ours against a transformers video processor.

Run `python -m tests.benchmarks.bench_preprocess`. Both take 8 frames, resize the short side to 256 (bicubic), crop 224
and normalize. The peer is transformers' torchvision video processor over its default decoder where torchvision loads;
without it, what transformers falls back to: frames by `load_video`, pixels by the PIL image processor.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_zsar import ZSARVideoProcessor
from tests.benchmarks.bench_decode import through_transformers
from tests.benchmarks.footage import bench_files
from tests.benchmarks.measuring import ratio, take_turns


def pil_processor() -> Any:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    return CLIPImageProcessorPil(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224})


def torchvision_processor(mean: list[float], std: list[float]) -> Any | None:
    """transformers' own video processor, or None where torchvision does not load."""
    try:
        import torchvision  # noqa: F401
        from transformers.video_processing_utils import BaseVideoProcessor
    except (ImportError, RuntimeError):
        return None
    processor = BaseVideoProcessor()
    processor.do_resize = processor.do_center_crop = processor.do_rescale = processor.do_normalize = True
    processor.size, processor.crop_size = {"shortest_edge": 256}, {"height": 224, "width": 224}
    processor.default_to_square, processor.resample = False, 3
    processor.image_mean, processor.image_std = mean, std
    return processor


def peers_of(path: Path, ours: ZSARVideoProcessor) -> dict[str, Callable[[], torch.Tensor]]:
    indices = ours.sample(path).indices
    pil = pil_processor()
    fallback = "pyav" if ours.sample(path).info.duration < 60 else "torchcodec"

    def through_pil() -> torch.Tensor:
        frames = through_transformers(path, indices, fallback)
        return pil(list(frames), return_tensors="pt")["pixel_values"]

    peers = {f"transformers, {fallback} and PIL": through_pil}
    torchvision = torchvision_processor(ours.image_mean, ours.image_std)
    if torchvision is None:
        print("  left out: transformers' torchvision video processor (torchvision does not load)")
    else:

        def through_torchvision() -> torch.Tensor:
            frames = through_transformers(path, indices, "torchcodec").transpose(0, 3, 1, 2)
            return torchvision(frames, do_sample_frames=False, return_tensors="pt")["pixel_values_videos"][0]

        peers["transformers, torchcodec and torchvision"] = through_torchvision
    return peers


def bench_file(title: str, path: Path, rounds: int, clock: Callable[[], float]) -> list[dict[str, Any]]:
    ours = ZSARVideoProcessor(crop_rounding="floor")  # transformers' way with half pixels
    expected = ours(path)["pixel_values_videos"][0]
    print(title)
    peers = peers_of(path, ours)
    for name, side in list(peers.items()):
        try:
            difference = float((side() - expected).abs().max())
        except (ImportError, RuntimeError, OSError) as error:
            print(f"  left out: {name} ({type(error).__name__}: {str(error).splitlines()[0][:80]})")
            del peers[name]
            continue
        assert difference < 0.05, f"{name} gives other pixel values (up to {difference:.3f})"
    frames, pil = ours.sample(path).frames, pil_processor()
    sides = {
        "ours": lambda: ours(path),
        "ours, frames decoded already": lambda: ours(frames, do_sample_frames=False),
        "PIL, frames decoded already": lambda: pil(list(frames.numpy()), return_tensors="pt"),
        **peers,
    }
    seconds = take_turns(sides, rounds, clock=clock)
    for name, values in seconds.items():
        print(f"  {name:<44} {1e3 * float(np.median(values)):>9.1f} ms")
    rows = [{"name": f"{path.name}: {name}", **ratio(seconds[name], seconds["ours"])} for name in peers]
    alone = ratio(seconds["PIL, frames decoded already"], seconds["ours, frames decoded already"])
    return [*rows, {"name": f"{path.name}: pixels only, PIL", **alone}]


if __name__ == "__main__":
    bench_files(__doc__, "file to pixel values", bench_file)
