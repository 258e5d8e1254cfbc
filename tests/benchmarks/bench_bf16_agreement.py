"""How often bfloat16 and float32 name the same label, for models that have learned something.

Run `python -m tests.benchmarks.bench_bf16_agreement`. The tiny models of the learning tests are trained on rendered
clips and asked about new clips of all 24 labels, a third of which they have never seen. Random weights would not do:
they put all videos so close together that any rounding changes the order. ResT has batch norms and keeps float32.
"""

from __future__ import annotations

import argparse

import torch

from hf_zsar.pipeline_video_scoring import bf16_copy
from tests.benchmarks.measuring import report
from tests.rendered import LABELS, rendered_videos
from tests.training.test_learning import trained


@torch.inference_mode()
def agreement(method: str, clips: int) -> list[dict[str, float | str]]:
    """Share of clips with the same best label, and float32's accuracy among them."""
    with torch.inference_mode(False):
        full, processor = trained(method, seed=0)
    half = bf16_copy(full)
    labels, inputs = list(LABELS), processor.prepare_labels(list(LABELS))
    sides = [(model, model.encode_labels(**inputs, labels=labels)) for model in (full, half)]
    same = right = 0
    for seed in range(3_000_000, 3_000_000 + clips):
        pixels = rendered_videos(labels, [seed] * len(labels))
        one, other = (model.score(model.encode_videos(pixels), bank).argmax(1) for model, bank in sides)
        same += (one == other).sum().item()
        right += (one == torch.arange(len(labels))).sum().item()
    total = clips * len(labels)
    return [
        {"name": f"{method}: same label, {total} clips: {same / total:.2%}", "ratio": same / total},
        {"name": f"{method}: float32's accuracy there: {right / total:.2%}", "ratio": right / total},
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=50, help="of each label")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    rows = [row for method in ("actionclip", "stdd", "dasti") for row in agreement(method, args.clips)]
    report("bfloat16 against float32, share", rows, args.json)


if __name__ == "__main__":
    main()
