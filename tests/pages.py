"""The pages of the repository: their code blocks, and the working folder in which those of the training page run."""

from __future__ import annotations

import re
from pathlib import Path

from tests.rendered import LABELS
from tests.tiny_models import tiny_folder
from tests.training.runs import write_rendered
from tests.videos import write_video


ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("hf_zsar", "modeling", "processing", "train_scripts", "model_cards", "tests")
PAGES = ("README.md", *(f"{folder}/README.md" for folder in FOLDERS), "train_scripts/own_clips.md")


def blocks_of(page: str) -> list[tuple[str, str]]:
    """(language, text) of every code block of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def lay_out(desk: Path) -> None:
    """Put a tiny model and rendered videos into a working folder, under the names that the pages give them."""
    tiny_folder("actionclip", desk / "actionclip-b16")
    parts = {"train": ("cooking", "surfing"), "seen": ("cooking", "surfing"), "unseen": ("riding a bike",)}
    for part, labels in parts.items():
        folder = write_rendered(desk / "videos" / part, LABELS[: len(labels)])
        for rendered, label in zip(LABELS, labels, strict=False):
            (folder / rendered).rename(folder / label)
    clips = {"examples": 2, "calibration": 8, "test": 1}
    labels = ("cooking", "state 3", "surfing")
    names = [f"{part}/{label}/{i}" for part, count in clips.items() for label in labels for i in range(count)]
    for number, name in enumerate([*names, "test/juggling/0"]):
        path = desk / "my-clips" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, 4, first_number=10 * number)
    (desk / "train_scripts").symlink_to(ROOT / "train_scripts")
