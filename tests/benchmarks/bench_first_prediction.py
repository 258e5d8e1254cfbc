"""Import, load and first prediction from a folder, each time in a fresh process: ours against transformers' X-CLIP.

Run `python -m tests.benchmarks.bench_first_prediction`. Both models are ViT-B/16 with random weights, saved in
safetensors; both score the same 8 decoded frames against 4 labels.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import CLIPImageProcessor, XCLIPProcessor

from hf_zsar import ActionCLIPProcessor, ZSARVideoProcessor
from tests.benchmarks.bench_zero_shot import build_ours, build_xclip
from tests.benchmarks.measuring import ratio, report, take_turns
from tests.clip_vocabulary import clip_tokenizer
from tests.tiny_models import tiny_clip_tokenizer


OURS = """
import sys, numpy as np
import hf_zsar
from transformers import pipeline
pipe = pipeline("zero-shot-video-classification", model=sys.argv[1], device="cpu")
print(pipe(np.zeros((8, 240, 320, 3), dtype=np.uint8), candidate_labels=["a", "b", "c", "d"])[0])
"""
PEER = """
import sys, numpy as np, torch
from transformers import AutoModel, AutoProcessor
model, processor = AutoModel.from_pretrained(sys.argv[1]), AutoProcessor.from_pretrained(sys.argv[1])
frames = list(np.zeros((8, 240, 320, 3), dtype=np.uint8))
inputs = processor(text=["a", "b", "c", "d"], videos=frames, return_tensors="pt", padding=True)
if inputs["pixel_values"].ndim == 4:  # some versions of the processor give one video without the batch axis
    inputs["pixel_values"] = inputs["pixel_values"][None]
with torch.no_grad():
    print(model(**inputs).logits_per_video.softmax(dim=1))
"""

# What every program that predicts with transformers imports first.
IMPORTS = "from transformers import AutoModel, AutoProcessor, CLIPModel; CLIPModel"


def save_models(folder: Path) -> tuple[Path, Path]:
    """Both models with their processors."""
    tokenizer = clip_tokenizer() or tiny_clip_tokenizer()
    ours, peer = folder / "ours", folder / "peer"
    build_ours().save_pretrained(ours)
    ActionCLIPProcessor(ZSARVideoProcessor(), tokenizer).save_pretrained(ours)
    build_xclip().save_pretrained(peer)
    XCLIPProcessor(CLIPImageProcessor(), tokenizer).save_pretrained(peer)
    return ours, peer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        ours, peer = save_models(Path(folder))

        def call(code: str, *arguments: Path) -> None:
            subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, capture_output=True)

        sides = {
            "peer": lambda: call(PEER, peer),
            "ours": lambda: call(OURS, ours),
            "imports": lambda: call(IMPORTS),
        }
        times = take_turns(sides, args.rounds)
    for name, seconds in times.items():
        print(f"  {name:<10} {statistics.median(seconds):6.2f} s")
    rows = [
        {"name": "X-CLIP / ours, process start to first scores", **ratio(times["peer"], times["ours"])},
        {"name": "X-CLIP / torch and transformers imported, no more", **ratio(times["peer"], times["imports"])},
    ]
    report("import, load and first prediction", rows, args.json)


if __name__ == "__main__":
    main()
