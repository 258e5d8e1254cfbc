"""What 400 labels with 16 examples each add to the scores of a clip: `encode_videos` and `score` of 8 frames.

Run `python -m tests.benchmarks.bench_examples_cost`. The embedded default, and ActionCLIP on a ViT-B/16 of random
weights, which cost the same as trained ones. One side is a clip without examples, the other what examples add to its
scores; they take turns, and are measured in seconds of the processor, so that other work on the machine counts less.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

import hf_zsar
from hf_zsar import ActionCLIPConfig, ActionCLIPModel, LabelBank
from hf_zsar.modeling.examples import FIXED_RIDGE, Examples, Term
from tests.benchmarks.measuring import ratio, report, take_turns


def with_random_examples(bank: LabelBank, dim: int, each: int) -> LabelBank:
    """Of ridge regression; its weights are as many as solved ones."""
    labels, count = len(bank), each * len(bank)
    examples = Examples(
        F.normalize(torch.randn(count, dim), dim=-1),
        torch.arange(labels).repeat(each),
        torch.randn(count, labels),
        torch.ones(labels, dtype=torch.bool),
        weights=torch.randn(count, labels),
        chosen=Term(**FIXED_RIDGE),
    )
    return replace(bank, examples=examples)


def measure(name: str, model: PreTrainedModel, bank: LabelBank, pixels: torch.Tensor, args: Any) -> dict[str, Any]:
    features = model.encode_videos(pixels)
    logits, embeds = model.score(features, bank), features.video_embeds
    examples = with_random_examples(bank, embeds.shape[1], args.each).examples
    sides = {
        "clip": lambda: model.score(model.encode_videos(pixels), bank),
        "examples": lambda: examples.add_to(logits, embeds),
    }
    times = take_turns(sides, args.rounds, warm_up=2, clock=time.process_time)
    print(f"{name}: medians {1000 * median(times['clip']):.1f} and {1000 * median(times['examples']):.2f} ms")
    return {"name": f"{name}: a clip / what examples add", **ratio(times["clip"], times["examples"])}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=400)
    parser.add_argument("--each", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    torch.manual_seed(0)
    pipe = hf_zsar.pipeline()
    labels = [f"action {number}" for number in range(args.labels)]
    clip = pipe.processor.video_processor(torch.zeros(8, 240, 320, 3, dtype=torch.uint8))["pixel_values_videos"]
    rows = [measure("embedded default", pipe.model, pipe.label_bank(labels), clip, args)]
    model = ActionCLIPModel(ActionCLIPConfig()).eval()
    embeds = F.normalize(torch.randn(args.labels, model.backbone.dim), dim=-1)
    bank = LabelBank(tuple(labels), {"prompt_embeds": embeds[:, None], "text_embeds": embeds}).admitted_by(model)
    rows.append(measure("ViT-B/16", model, bank, torch.rand(1, 8, 3, 224, 224), args))
    report("16 examples of each of 400 labels (the goal is 20: 5 %)", rows, args.json)


if __name__ == "__main__":
    main()
