"""The overlap filter of the rigorous training set."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor

from hf_zsar.cli import main
from hf_zsar.clips.overlap import filter_overlap, mean_word_embedder, read_word_vectors
from hf_zsar.data import load_class_names


VECTORS = {
    "riding": np.array([1.0, 0, 0]),
    "bike": np.array([0, 2.0, 0]),
    "bicycle": np.array([0.1, 1.9, 0]),
    "cooking": np.array([0, 0, 5.0]),
}


def test_same_words_find_the_known_twins():
    train = load_class_names("kinetics700")
    for name, twins in (("ucf101", 21), ("hmdb51", 1)):
        assert len(filter_overlap(train, load_class_names(name)).dropped) == twins


def test_distance_decides_and_the_threshold_itself_stays():
    embed = mean_word_embedder(VECTORS)
    overlap = filter_overlap(["RidingBicycle", "cooking"], ["riding_bike"], embed)
    assert overlap.kept == ("cooking",)
    closest, distance = overlap.dropped["RidingBicycle"]
    assert closest == "riding_bike"
    assert 0 < distance < 0.05
    exact = filter_overlap(["RidingBicycle"], ["riding_bike"], embed, threshold=distance - 1e-6)
    assert exact.dropped == {}
    orthogonal = filter_overlap(["cooking"], ["bike"], embed, threshold=1.0)
    assert orthogonal.kept == ("cooking",)


def test_unknown_words_are_logged_and_far_from_all(caplog):
    overlap = filter_overlap(["juggling"], ["riding bike"], mean_word_embedder(VECTORS), threshold=0.9)
    assert overlap.kept == ("juggling",)
    assert "juggling" in caplog.text


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        filter_overlap([], ["a"])
    with pytest.raises(ValueError, match="shape"):
        filter_overlap(["a", "b"], ["c"], lambda names: np.zeros((1, 3)))


@pytest.mark.parametrize("header", ["", "4 3\n", "\ufeff", "\ufeff4 3\n"])
def test_word_vectors_file(tmp_path, header):
    path = tmp_path / "vectors.txt"
    path.write_text(header + "".join(f"{w} {' '.join(map(str, v))}\n" for w, v in reversed(VECTORS.items())))
    vectors = read_word_vectors(path, {"bike", "cooking"})
    assert {word: vector.tolist() for word, vector in vectors.items()} == {"bike": [0, 2, 0], "cooking": [0, 0, 5]}
    with pytest.raises(ValueError, match="no vector"):
        read_word_vectors(path, {"nothing"})
    path.write_text("bike 1 2 3\ncooking 1 two 3\n")
    with pytest.raises(ValueError, match="line 2"):
        read_word_vectors(path)
    path.write_text("bike 1 2 3\ncooking 1 2\n")
    with pytest.raises(ValueError, match="line 2"):
        read_word_vectors(path)


def test_command(tmp_path, capsys):
    (tmp_path / "train.txt").write_text("RidingBicycle\ncooking\n")
    (tmp_path / "test.txt").write_text("riding_bike\n")
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("".join(f"{w} {' '.join(map(str, v))}\n" for w, v in VECTORS.items()))
    arguments = ["filter-overlap", "--train", str(tmp_path / "train.txt"), "--test", str(tmp_path / "test.txt")]
    out = tmp_path / "kept.json"
    assert main([*arguments, "--word-vectors", str(vectors), "--out", str(out)]) == 0
    assert "1 of 2 classes kept" in capsys.readouterr().out
    assert json.loads(out.read_text())["kept"] == ["cooking"]
    assert main(arguments) == 0
    assert "2 of 2 classes kept (same words)" in capsys.readouterr().out
    for train, test in (("nosuchset", "ucf101"), ("ucf101", "nosuchset")):
        assert main(["filter-overlap", "--train", train, "--test", test]) == 2
        assert "'nosuchset' is neither a file nor a data set; there are: " in capsys.readouterr().err


def test_command_with_a_model_as_embedder(tmp_path, capsys):
    from tests.tiny_models import tiny_folder

    folder = tiny_folder("rest", tmp_path / "model")
    (tmp_path / "a.txt").write_text("riding a bike\ncooking\n")
    (tmp_path / "b.txt").write_text("Riding_a_Bike\n")
    arguments = ["--train", str(tmp_path / "a.txt"), "--test", str(tmp_path / "b.txt"), "--threshold", "1e-6"]
    assert main(["filter-overlap", *arguments, "--model", str(folder)]) == 0
    assert "1 of 2 classes kept" in capsys.readouterr().out
    # Any two names are far apart as words, and near for this model: only the model can have dropped "cooking".
    assert main(["filter-overlap", *arguments[:-1], "0.9", "--model", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "0 of 2 classes kept (cosine distance below 0.9)" in out
    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    one, other = model.encode_labels(**processor.prepare_labels(["cooking", "riding a bike"]))["text_embeds"]
    distance = 1 - torch.cosine_similarity(one, other, dim=0).item()
    (line,) = [line for line in out.splitlines() if "cooking" in line]
    assert float(line.split()[1]) == pytest.approx(distance, abs=1e-3)


def test_the_default_threshold_is_that_of_the_rule(tmp_path, capsys):
    """At 0.05: a class at 0.03 goes, a class at 0.1 stays; through the function and through the command."""
    vectors = {"far": [1.0, (1 / 0.9**2 - 1) ** 0.5], "near": [1.0, (1 / 0.97**2 - 1) ** 0.5], "bike": [1.0, 0.0]}
    embed = mean_word_embedder({word: np.array(vector) for word, vector in vectors.items()})
    assert filter_overlap(["far", "near"], ["bike"], embed).kept == ("far",)
    (tmp_path / "train.txt").write_text("far\nnear\n")
    (tmp_path / "test.txt").write_text("bike\n")
    (tmp_path / "vectors.txt").write_text("".join(f"{w} {x} {y}\n" for w, (x, y) in vectors.items()))
    command = ["filter-overlap", "--train", str(tmp_path / "train.txt"), "--test", str(tmp_path / "test.txt")]
    assert main([*command, "--word-vectors", str(tmp_path / "vectors.txt")]) == 0
    assert "1 of 2 classes kept (cosine distance below 0.05)" in capsys.readouterr().out


def test_a_threshold_without_a_measure_is_refused(capsys):
    command = ["filter-overlap", "--train", "ucf101", "--test", "hmdb51", "--threshold"]
    assert main([*command, "0.1"]) == 2
    assert "--word-vectors or --model" in capsys.readouterr().err
    for value in ("0", "-1", "nan", "3", "near"):
        with pytest.raises(SystemExit):
            main([*command, value])
