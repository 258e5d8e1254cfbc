"""`hf-zsar fit-prototypes`."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModel

from hf_zsar.cli import main
from tests.tiny_models import tiny_folder
from tests.videos import write_video


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for number, name in enumerate(("cooking", "surfing", "walking a dog")):
        (folder / name).mkdir()
        for clip in range(2):
            write_video(folder / name / f"{clip}.mp4", 8, first_number=100 * number + 10 * clip)
    return folder


def test_prototypes_are_computed_and_saved(data, tmp_path, capsys):
    folder = tiny_folder("rest", tmp_path / "model", num_seen_classes=0, seen_class_names=())
    assert main(["fit-prototypes", str(folder), str(tmp_path / "out"), "--data", str(data), "--batch-size", "4"]) == 0
    assert "3 prototypes" in capsys.readouterr().out
    model = AutoModel.from_pretrained(tmp_path / "out")
    assert model.config.seen_class_names == ["cooking", "surfing", "walking a dog"]
    assert model.seen_counts.tolist() == [2, 2, 2]
    torch.testing.assert_close(model.seen_prototypes.norm(dim=1), torch.ones(3))
    assert not list((tmp_path / "out").glob(".prototypes-state*"))


def test_transfer_is_chosen_over_the_seen_classes(tmp_path, capsys):
    names = [f"class {i}" for i in range(24)]
    folder = tiny_folder("rest", tmp_path / "model", seen_class_names=names, num_seen_classes=len(names))
    before = AutoModel.from_pretrained(folder)
    assert main(["fit-prototypes", str(folder), str(tmp_path / "out"), "--select-transfer"]) == 0
    assert "mean reciprocal rank" in capsys.readouterr().out
    after = AutoModel.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(after.seen_prototypes, before.seen_prototypes)
    from hf_zsar.training.transfer_selection import select_transfer

    best = select_transfer(before.seen_prototypes, before.seen_text_embeds)[0]
    assert (after.config.transfer_temperature, after.config.transfer_top_k) == (best.temperature, best.top_k)


def test_a_class_head_of_other_classes_is_said_before_any_video_is_read(data, tmp_path, capsys, monkeypatch):
    """Of another size, or of another order where its rows become the prototypes; no folder is left behind."""

    def refuse(*args, **kwargs):
        raise AssertionError("decoded")

    monkeypatch.setattr("hf_zsar.training.prototypes.VideoTextCollator", refuse)
    folder = tiny_folder("rest", tmp_path / "six")
    assert main(["fit-prototypes", str(folder), str(tmp_path / "out"), "--data", str(data)]) == 2
    assert "class head of 6 classes, the data has 3" in capsys.readouterr().err
    names = ["surfing", "cooking", "walking a dog"]
    folder = tiny_folder("rest", tmp_path / "three", seen_class_names=names, prototype_source="classifier")
    assert main(["fit-prototypes", str(folder), str(tmp_path / "out"), "--data", str(data)]) == 2
    assert "made for ['surfing', 'cooking', 'walking a dog'], not ['cooking'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_done_is_said(tmp_path, capsys):
    folder = tiny_folder("actionclip", tmp_path / "model")
    assert main(["fit-prototypes", str(folder), str(tmp_path / "out")]) == 2
    assert "nothing to do" in capsys.readouterr().err
    assert main(["fit-prototypes", str(folder), str(tmp_path / "out"), "--select-transfer"]) == 2
    assert "only ResT models" in capsys.readouterr().err
