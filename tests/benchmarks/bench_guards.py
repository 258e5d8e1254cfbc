"""What it costs that no stale bank and no number that is not finite goes through: the share of one ViT-B/16 clip.

Run `python -m tests.benchmarks.bench_guards`. One side is the pipeline's work on a clip of 8 frames with 400 labels,
from the file (10 seconds of 320 x 240, H.264) to scores, guards included; the other is its guards alone, over the same
model, features, bank and scores. Both run in float32 and in bfloat16, and take turns. Weights are random: cost does
not depend on them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hf_zsar import ActionCLIPConfig, ActionCLIPModel, LabelBank, ZSARVideoProcessor
from tests.benchmarks.footage import encode
from tests.benchmarks.measuring import ratio, report, take_turns


def guards(model: ActionCLIPModel, features: Any, bank: LabelBank, scores: torch.Tensor) -> None:
    """What a call of the pipeline checks besides its work."""
    identity = model.identity()
    model.check_finite(features, "features of videos")
    model.check_bank(bank, identity)
    model.check_finite({"logits_per_video": scores}, "scores of videos")


def measure(model: ActionCLIPModel, video: Path, num_frames: int, num_labels: int, rounds: int) -> dict[str, Any]:
    dtype = model.dtype
    processor = ZSARVideoProcessor(num_frames=num_frames)

    def features_of_clip() -> Any:
        return model.encode_videos(processor(str(video))["pixel_values_videos"].to(dtype))

    embeds = nn.functional.normalize(torch.randn(num_labels, model.backbone.dim, dtype=dtype), dim=-1)
    labels = tuple(str(number) for number in range(num_labels))
    bank = LabelBank(labels, {"prompt_embeds": embeds[:, None]}).admitted_by(model)
    features = features_of_clip()
    scores = model.score(features, bank)

    def call() -> None:
        model.score(features_of_clip(), bank, model.identity())

    sides = {"clip": call, "guards": lambda: guards(model, features, bank, scores)}
    times = take_turns(sides, rounds, warm_up=2)
    return {
        "name": f"a clip / its guards, {str(dtype).removeprefix('torch.')}",
        **ratio(times["clip"], times["guards"]),
    }


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--labels", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    torch.manual_seed(0)
    model = ActionCLIPModel(ActionCLIPConfig()).eval()
    with tempfile.TemporaryDirectory() as folder:
        video = encode(Path(folder) / "clip.mp4", 300, 240, 320, "libx264", 30)
        rows = [
            measure(model.to(dtype), video, args.frames, args.labels, args.rounds)
            for dtype in (torch.float32, torch.bfloat16)
        ]
    report("ViT-B/16: times that a clip takes longer than its guards (the goal is 100)", rows, args.json)


if __name__ == "__main__":
    main()
