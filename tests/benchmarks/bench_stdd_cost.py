"""What STDD's space-time attention costs over plain CLIP per frame: multiply-adds and time, by its settings.

Run `python -m tests.benchmarks.bench_stdd_cost`. Weights are random (cost does not depend on them). Multiply-adds
are counted by torch on the meta device with eager attention; times are the best of interleaved rounds, so that what
else the machine does distorts them little.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPConfig

from hf_zsar import STDDConfig, STDDModel


BACKBONES = {
    "vit-b-16": dict(vision_config=dict(patch_size=16)),
    "vit-l-14": dict(
        vision_config=dict(
            patch_size=14, hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16
        ),
        text_config=dict(hidden_size=768, intermediate_size=3072, num_attention_heads=12),
        projection_dim=768,
    ),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain CLIP": dict(use_stca=False),
    "scales 1": dict(temporal_scales=[1]),
    "scales 2": dict(temporal_scales=[2]),
    "scales 1,2 (the paper's)": dict(temporal_scales=[1, 2]),
    "scales 1,2,3": dict(temporal_scales=[1, 2, 3]),
    "scales 1,2, rate 0.25": dict(temporal_scales=[1, 2], mask_rate=0.25),
    "scales 1,2, rate 0.75": dict(temporal_scales=[1, 2], mask_rate=0.75),
}


def build(backbone: str, attention: str, **settings: Any) -> STDDModel:
    """A model of random weights, in evaluation mode, on torch's default device."""
    clip = CLIPConfig(**BACKBONES[backbone])
    model = STDDModel(STDDConfig(backbone_config=clip, distill_weight=0.0, **settings)).eval()
    model.set_attn_implementation(attention)
    return model


@torch.no_grad()
def count_macs(backbone: str, frames: int, **settings: Any) -> int:
    """Multiply-adds of the video side for one video of `frames` frames of 224 x 224 pixels."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        build(backbone, "eager", **settings).encode_videos(torch.empty(1, frames, 3, 224, 224))
    return counter.get_total_flops() // 2


@torch.no_grad()
def measure(
    models: dict[str, STDDModel], videos: torch.Tensor, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Least seconds per call of every model's video side; one round before does not count."""
    times: dict[str, list[float]] = {name: [] for name in models}
    for round_number in range(rounds + 1):
        for name, model in models.items():
            start = clock()
            model.encode_videos(videos)
            if videos.is_cuda:
                torch.cuda.synchronize()
            if round_number:
                times[name].append(clock() - start)
    return {name: min(values) for name, values in times.items()}


def share_weights(models: dict[str, STDDModel]) -> None:
    """Let all models stand on the backbone of the first, so that memory holds one."""
    first = next(iter(models.values()))
    for model in models.values():
        model.backbone = first.backbone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=BACKBONES, default="vit-b-16")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--cpu-time", action="store_true", help="processor time, for a machine that is not idle")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    torch.manual_seed(0)
    dtype = getattr(torch, args.dtype)
    models = {name: build(args.backbone, "sdpa", **settings) for name, settings in SETTINGS.items()}
    share_weights(models)
    models = {name: model.to(args.device, dtype) for name, model in models.items()}
    videos = torch.randn(args.batch, args.frames, 3, 224, 224).to(args.device, dtype)
    clock = time.process_time if args.cpu_time else time.perf_counter
    seconds = measure(models, videos, args.rounds, clock)
    macs = {name: count_macs(args.backbone, args.frames, **settings) for name, settings in SETTINGS.items()}
    plain = next(iter(SETTINGS))
    rows = [
        dict(
            setting=name,
            gmacs_per_video=macs[name] / 1e9,
            macs_ratio=macs[name] / macs[plain],
            ms_per_video=1e3 * seconds[name] / args.batch,
            time_ratio=seconds[name] / seconds[plain],
        )
        for name in SETTINGS
    ]
    if args.json:
        record = dict(vars(args), threads=torch.get_num_threads(), torch=torch.__version__, rows=rows)
        Path(args.json).write_text(json.dumps(record))
    print(
        f"{args.backbone}, {args.frames} frames, batch {args.batch}, {args.dtype} on {args.device}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, best of {args.rounds} rounds"
        + ", processor time"
        * args.cpu_time
    )
    print(f"{'':<26}{'GMACs/video':>12}{'ratio':>8}{'ms/video':>11}{'ratio':>8}")
    for row in rows:
        setting, gmacs, macs_ratio, ms, time_ratio = row.values()
        print(f"{setting:<26}{gmacs:>12.1f}{macs_ratio:>8.2f}{ms:>11.1f}{time_ratio:>8.2f}")


if __name__ == "__main__":
    main()
