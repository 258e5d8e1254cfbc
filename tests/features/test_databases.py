"""What the page of this folder shows: its commands, its Python, and vector databases that load the Parquet."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import hf_zsar
from hf_zsar.cli import main
from tests.tiny_models import tiny_folder
from tests.videos import write_video


PAGE = (Path(hf_zsar.__file__).parent / "features" / "README.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```(python \w+|python|bash)\n(.*?)```", PAGE, flags=re.DOTALL))


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "clips").mkdir()
    for number, name in enumerate(("a", "b", "c", "d")):
        write_video(folder / "clips" / f"{name}.mp4", 24, first_number=1000 * number)
    write_video(folder / "ride.mp4", 24)
    return folder


@pytest.fixture
def namespace(desk, tmp_path_factory, monkeypatch) -> dict[str, Any]:
    """The names that the page has made before it comes to databases."""
    import datasets

    monkeypatch.chdir(desk)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", desk / "cache")
    # Stands in for the embedded default, which takes seconds: of the same method.
    model = str(tiny_folder("rest", desk / "model")) if not (desk / "model").exists() else str(desk / "model")
    monkeypatch.setattr(hf_zsar, "pipeline", lambda *args, **kwargs: load(model))
    if not (desk / "store").exists():
        for line in BLOCKS["bash"].splitlines():
            words = shlex.split(line, comments=True)
            assert words[0] == "hf-zsar"
            assert main([*words[1:], *(["--model", model] if words[1] not in ("dedup", "sample") else [])]) == 0, line
    names: dict[str, Any] = {}
    exec(BLOCKS["python"], names)
    return names


def load(folder: str) -> Any:
    from hf_zsar.hub.loading import pipeline

    return pipeline(folder)


def test_the_python_of_the_page(namespace, desk):
    assert len(namespace["best"]) == 2 and len(namespace["best"][0]) == 3
    assert (desk / "scores.parquet").is_file() and (desk / "found.html").is_file()
    assert namespace["rows"]["id"][:] == ["ride.mp4"] * 2


@pytest.mark.parametrize(("package", "block"), [("lancedb", "python lancedb"), ("qdrant_client", "python qdrant")])
def test_a_database_finds_what_the_search_finds(namespace, package, block):
    pytest.importorskip(package, reason="this vector database is not installed")
    exec(BLOCKS[block], namespace)
    names = [row["id"] if isinstance(row, dict) else row.payload["id"] for row in namespace["found"]]
    assert names == [each.row.id for each in namespace["best"][0]]


def test_sizes_of_the_page():
    """Of a clip with ViT-B/16: 512 numbers of two bytes for each vector, 196 patches in a frame."""
    vector = 512 * 2
    for count in (1, 2, 9, 9 + 8 * 196):
        assert f"{count * vector:,}" in PAGE
