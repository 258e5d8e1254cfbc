"""Steady state: one clip against 400 labels, ours and X-CLIP of the same size (both ViT-B/16, random weights).

Run `python -m tests.benchmarks.bench_zero_shot`. X-CLIP's `forward` encodes its label texts with every video, as its
users call it; ours has the label bank. Also shown: bfloat16 against float32 of ours, and how often their best labels
agree on random videos.
"""

from __future__ import annotations

import argparse
import copy

import torch
from transformers import CLIPConfig, CLIPModel, XCLIPConfig, XCLIPModel

from hf_zsar import ActionCLIPModel
from hf_zsar.data import load_class_names
from hf_zsar.pipeline_zero_shot_video_classification import to_bf16
from tests.benchmarks.measuring import ratio, report, take_turns


FRAMES, TOKENS = 8, 16


def random_text(labels: int) -> torch.Tensor:
    """Rows of 16 tokens, as class names in a prompt have, ending with the end token."""
    ids = torch.randint(1, 40_000, (labels, TOKENS), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[:, -1] = 49406, 49407
    return ids


def build_ours() -> ActionCLIPModel:
    torch.manual_seed(0)
    return ActionCLIPModel.from_clip(CLIPModel(CLIPConfig(vision_config=dict(patch_size=16))), num_frames=FRAMES)


def build_xclip() -> XCLIPModel:
    torch.manual_seed(0)
    text = dict(hidden_size=512, intermediate_size=2048, eos_token_id=49407)
    return XCLIPModel(XCLIPConfig(vision_config=dict(patch_size=16, num_frames=FRAMES), text_config=text)).eval()


@torch.inference_mode()
def agreement(full: ActionCLIPModel, half: ActionCLIPModel, ids: torch.Tensor, videos: int) -> float:
    """Share of random videos whose best label is the same in bfloat16, where float32 tells the two best apart."""
    banks = [model.encode_labels(ids) for model in (full, half)]
    same = []
    for seed in range(videos):
        generator = torch.Generator().manual_seed(seed)
        base = torch.randn(1, 1, 3, 14, 14, generator=generator)
        pixels = torch.nn.functional.interpolate(base[0], (224, 224), mode="bicubic")[None]
        pixels = pixels + 0.3 * torch.randn(1, FRAMES, 3, 224, 224, generator=generator)
        best = [
            m.score(m.encode_videos(pixels), bank).argmax().item() for m, bank in zip((full, half), banks, strict=True)
        ]
        same.append(best[0] == best[1])
    return sum(same) / videos


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--agreement", type=int, default=0, metavar="VIDEOS", help="also compare bf16's best labels")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    assert len(load_class_names("kinetics400")) == 400
    ids = random_text(args.labels)
    ours, xclip = build_ours(), build_xclip()
    half = copy.deepcopy(ours)
    to_bf16(half)
    pixels = torch.randn(1, FRAMES, 3, 224, 224)
    banks = {"ours": ours.encode_labels(ids), "half": half.encode_labels(ids)}
    times = take_turns(
        {
            "xclip": lambda: xclip(pixel_values=pixels, input_ids=ids).logits_per_video,
            "ours": lambda: ours.score(ours.encode_videos(pixels), banks["ours"]),
            "half": lambda: half.score(half.encode_videos(pixels), banks["half"]),
        },
        args.rounds,
    )
    rows = [
        {"name": f"X-CLIP forward, {args.labels} labels / ours, float32", **ratio(times["xclip"], times["ours"])},
        {"name": f"X-CLIP forward, {args.labels} labels / ours, bfloat16", **ratio(times["xclip"], times["half"])},
        {"name": "ours, float32 / ours, bfloat16", **ratio(times["ours"], times["half"])},
    ]
    if args.agreement:
        share = agreement(ours, half, ids, args.agreement)
        rows.append({"name": f"same best label in bfloat16, {args.agreement} videos", "ratio": share})
    report("zero-shot classification of a clip, steady state", rows, args.json)


if __name__ == "__main__":
    main()
