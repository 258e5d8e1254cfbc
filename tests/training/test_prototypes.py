"""Prototypes over a data set: the class means, also after a kill and over several processes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hf_zsar.clips.datasets import load_video_dataset
from hf_zsar.training.prototypes import fit_prototypes
from tests.tiny_models import tiny_model, tiny_processor


class Killed(Exception):
    """Stands for the end of the process."""


class Fragile:
    """A data set that counts what is read of it and breaks after `limit` rows."""

    def __init__(self, dataset, limit=10**9):
        self.dataset, self.limit, self.read = dataset, limit, []
        self._fingerprint = dataset._fingerprint

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        if len(self.read) == self.limit:
            raise Killed
        self.read.append(index)
        return self.dataset[index]


@pytest.fixture(scope="module")
def dataset(rendered: Path):
    return load_video_dataset(rendered)


def new_model(dataset):
    names = dataset.features["label"].names
    return tiny_model("rest", seen_class_names=names, num_seen_classes=len(names)), tiny_processor("rest"), names


def test_they_are_the_means_of_the_classes(dataset):
    model, processor, names = new_model(dataset)
    fit_prototypes(model, processor, dataset, names, batch_size=5)
    labels = torch.tensor(dataset["label"])
    pixels = processor(videos=[row["video"]["path"] for row in dataset], return_tensors="pt")["pixel_values_videos"]
    with torch.no_grad():
        embeds = model.encode_videos(pixels).video_embeds
    means = torch.stack([embeds[labels == i].mean(0) for i in range(len(names))])
    torch.testing.assert_close(model.seen_prototypes, torch.nn.functional.normalize(means, dim=-1))
    assert model.seen_counts.tolist() == labels.bincount().tolist()


def test_after_a_kill_only_the_rest_is_read(dataset, tmp_path):
    whole, processor, names = new_model(dataset)
    fit_prototypes(whole, processor, dataset, names, batch_size=2)
    model, *_ = new_model(dataset)
    state = tmp_path / "sums"
    options = dict(batch_size=2, state_file=state, save_every=1)
    with pytest.raises(Killed):
        fit_prototypes(model, processor, Fragile(dataset, limit=7), names, **options)
    rest = Fragile(dataset)
    fit_prototypes(model, processor, rest, names, **options)
    assert rest.read == list(range(6, len(dataset)))
    assert torch.equal(model.seen_prototypes, whole.seen_prototypes)
    assert not list(tmp_path.iterdir())


def test_sums_of_other_weights_or_other_videos_are_not_used(dataset, tmp_path):
    model, processor, names = new_model(dataset)
    options = dict(batch_size=2, state_file=tmp_path / "sums", save_every=1)
    with pytest.raises(Killed):
        fit_prototypes(model, processor, Fragile(dataset, limit=7), names, **options)
    with torch.no_grad():
        model.get_parameter("logit_scale").add_(1)
    again = Fragile(dataset, limit=1)
    with pytest.raises(Killed):
        fit_prototypes(model, processor, again, names, **options)
    assert again.read == [0]
    with pytest.raises(Killed):
        fit_prototypes(model, processor, Fragile(dataset, limit=7), names, **options)
    other = dataset.select(list(reversed(range(len(dataset)))))
    again = Fragile(other, limit=1)
    with pytest.raises(Killed):
        fit_prototypes(model, processor, again, names, **options)
    assert again.read == [0]


def test_processes_share_the_videos(dataset):
    """Each of two processes reads every second video; their sums together are those of one process."""
    whole, processor, names = new_model(dataset)
    fit_prototypes(whole, processor, dataset, names, batch_size=2)
    shares, results = [], []
    for reduce in (lambda mine: shares.append(mine) or mine, lambda mine: mine + shares.pop(0)):
        rank = len(results)
        accelerator = SimpleNamespace(process_index=rank, num_processes=2, device="cpu", reduce=reduce)
        model, *_ = new_model(dataset)
        rows = Fragile(dataset)
        fit_prototypes(model, processor, rows, names, batch_size=2, accelerator=accelerator)
        assert rows.read == list(range(rank, len(dataset), 2))
        results.append(model)
    torch.testing.assert_close(results[1].seen_prototypes, whole.seen_prototypes)
    assert torch.equal(results[1].seen_counts, whole.seen_counts)
