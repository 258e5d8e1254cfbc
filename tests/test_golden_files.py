"""The golden numbers of the repository: complete, small, without pickles, and the same as where they came from."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from tests.conftest import GOLDEN_DIR, REPO_ROOT
from tests.golden_files import COMMITTED, pack, unpack


CASES = ("actionclip_Transf", "bike_tiny", "frame_sampling", "stdd_scales12", "tokenizer_ids")


def flat(value, name=""):
    if isinstance(value, dict):
        return {key: part for k, v in value.items() for key, part in flat(v, f"{name}/{k}").items()}
    if isinstance(value, (list, tuple)):
        return {key: part for i, v in enumerate(value) for key, part in flat(v, f"{name}/{i}").items()}
    return {name: value}


def assert_same_checkpoint(one, other):
    one, other = (flat(torch.load(path, weights_only=True)) for path in (one, other))
    assert list(one) == list(other)
    for name, value in one.items():
        same = torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        assert same, name


def test_every_method_with_official_code_has_a_case_and_all_are_small():
    assert sorted(path.name for path in COMMITTED.iterdir() if path.is_dir()) == sorted(CASES)
    files = [path for path in COMMITTED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 8e6
    assert {path.suffix for path in files} == {".json", ".safetensors", ".md"}


def test_a_checkpoint_survives_being_taken_apart(tmp_path):
    tensor = torch.arange(6.0).reshape(2, 3)
    content = {"epoch": 3, "model": {"a.weight": tensor, "b": [tensor.half(), None]}, "words": "x: [1]\n", "rate": 0.1}
    (tmp_path / "case").mkdir()
    torch.save(content, tmp_path / "case/file.pt")
    torch.save(tensor, tmp_path / "case/bare.pt")
    pack(tmp_path / "case", tmp_path / "packed")
    unpack(tmp_path / "packed", tmp_path / "again")
    assert_same_checkpoint(tmp_path / "case/file.pt", tmp_path / "again/file.pt")
    assert torch.equal(torch.load(tmp_path / "again/bare.pt", weights_only=True), tensor)


@pytest.mark.parametrize("case", CASES)
def test_committed_cases_are_those_of_the_golden_folder(case, tmp_path):
    if not (GOLDEN_DIR / "MANIFEST.json").is_file() or not (GOLDEN_DIR / case).is_dir():
        pytest.skip(f"no {case} outside the repository to compare with (HF_ZSAR_GOLDEN)")
    unpack(COMMITTED / case, tmp_path)
    wanted = sorted(path.name for path in (GOLDEN_DIR / case).iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == wanted
    for name in wanted:
        if name.endswith(".pt"):
            assert_same_checkpoint(tmp_path / name, GOLDEN_DIR / case / name)
        else:
            assert (tmp_path / name).read_bytes() == (GOLDEN_DIR / case / name).read_bytes()


def test_a_clone_by_itself_finds_them(tmp_path):
    """Where there is no folder outside, the tests run on the committed numbers."""
    code = (
        "import tests.conftest as c; c.outside_folder = lambda *_: c.Path('/nowhere'); folder = c.golden_folder()\n"
        "import json; print(json.dumps(sorted(p.parent.name for p in folder.glob('*/*.pt'))))"
    )
    env = {name: value for name, value in os.environ.items() if name != "HF_ZSAR_GOLDEN"} | {"TMPDIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO_ROOT, env=env)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == ["actionclip_Transf", "bike_tiny", "stdd_scales12", "stdd_scales12"]
    assert list(tmp_path.iterdir()) == [], "unpacked numbers are removed at the end"
