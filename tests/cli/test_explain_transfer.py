"""`hf-zsar explain-transfer`."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from hf_zsar.cli import main
from tests.tiny_models import TINY, tiny_folder


SEEN = TINY["rest"].config()["seen_class_names"]


def test_shares_are_sorted_and_limited(tiny_model_folder, capsys):
    arguments = [
        "explain-transfer",
        "--model",
        tiny_model_folder,
        "--label",
        "surfing",
        "--label",
        "cooking",
        "--json",
    ]
    assert main([*arguments, "--top-k", "100"]) == 0
    parts = json.loads(capsys.readouterr().out)
    assert list(parts) == ["surfing", "cooking"]
    for rows in parts.values():
        weights = [row["weight"] for row in rows]
        assert weights == sorted(weights, reverse=True)
        assert sum(weights) == pytest.approx(1, abs=1e-4)
        assert {row["seen_class"] for row in rows} <= set(SEEN)
    assert main([*arguments, "--top-k", "2"]) == 0
    assert [len(rows) for rows in json.loads(capsys.readouterr().out).values()] == [2, 2]


def test_table_and_picture(tiny_model_folder, tmp_path, capsys):
    picture = tmp_path / "shares.png"
    assert (
        main(["explain-transfer", "--model", tiny_model_folder, "--label", "surfing", "--picture", str(picture)]) == 0
    )
    assert "surfing is composed of" in capsys.readouterr().out
    with Image.open(picture) as image:
        assert image.width > 600


def test_a_seen_class_is_itself(tiny_model_folder, capsys):
    assert main(["explain-transfer", "--model", tiny_model_folder, "--label", SEEN[2].title(), "--json"]) == 0
    (rows,) = json.loads(capsys.readouterr().out).values()
    assert rows == [{"seen_class": SEEN[2], "weight": 1.0}]


def test_other_models_compose_nothing(tmp_path, capsys):
    folder = tiny_folder("actionclip", tmp_path)
    assert main(["explain-transfer", "--model", str(folder), "--label", "surfing"]) == 2
    assert "composes no prototypes" in capsys.readouterr().err
