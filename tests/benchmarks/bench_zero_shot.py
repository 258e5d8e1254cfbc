"""Steady state: one clip against 400 labels, ours and X-CLIP of the same size with random weights.

The size is ViT-B/32, X-CLIP's default configuration, or `--patch 16`. Run
`python -m tests.benchmarks.bench_zero_shot`. X-CLIP's `forward` encodes its label texts with every video, as its users
call it; ours has the label bank. `--agreement` also tells how often bfloat16 and float32 name the same class.
"""

from __future__ import annotations

import argparse
import copy

import torch
from transformers import CLIPConfig, CLIPModel, XCLIPConfig, XCLIPModel

from hf_zsar import ActionCLIPModel
from hf_zsar.data import load_class_names
from hf_zsar.modeling.modeling_zsar import normalize
from hf_zsar.pipeline_zero_shot_video_classification import to_bf16
from tests.benchmarks.measuring import ratio, report, take_turns


FRAMES, TOKENS = 8, 15
SHARE = 0.5  # of the variance of a video, what it has of its class


def random_text(labels: int) -> torch.Tensor:
    """Rows of 15 tokens, the longest of "a video of a person {}." over Kinetics-400; all are padded to it."""
    ids = torch.randint(1, 40_000, (labels, TOKENS), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[:, -1] = 49406, 49407
    return ids


def build_ours(patch: int = 16) -> ActionCLIPModel:
    torch.manual_seed(0)
    clip = CLIPModel(CLIPConfig(vision_config=dict(patch_size=patch)))
    return ActionCLIPModel.from_clip(clip, num_frames=FRAMES).eval()


def build_xclip(patch: int = 16) -> XCLIPModel:
    torch.manual_seed(0)
    text = dict(hidden_size=512, intermediate_size=2048, eos_token_id=49407)
    return XCLIPModel(XCLIPConfig(vision_config=dict(patch_size=patch, num_frames=FRAMES), text_config=text)).eval()


def scenes(seed: int) -> torch.Tensor:
    """Smooth random pictures, `[FRAMES, 3, 224, 224]`."""
    coarse = torch.randn(FRAMES, 3, 14, 14, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (224, 224), mode="bicubic")


@torch.inference_mode()
def agreement(full: ActionCLIPModel, half: ActionCLIPModel, classes: int) -> dict[str, float]:
    """A classification that float32 gets right about as often as real models do: each class is the embedding of some
    scenes, each video a mixture of the scenes of its class and of stronger other ones."""
    anchors = torch.cat([normalize(full.encode_videos(scenes(i)[None]).video_embeds) for i in range(classes)])
    best: dict[str, list[int]] = {"full": [], "half": []}
    for i in range(classes):
        mixture = SHARE**0.5 * scenes(i) + (1 - SHARE) ** 0.5 * scenes(classes + i)
        for name, model in (("full", full), ("half", half)):
            embeds = normalize(model.encode_videos(mixture[None]).video_embeds.float())
            best[name].append((embeds @ anchors.T).argmax().item())
    right = sum(found == i for i, found in enumerate(best["full"]))
    same = sum(one == other for one, other in zip(best["full"], best["half"], strict=True))
    return {"accuracy": right / classes, "agreement": same / classes}


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patch", type=int, default=32, choices=(16, 32))
    parser.add_argument("--labels", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--agreement", type=int, default=0, metavar="CLASSES", help="also compare bf16's best labels")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    assert len(load_class_names("kinetics400")) == 400
    ids = random_text(args.labels)
    ours, xclip = build_ours(args.patch), build_xclip(args.patch)
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
        shares = agreement(ours, half, args.agreement)
        rows.append({"name": f"top-1 agreement of bfloat16, {args.agreement} classes", "ratio": shares["agreement"]})
        rows.append({"name": "float32's own top-1 accuracy there", "ratio": shares["accuracy"]})
    report(f"zero-shot classification of a clip, steady state, ViT-B/{args.patch}", rows, args.json)


if __name__ == "__main__":
    main()
