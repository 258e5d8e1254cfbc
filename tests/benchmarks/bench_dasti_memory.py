"""DA-STI at ViT-B/16 size against 400 classes of 8 attributes: extra memory of a clip, calls of the text tower.

Run `python -m tests.benchmarks.bench_dasti_memory`. Weights are random; the attributes are made up of the class names.
The extra memory is the highest resident set while one clip of 8 frames is encoded and scored, above that just before;
the label bank is there by then, as it is for every clip but the first.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Sequence

import torch
from transformers import CLIPConfig, CLIPModel

from hf_zsar import DASTIModel, DASTIProcessor, ZSARVideoProcessor
from hf_zsar.data import load_class_names
from tests.benchmarks.measuring import report
from tests.clip_vocabulary import clip_tokenizer
from tests.tiny_models import tiny_clip_tokenizer


PHRASES = (
    "a person who is {}",
    "hands busy with {}",
    "the place where people go {}",
    "equipment made for {}",
    "clothes worn while {}",
    "fast movement of arms during {}",
    "someone watching others {}",
    "the end of {}",
)


def attributes_of(labels: Sequence[str]) -> dict[str, list[str]]:
    return {label: [phrase.format(label) for phrase in PHRASES] for label in labels}


def build() -> tuple[DASTIModel, DASTIProcessor]:
    tokenizer = clip_tokenizer() or tiny_clip_tokenizer()
    text = dict(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id)
    torch.manual_seed(0)
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config=dict(patch_size=16)))
    return DASTIModel.from_encoder(clip, num_frames=8).eval(), DASTIProcessor(ZSARVideoProcessor(), tokenizer)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=400)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    labels = load_class_names("kinetics400", display=True)[: args.labels]
    model, processor = build()
    calls: list[int] = []
    model.backbone.encode_text = counting(model.backbone.encode_text, calls)
    bank = model.encode_labels(**processor.prepare_labels(labels, descriptions=attributes_of(labels)), labels=labels)
    pixels = torch.randn(1, 8, 3, 224, 224)
    model.encode_videos(pixels[:, :1])  # allocations of the first call are not the clip's
    reset_peak()
    before = resident("VmRSS")
    for _ in range(2):
        model.score(model.encode_videos(pixels), bank)
    extra = resident("VmHWM") - before
    words = bank["word_groups"].shape[1]
    print(f"{len(labels)} labels of {len(PHRASES)} attributes, {words} words, {sum(calls)} prompts encoded once")
    print(f"  extra peak memory of a clip {extra / 2**20:.0f} MiB")
    rows = [
        {"name": "1 GiB / extra peak memory of a clip", "ratio": 2**30 / max(extra, 1)},
        {"name": "calls of the text tower, label set and two clips", "ratio": float(len(calls))},
    ]
    report("DA-STI: memory of scoring a clip", rows, args.json)


def counting(function, calls: list[int]):
    """`function`, noting the number of rows of every call."""

    def counted(input_ids, *args, **kwargs):
        calls.append(len(input_ids))
        return function(input_ids, *args, **kwargs)

    return counted


def reset_peak() -> None:
    """Let the kernel count the peak from here on (Linux)."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        print("the peak cannot be reset here: it includes that of encoding the labels")


def resident(field: str) -> int:
    """A line of this process's memory account in bytes; the highest resident set where there is no such account."""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith(f"{field}:"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
