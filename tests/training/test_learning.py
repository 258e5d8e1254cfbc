"""Methods learn: rendered clips whose colour and motion spell their label (slow)."""

from __future__ import annotations

import pytest
import torch

from hf_zsar.training.collator import VideoTextCollator
from tests.rendered import LABELS, rendered_clip
from tests.tiny_models import tiny_model, tiny_processor


# A pair of each colour and each motion; every colour and every motion is seen in three other pairs.
HELD_OUT = ("red falling", "green leaving", "blue rising", "white coming")
SEEN = [label for label in LABELS if label not in HELD_OUT]


def videos(labels, seeds):
    clips = [torch.from_numpy(rendered_clip(label, seed)) for label, seed in zip(labels, seeds, strict=True)]
    return (torch.stack(clips).permute(0, 1, 4, 2, 3).float() - 90) / 60


def learn(method, seed, steps, batch_size=24, rate=1e-3):
    """A tiny model from random weights; accuracy among the seen, and among the held-out pairs."""
    torch.manual_seed(seed)
    model, processor = tiny_model(method, seed=seed).train(), tiny_processor(method, prompt_templates=["{}"])
    mode = VideoTextCollator.for_model(model, processor, SEEN).text
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        classes = torch.randint(len(SEEN), (batch_size,), generator=generator)
        candidates = classes if mode == "per_sample" else torch.arange(len(SEEN))
        text = processor.prepare_labels([SEEN[i] for i in candidates])
        pixels = videos([SEEN[i] for i in classes], range(step * batch_size, (step + 1) * batch_size))
        loss = model(pixels, **text, labels=classes, label_ids=candidates).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()
    return accuracy(model, processor, SEEN), accuracy(model, processor, HELD_OUT)


@torch.no_grad()
def accuracy(model, processor, labels, clips=8):
    bank = model.encode_labels(**processor.prepare_labels(list(labels)), labels=list(labels))
    pixels = videos(
        [label for label in labels for _ in range(clips)], list(range(20_000, 20_000 + clips)) * len(labels)
    )
    right = torch.arange(len(labels)).repeat_interleave(clips)
    return (model.score(model.encode_videos(pixels), bank).argmax(1) == right).float().mean().item()


@pytest.mark.slow
def test_actionclip_learns_and_names_pairs_it_has_never_seen():
    results = [learn("actionclip", seed, steps=800) for seed in (0, 1, 2)]
    assert min(seen for seen, _ in results) > 0.9, results
    assert min(unseen for _, unseen in results) > 0.4, results  # chance is 0.25
