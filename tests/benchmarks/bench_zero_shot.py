"""Steady state: one clip against 400 labels, ours and X-CLIP of the same size with random weights.

The size is ViT-B/32, X-CLIP's default configuration, or `--patch 16`. Run
`python -m tests.benchmarks.bench_zero_shot`. X-CLIP's `forward` encodes its label texts with every video, as its users
call it; ours has the label bank. "X-CLIP, ours" is that very model behind our contract, on the same weights: its text
tower runs once, and its scores must be equal to 1e-4. Whether bfloat16 names the same labels: `bench_bf16_agreement`.
"""

from __future__ import annotations

import argparse

import torch
from transformers import CLIPConfig, CLIPModel, XCLIPConfig, XCLIPModel

from hf_zsar import ActionCLIPModel, VideoTextModel
from hf_zsar.data import load_class_names
from hf_zsar.pipeline_video_scoring import bf16_copy
from tests.benchmarks.measuring import ratio, report, take_turns


FRAMES, TOKENS = 8, 15


def random_text(labels: int) -> torch.Tensor:
    """Rows of 15 tokens, the longest of "a video of a person {}." over Kinetics-400; all are padded to it."""
    ids = torch.randint(1, 40_000, (labels, TOKENS), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[:, -1] = 49406, 49407
    return ids


def build_ours(patch: int = 16) -> ActionCLIPModel:
    torch.manual_seed(0)
    clip = CLIPModel(CLIPConfig(vision_config=dict(patch_size=patch)))
    return ActionCLIPModel.from_encoder(clip, num_frames=FRAMES).eval()


def build_xclip(patch: int = 16) -> XCLIPModel:
    torch.manual_seed(0)
    text = dict(hidden_size=512, intermediate_size=2048, eos_token_id=49407)
    return XCLIPModel(XCLIPConfig(vision_config=dict(patch_size=patch, num_frames=FRAMES), text_config=text)).eval()


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patch", type=int, default=32, choices=(16, 32))
    parser.add_argument("--labels", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    assert len(load_class_names("kinetics400")) == 400
    ids = random_text(args.labels)
    ours, xclip = build_ours(args.patch), build_xclip(args.patch)
    models = {"ours": ours, "half": bf16_copy(ours), "wrapped": VideoTextModel.from_encoder(xclip, num_frames=FRAMES)}
    pixels = torch.randn(1, FRAMES, 3, 224, 224)
    banks = {name: model.encode_labels(ids) for name, model in models.items()}

    def score(name: str) -> torch.Tensor:
        return models[name].score(models[name].encode_videos(pixels), banks[name])

    theirs = xclip(pixel_values=pixels, input_ids=ids).logits_per_video
    assert (score("wrapped") - theirs).abs().max() < 1e-4, "not X-CLIP's scores"
    sides = {"xclip": lambda: xclip(pixel_values=pixels, input_ids=ids).logits_per_video}
    sides |= {name: lambda name=name: score(name) for name in models}
    times = take_turns(sides, args.rounds)
    peer = f"X-CLIP forward, {args.labels} labels"
    rows = [
        {"name": f"{peer} / X-CLIP, ours, float32", **ratio(times["xclip"], times["wrapped"])},
        {"name": f"{peer} / ours, float32", **ratio(times["xclip"], times["ours"])},
        {"name": f"{peer} / ours, bfloat16", **ratio(times["xclip"], times["half"])},
        {"name": "ours, float32 / ours, bfloat16", **ratio(times["ours"], times["half"])},
    ]
    report(f"zero-shot classification of a clip, steady state, ViT-B/{args.patch}", rows, args.json)


if __name__ == "__main__":
    main()
