"""A method of another distribution, in a folder of its own: nothing of this package knows it, all of it works.

CONTRIBUTING.md walks through this test.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor, pipeline

from hf_zsar import METHODS, methods
from hf_zsar.cli import main
from hf_zsar.hub import export
from hf_zsar.hub.code import ExportError, collect_code
from hf_zsar.hub.method_cards import method_card
from hf_zsar.registration import TASK, register
from hf_zsar.training.optimization import parameter_counts
from tests.rendered import LABELS
from tests.tiny_models import tiny_folder, tiny_inputs, tiny_model, tiny_processor
from tests.training.runs import weights_of, write_rendered


FILES = Path(__file__).parent / "toy_method"
SEEN = LABELS[:4]


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The method as pip would install it: its package, and an entry point that names its spec."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(FILES, site / "toy_method", ignore=shutil.ignore_patterns("__pycache__"))
    about = site / "toy_method-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-method\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[hf_zsar.methods]\ntoy = toy_method:SPEC\n")
    sys.path.insert(0, str(site))
    METHODS.update(methods.find_specs("hf_zsar.methods", methods.OWN, "name"))  # what importing hf_zsar does
    register()
    yield site
    METHODS.pop("toy")
    sys.path.remove(str(site))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rendered(tmp_path_factory.mktemp("videos"), clips=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Path:
    """Its own recipe, run by the command."""
    folder = tmp_path_factory.mktemp("trained")
    tiny_processor("toy", folder / "tokenizer")
    settings = {"data.source": videos, "output": folder / "run", "model.tokenizer": folder / "tokenizer"}
    chosen = [argument for name, value in settings.items() for argument in ("--set", f"{name}={value}")]
    assert main(["train", str(FILES / "recipe.yaml"), *chosen]) == 0
    return folder / "run"


def test_roles_are_what_its_class_says() -> None:
    counts = parameter_counts(tiny_model("toy"))
    assert counts == {"vision": (3088, 0), "text": (16384, 0), "scale": (1, 0), "head": (272, 0)}


def test_every_parameter_is_trained_at_the_rate_of_its_role(trained: Path) -> None:
    torch.manual_seed(0)
    start, end = tiny_model("toy").state_dict(), weights_of(trained)
    assert start.keys() == end.keys()
    assert end["warmth"].item() == 2.0, "a rate of 0"
    loaded = AutoModel.from_pretrained(trained)
    assert type(loaded) is METHODS["toy"].model_class
    assert type(AutoProcessor.from_pretrained(trained)) is METHODS["toy"].processor_class


def test_it_learns() -> None:
    model, inputs = tiny_model("toy").train(), tiny_inputs("toy")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    losses = []
    for _ in range(20):
        loss = model(**inputs, labels=torch.tensor([1, 3])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_it_is_evaluated(trained: Path, videos: Path, tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    arguments = ["--model", str(trained), "--manifest", str(videos), "--store", str(tmp_path / "store")]
    assert main(["evaluate", *arguments, "--json", str(record)]) == 0
    assert json.loads(record.read_text())["model"]["model_type"] == "zsar_toy"


def test_it_explains_itself(trained: Path, videos: Path, tmp_path: Path) -> None:
    video, picture = str(next(videos.rglob("*.mp4"))), tmp_path / "why.png"
    arguments = ["classify", video, "--labels", *SEEN, "--model", str(trained), "--explain", str(picture)]
    assert main(arguments) == 0
    with Image.open(picture) as image:
        assert image.width > 500
    classify = pipeline(TASK, model=str(trained), device="cpu")
    best = classify(video, candidate_labels=SEEN, return_saliency=True)[0]
    assert best["saliency"]["frames"].sum().item() == pytest.approx(1, abs=1e-5)


def test_an_export_carries_what_it_imports_of_this_package(tmp_path: Path) -> None:
    """`verify_export` scores with it in a process that has neither this package nor the method's."""
    folder = export(tiny_model("toy"), tiny_processor("toy"), tmp_path / "toy")
    files = {path.name for path in folder.glob("*.py")}
    assert {"modeling_toy.py", "configuration_toy.py", "modeling_zsar.py", "losses.py"} <= files
    assert not {"dual_encoder.py", "modeling_rest.py", "processing_dasti.py"} & files
    assert "from .modeling_zsar import (" in (folder / "modeling_toy.py").read_text()
    card = (folder / "README.md").read_text()
    assert "Means of Patches against Means of Words" in card and "ToyModel" in card


@pytest.mark.parametrize(
    "line", ["from hf_zsar.files import replacing", "import hf_zsar.data", "from ..data import x"]
)
def test_what_cannot_travel_is_refused(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "modeling_odd.py"
    file.write_text(f"class Odd:\n    pass\n\n\ndef f():\n    {line}\n")
    monkeypatch.setattr("inspect.getfile", lambda cls: str(file))
    with pytest.raises(ExportError, match="does not carry"):
        collect_code([object])


def test_two_files_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [tmp_path / side / "modeling_odd.py" for side in "ab"]
    for number, file in enumerate(places):
        file.parent.mkdir()
        file.write_text(f"NUMBER = {number}\n")
    monkeypatch.setattr("inspect.getfile", lambda cls: str(places[cls is int]))
    with pytest.raises(ExportError, match="Two different code files"):
        collect_code([object, int])


def test_its_card_needs_no_weights() -> None:
    assert "Made for a test." in method_card("toy")


def test_a_folder_of_it_is_classified_with(tmp_path: Path, videos: Path) -> None:
    folder = tiny_folder("toy", tmp_path / "model")
    assert main(["classify", str(next(videos.rglob("*.mp4"))), "--labels", *SEEN, "--model", str(folder)]) == 0
