"""A label bank of 101 labels x 16 templates against the same prompts over CLIP's full context of 77 tokens.

Run `python -m tests.benchmarks.bench_label_bank`. The text tower is that of ViT-B/16; its weights are random (cost
does not depend on them) and shared by all sides. The sides take turns, some labels at a time, so that what else the
machine does hits all of them; tokenizing is included. Embeddings are compared, so a faster side is not a wrong side.
Where open_clip is installed, its `build_zero_shot_classifier` takes part with the same weights.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from hf_zsar import ActionCLIPModel, ActionCLIPProcessor, LabelBank, ZSARVideoProcessor
from hf_zsar.data import load_class_names
from hf_zsar.modeling.modeling_zsar import normalize
from tests.clip_vocabulary import clip_tokenizer


Side = Callable[[Sequence[str]], torch.Tensor]


def build(tokenizer: CLIPTokenizer) -> tuple[ActionCLIPModel, ActionCLIPProcessor]:
    """The text tower of ViT-B/16 and an image tower of one small layer, which has no part in this."""
    text = dict(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id)
    vision = dict(hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1)
    torch.manual_seed(0)
    model = ActionCLIPModel.from_encoder(CLIPModel(CLIPConfig(text_config=text, vision_config=vision)))
    return model, ActionCLIPProcessor(ZSARVideoProcessor(), tokenizer)


def full_context(model: ActionCLIPModel, processor: ActionCLIPProcessor, batch_size: int) -> Side:
    """The official way: every sentence padded with zeros to 77 tokens, no mask. Gives `[K, P, dim]`, unit norm."""

    def encode(labels: Sequence[str]) -> torch.Tensor:
        sentences = [template.replace("{}", label) for label in labels for template in processor.prompt_templates]
        tokens = processor.tokenizer(sentences, padding="max_length", max_length=77, return_tensors="pt")
        ids, clip = tokens["input_ids"] * tokens["attention_mask"], model.backbone.model
        rows = [clip.text_projection(clip.text_model(input_ids=part).pooler_output) for part in ids.split(batch_size)]
        return normalize(torch.cat(rows)).view(len(labels), -1, model.backbone.dim)

    return encode


def label_bank(model: ActionCLIPModel, processor: ActionCLIPProcessor) -> Side:
    """Ours."""

    def encode(labels: Sequence[str]) -> torch.Tensor:
        return model.encode_labels(**processor.prepare_labels(labels), labels=labels)["prompt_embeds"]

    return encode


def open_clip_classifier(model: ActionCLIPModel, processor: ActionCLIPProcessor) -> Side | None:
    """open_clip's own text tower with our weights; None where open_clip cannot be imported. Gives `[K, 1, dim]`: the
    normalized mean over templates, as it keeps no more."""
    try:
        import open_clip
    except (ImportError, RuntimeError):  # RuntimeError: a torchvision that does not fit torch
        return None
    tower = open_clip.create_model("ViT-B-16", force_quick_gelu=True).eval()
    tower.load_state_dict(openai_names(model.backbone.model), strict=False)
    tokenizer = open_clip.get_tokenizer("ViT-B-16")
    templates = [lambda label, t=template: t.replace("{}", label) for template in processor.prompt_templates]

    def encode(labels: Sequence[str]) -> torch.Tensor:
        weights = open_clip.build_zero_shot_classifier(
            tower, tokenizer, labels, templates, num_classes_per_batch=10, device="cpu"
        )
        return weights.t()[:, None]

    return encode


def openai_names(clip: CLIPModel) -> dict[str, torch.Tensor]:
    """The text side under OpenAI's names."""
    state, text = clip.state_dict(), "text_model."
    named = {
        "token_embedding.weight": state[f"{text}embeddings.token_embedding.weight"],
        "positional_embedding": state[f"{text}embeddings.position_embedding.weight"],
        "ln_final.weight": state[f"{text}final_layer_norm.weight"],
        "ln_final.bias": state[f"{text}final_layer_norm.bias"],
        "text_projection": state["text_projection.weight"].t(),
    }
    parts = {"self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2"}
    parts |= {"mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    for index in range(clip.config.text_config.num_hidden_layers):
        source, target = f"{text}encoder.layers.{index}.", f"transformer.resblocks.{index}."
        for kind in ("weight", "bias"):
            packed = [state[f"{source}self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
            named[f"{target}attn.in_proj_{kind}"] = torch.cat(packed)
            named |= {f"{target}{new}.{kind}": state[f"{source}{old}.{kind}"] for old, new in parts.items()}
    return named


def take_turns(sides: dict[str, Side], labels: Sequence[str], turns: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Seconds of each side for all labels, and its embeddings."""
    seconds = dict.fromkeys(sides, 0.0)
    embeds: dict[str, list[torch.Tensor]] = {name: [] for name in sides}
    for encode in sides.values():
        encode(labels[:1])  # first calls cost more
    for turn in range(turns):
        for name, encode in sides.items():
            start = time.perf_counter()
            embeds[name].append(encode(labels[turn::turns]))
            seconds[name] += time.perf_counter() - start
    return seconds, {name: torch.cat(parts) for name, parts in embeds.items()}


def from_disk(model: ActionCLIPModel, processor: ActionCLIPProcessor, labels: Sequence[str]) -> float:
    """Seconds to read a saved bank of all labels again and touch every number of it, the best of ten."""
    bank = model.encode_labels(**processor.prepare_labels(labels), labels=labels)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bank.safetensors"
        bank.save(path)
        times = []
        for _ in range(10):
            start = time.perf_counter()
            LabelBank.load(path)["prompt_embeds"].sum()
            times.append(time.perf_counter() - start)
    return min(times)


def worst_difference(found: torch.Tensor, official: torch.Tensor) -> float:
    if found.shape[1] == 1 != official.shape[1]:  # a classifier that keeps the mean over templates only
        official = normalize(official.mean(dim=1, keepdim=True))
    return (found.float() - official).abs().max().item()


@torch.no_grad()
def measure(num_labels: int, turns: int, batch_size: int) -> dict[str, Any]:
    """All sides in one run; see the module."""
    tokenizer = clip_tokenizer()
    if tokenizer is None:
        raise SystemExit("This needs CLIP's vocabulary: pip install openai-clip")
    labels = load_class_names("ucf101", display=True)[:num_labels]
    model, processor = build(tokenizer)
    half, _ = build(tokenizer)
    sides = {
        "full context, 77 tokens": full_context(model, processor, batch_size),
        "label bank": label_bank(model, processor),
        "label bank, bfloat16": label_bank(half.to(torch.bfloat16), processor),
    }
    if (peer := open_clip_classifier(model, processor)) is not None:
        sides["open_clip build_zero_shot_classifier"] = peer
    seconds, embeds = take_turns(sides, labels, turns)
    official = next(iter(sides))
    rows = [
        dict(
            side=name,
            seconds=seconds[name],
            times_faster=seconds[official] / seconds[name],
            largest_difference=worst_difference(embeds[name], embeds[official]),
        )
        for name in sides
    ]
    again = from_disk(model, processor, labels)
    rows.append(dict(side="label bank, read from disk", seconds=again, times_faster=seconds[official] / again))
    prompts = len(labels) * len(processor.prompt_templates)
    return dict(prompts=prompts, threads=torch.get_num_threads(), torch=torch.__version__, turns=turns, rows=rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=101)
    parser.add_argument("--turns", type=int, default=8, help="into how many parts the labels are split")
    parser.add_argument("--batch-size", type=int, default=128, help="rows per call of the full-context side")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    result = measure(args.labels, args.turns, args.batch_size)
    if args.json:
        Path(args.json).write_text(json.dumps(result))
    print(f"{result['prompts']} prompts, ViT-B/16 text tower, {result['threads']} threads, torch {result['torch']}")
    print(f"{'':<38}{'seconds':>10}{'faster':>11}{'largest difference':>20}")
    for row in result["rows"]:
        difference = f"{row['largest_difference']:.1e}" if "largest_difference" in row else ""
        print(f"{row['side']:<38}{row['seconds']:>10.4f}{row['times_faster']:>10.1f}x{difference:>20}")


if __name__ == "__main__":
    main()
