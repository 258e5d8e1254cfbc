"""Every registered method through an evaluation: the numbers are those of its own `forward`."""

from __future__ import annotations

import json

import pytest
import torch

from hf_zsar.evaluation import evaluate_zero_shot
from hf_zsar.evaluation.metrics.functions import true_ranks
from hf_zsar.evaluation.splits import half_classes
from tests.evaluation.toy import write_clip
from tests.tiny_models import LABELS, TINY, tiny_model, tiny_processor


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    clips = [{"file": f"{i}.avi", "label": LABELS[i % len(LABELS)]} for i in range(10)]
    for i, clip in enumerate(clips):
        write_clip(folder / clip["file"], 20 * i + 7, frames=8)
    path = folder / "manifest.json"
    path.write_text(json.dumps({"labels": list(LABELS), "clips": clips}))
    return path


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("method", sorted(TINY))
def test_ranks_are_those_of_forward(method, views, manifest, tmp_path):
    model, processor = tiny_model(method), tiny_processor(method)
    options = {"num_views": views}
    arguments = dict(manifest=manifest, video_options=options, store=tmp_path, batch_size=4)
    full = evaluate_zero_shot(model, processor, "full", **arguments)
    half = evaluate_zero_shot(model, processor, "half_e2e", splits=["seed0"], **arguments)
    files = [str(manifest.parent / clip) for clip in full["clips"]["ids"]]
    targets = [labels[0] for labels in full["clips"]["labels"]]
    kept = half_classes(sorted(LABELS), 0)
    candidates = [label for label in LABELS if label in kept]
    inside = [i for i, target in enumerate(targets) if LABELS[target] in kept]
    with torch.inference_mode():
        videos = processor(videos=files, **options)
        everything = model(**videos, **processor.prepare_labels(list(LABELS))).logits_per_video
        restricted = model(**videos, **processor.prepare_labels(candidates)).logits_per_video[inside]
    assert full["results"][0]["per_clip"]["rank"] == true_ranks(everything.numpy(), targets).tolist()
    positions = [candidates.index(LABELS[targets[i]]) for i in inside]
    assert half["results"][0]["per_clip"]["rank"] == true_ranks(restricted.numpy(), positions).tolist()
