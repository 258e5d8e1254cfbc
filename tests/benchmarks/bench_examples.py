"""What examples and background labels are worth on real clips, with the embedded default model.

Run `HF_ZSAR_CLIPS=folder python -m tests.benchmarks.bench_examples`. Each clip is cut into halves: the first are the
examples, the second the test. That is an easy setting, said plainly: both halves show the same people and place.
Harder, but of few clips: where a class has clips of two
sources, each of them is the test once, and the first halves of all others are the examples.
For "none of these" the labels are split at random into known and unknown ones, many times over; AUROC is the share of
pairs of a known and an unknown clip that the score orders rightly.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

import hf_zsar
from hf_zsar.data import load_class_names
from hf_zsar.features.encoding import encode_batch
from hf_zsar.modeling.calibration import far_from
from hf_zsar.modeling.label_bank import LabelBank
from hf_zsar.modeling.outputs import VideoFeatures
from tests.benchmarks.measuring import report


METHODS = ("ridge", "cache", "prototypes", "linear")


def halves(pipe: hf_zsar.ZeroShotVideoClassificationPipeline, path: Path) -> VideoFeatures:
    """Features of the first and the second half of a clip: a batch of two."""
    processor = pipe.processor.video_processor
    duration = processor.sample(str(path)).info.duration
    windows = [pixels for _, _, pixels in processor.iter_windows(str(path), duration / 2)]
    return encode_batch(pipe.model, [pixels[None] for pixels in windows[:2]])


def auroc(known: torch.Tensor, unknown: torch.Tensor) -> float:
    """Share of pairs in which the unknown clip has the higher score; ties count half."""
    difference = unknown[:, None] - known[None]
    return ((difference > 0).double() + 0.5 * (difference == 0).double()).mean().item()


def unknown_scores(
    logits: torch.Tensor, cosines: torch.Tensor, labels: torch.Tensor, background: torch.Tensor
) -> dict:
    """Scores of "none of these" for every clip: ours, and the baselines (MCM: arXiv 2211.13445)."""
    joint = torch.cat([logits[:, labels], logits[:, background]], dim=1).softmax(dim=1)
    return {
        "background labels": joint[:, len(labels) :].sum(dim=1),
        "maximum softmax": -logits[:, labels].softmax(dim=1).amax(dim=1),
        "maximum cosine": -cosines[:, labels].amax(dim=1),
        "MCM, temperature 1": -cosines[:, labels].softmax(dim=1).amax(dim=1),
    }


def summary(values: list[float]) -> dict[str, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return {"ratio": float(np.mean(values)), "low": float(low), "high": float(high)}


@torch.no_grad()
def measure(folder: Path, repeats: int) -> list[Mapping[str, object]]:
    pipe = hf_zsar.pipeline()
    model = pipe.model
    clips = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["clips"]
    labels = sorted({clip["label"] for clip in clips})
    others = [name for name in load_class_names("kinetics400") if name not in labels]
    features = [halves(pipe, folder / clip["file"]) for clip in clips]
    first = VideoFeatures.cat([each.select(0) for each in features])
    second = VideoFeatures.cat([each.select(1) for each in features])
    targets = torch.tensor([labels.index(clip["label"]) for clip in clips])
    whole = model.build_label_bank(pipe.processor, [*labels, *others])
    bank = whole.select(labels)
    before, shown = model.score(first, bank), [clip["label"] for clip in clips]
    rows = [dict(name="top-1 of second halves, %: zero-shot", ratio=_percent(model.score(second, bank), targets))]
    for method in METHODS:
        taught = bank.with_examples(first, shown, logits=before, method=method)
        name = f"  + first halves, {method}, strength {taught.examples.chosen.strength:g}"
        rows.append(dict(name=name, ratio=_percent(model.score(second, taught), targets)))
    sources = [re.sub(r"_c\d+\..*", "", clip["file"]) for clip in clips]  # clips of one recording differ in that alone
    rows += leave_one_source_out(model, bank, first, second, targets, sources)
    logits = model.score(second, whole)
    cosines = logits / model.config.inference_logit_scale  # with the prototypes that labels are composed of
    generator = torch.Generator().manual_seed(0)
    found: dict[str, list[float]] = {}
    for _ in range(repeats):
        order = torch.randperm(len(labels), generator=generator)
        known = order[: len(labels) // 2]
        far = far_from(whole["text_embeds"][known], whole["text_embeds"][len(labels) :])
        scores = unknown_scores(logits, cosines, known, far.nonzero().flatten() + len(labels))
        is_known = torch.isin(targets, known)
        for name, values in scores.items():
            found.setdefault(name, []).append(auroc(values[is_known], values[~is_known]))
    rows += [dict(name=f"AUROC of unknown: {name}", **summary(values)) for name, values in found.items()]
    return [{"low": row["ratio"], "high": row["ratio"], **row} for row in rows]


def leave_one_source_out(
    model: PreTrainedModel,
    bank: LabelBank,
    first: VideoFeatures,
    second: VideoFeatures,
    targets: torch.Tensor,
    sources: list[str],
) -> list[dict[str, object]]:
    """Mean rank of the right label of clips whose class has another clip, of another source, among the examples."""
    of_label = {int(target): {sources[clip] for clip in (targets == target).nonzero()} for target in targets}
    tested = [clip for clip, target in enumerate(targets.tolist()) if len(of_label[target]) > 1]

    def mean_rank(method: str | None) -> float:
        ranks = []
        for clip in tested:
            others = [other for other in range(len(targets)) if sources[other] != sources[clip]]
            examples, shown = first.select(others), [bank.labels[int(targets[other])] for other in others]
            logits = model.score(examples, bank)
            taught = bank.with_examples(examples, shown, logits=logits, method=method) if method else bank
            scores = model.score(second.select([clip]), taught)[0]
            ranks.append(1 + int((scores > scores[targets[clip]]).sum()))
        print(f"  ranks of {len(tested)} clips, {method or 'zero-shot'}: {ranks}")
        return sum(ranks) / len(ranks)

    names = {None: "zero-shot", **{method: f"+ the others, {method}" for method in METHODS}}
    return [dict(name=f"mean rank, other source: {name}", ratio=mean_rank(key)) for key, name in names.items()]


def _percent(scores: torch.Tensor, targets: torch.Tensor) -> float:
    return 100 * (scores.argmax(dim=1) == targets).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, default=os.environ.get("HF_ZSAR_CLIPS", "../shared/data/clips"))
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    report("real clips, embedded default (values, not ratios)", measure(Path(args.clips), args.repeats), args.json)


if __name__ == "__main__":
    main()
