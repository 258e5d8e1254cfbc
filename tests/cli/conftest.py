"""A tiny model folder and a few short clips: what the commands are run on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_models import tiny_folder
from tests.videos import write_video


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory) -> str:
    """A model folder that answers in milliseconds (its weights are random, so its answers mean nothing)."""
    return str(tiny_folder("rest", tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    """Two short clips in a folder, one more in a folder inside, and a file that is not a video."""
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "b.mp4", num_frames=24)
    write_video(folder / "a.mkv", num_frames=36, first_number=100)
    (folder / "inner").mkdir()
    write_video(folder / "inner" / "c.avi", num_frames=12, codec="mpeg4", first_number=500)
    (folder / "notes.txt").write_text("no video")
    return folder


@pytest.fixture
def broken_clip(tmp_path) -> str:
    """A file that is named like a video and holds none."""
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"these are not the frames you are looking for" * 20)
    return str(path)
