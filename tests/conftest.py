"""Fixtures shared by all tests: where outside data lies, and how many threads a test may use.

Outside data (real clips, golden numbers of the official implementations) is not part of the repository. Tests that
need it take these fixtures and skip, with the reason, where it is absent.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any


# Before anything imports torch: `make test` runs one process per core, so more threads only fight for the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import pytest


# The same examples on every run and machine; to search further: --hypothesis-profile=default
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


REPO_ROOT = Path(__file__).resolve().parent.parent


def outside_folder(variable: str, default: str) -> Path:
    """The folder named by an environment variable, else `default` relative to the repository root."""
    return Path(os.environ.get(variable) or REPO_ROOT / default).resolve()


CLIPS_DIR = outside_folder("HF_ZSAR_CLIPS", "../shared/data/clips")


def golden_folder() -> Path:
    """The folder of golden numbers outside the repository, else the part of it that the repository carries."""
    outside = outside_folder("HF_ZSAR_GOLDEN", "../shared/golden")
    if outside.is_dir() or "HF_ZSAR_GOLDEN" in os.environ:
        return outside
    from tests.golden_files import COMMITTED, unpack

    folder = Path(tempfile.mkdtemp(prefix="hf-zsar-golden-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    unpack(COMMITTED, folder)
    return folder


GOLDEN_DIR = golden_folder()


def folder_with(path: Path, file_name: str, variable: str) -> Path:
    if not (path / file_name).is_file():
        pytest.skip(f"no {file_name} in {path}: set {variable} to a folder that has one")
    return path


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The repository root."""
    return REPO_ROOT


@pytest.fixture(scope="session")
def clips_dir() -> Path:
    """Folder of labeled real clips with a `manifest.json` (HF_ZSAR_CLIPS)."""
    return folder_with(CLIPS_DIR, "manifest.json", "HF_ZSAR_CLIPS")


@pytest.fixture(scope="session")
def clips_manifest(clips_dir: Path) -> dict[str, Any]:
    """The parsed `manifest.json` of `clips_dir`: `labels` and `clips` (each with `file` and `label`)."""
    return json.loads((clips_dir / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def hard_clips_dir(clips_dir: Path) -> Path:
    """Folder of broken and unusual files with a `manifest.json` that says what each must give."""
    return folder_with(clips_dir / "hard", "manifest.json", "HF_ZSAR_CLIPS")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder of numbers made by the official implementations (HF_ZSAR_GOLDEN, else those in the repository)."""
    return GOLDEN_DIR
