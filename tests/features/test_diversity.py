"""Near-duplicates and a diverse sample, against what a loop over all pairs says."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from torch import nn

from hf_zsar.cli import main
from hf_zsar.features import diversity
from hf_zsar.features.asking import StoreReader
from hf_zsar.features.diversity import diverse_sample, near_duplicates
from hf_zsar.features.store import FeatureStore, Header, VideoFile
from hf_zsar.modeling.modeling_zsar import VideoFeatures


@pytest.fixture
def store(tmp_path, monkeypatch):
    """30 rows in 3 dimensions; v0 and v20, v1 and v11 and v21 are alike; v5 has two stretches that are equal."""
    monkeypatch.setattr(diversity, "BLOCK", 8)
    embeds = nn.functional.normalize(torch.randn(30, 3, generator=torch.Generator().manual_seed(3)), dim=-1)
    embeds[20], embeds[11], embeds[21] = embeds[0], embeds[1], embeds[1]
    videos = [VideoFile(f"v{n}", f"{n}.avi") for n in range(30)]
    rows = [video.row for video in videos]
    rows[5], rows[6] = videos[5].row.stretch(0, 1), videos[5].row.stretch(1, 2)
    embeds[6] = embeds[5]
    filled = FeatureStore.claim(tmp_path / "s", Header({"identity": "m"}, {}))
    for start in (0, 13):
        part = slice(start, 13 if start == 0 else 30)
        filled.write(rows[part], VideoFeatures(video_embeds=embeds[part]), videos[part])
    return StoreReader(tmp_path / "s"), embeds


@pytest.mark.parametrize("threshold", [0.99999, 0.9, 0.5])
def test_groups_are_the_connected_rows(store, threshold):
    reader, embeds = store
    near = embeds @ embeds.T >= threshold - 1e-6
    near[5, 6] = near[6, 5] = False
    reached = near.float() + torch.eye(30)
    for _ in range(5):
        reached = ((reached @ reached) > 0).float()
    expected = {tuple(row.nonzero().flatten().tolist()) for row in reached}
    names = [row.id for row in reader.rows(range(30))]
    groups = near_duplicates(reader, threshold)
    assert [[row.id for row in group] for group in groups] == [
        [names[n] for n in group] for group in sorted(expected) if len(group) > 1
    ]
    if threshold == 0.99999:
        assert [[row.id for row in group] for group in groups] == [["v0", "v20"], ["v1", "v11", "v21"]]


def test_a_sample_is_the_greedy_one_and_covers(store):
    reader, embeds = store
    names = [row.id for row in reader.rows(range(30))]
    sample = [names.index(row.id) for row in diverse_sample(reader, 6)]
    assert sample[0] == int((embeds @ embeds.mean(0)).argmax())
    for count in range(1, 6):
        covered = (embeds @ embeds[sample[:count]].T).amax(1)
        assert covered[sample[count]] == pytest.approx(covered.min().item(), abs=1e-6)
    radius = (embeds @ embeds[sample].T).amax(1).min().arccos()
    best = max((embeds @ embeds[list(some)].T).amax(1).min() for some in itertools.combinations(range(30), 2))
    two = (embeds @ embeds[sample[:2]].T).amax(1).min()
    assert two.arccos() <= 2 * best.arccos() + 1e-4 and radius < two.arccos()
    assert len({row.id for row in diverse_sample(reader, 30)}) == 30


def test_wrong_numbers_are_refused(store):
    for count in (0, 31):
        with pytest.raises(ValueError, match=f"sample of {count} of 30"):
            diverse_sample(store[0], count)
    for threshold in (-1.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="threshold"):
            near_duplicates(store[0], threshold)


def test_the_commands(store, capsys):
    folder = str(store[0].folder)
    assert main(["dedup", folder, "--threshold", "0.99999", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [["v0", "v20"], ["v1", "v11", "v21"]]
    assert main(["dedup", folder, "--threshold", "0.99999"]) == 0
    out, err = capsys.readouterr()
    assert out == "v0\n  v20\nv1\n  v11\n  v21\n" and "3 of 30 rows repeat another" in err
    assert main(["sample", folder, "--k", "3"]) == 0
    text = capsys.readouterr().out.split()
    assert main(["sample", folder, "--k", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == text and len(set(text)) == 3
    assert main(["sample", folder, "--k", "31"]) == 2 and main(["dedup", folder + "x"]) == 2
