"""Every method, pushed to the loopback Hub by the real client and loaded back, with and without this package."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from huggingface_hub import hf_hub_download, snapshot_download
from safetensors.torch import load_file

import hf_zsar
from hf_zsar import METHODS
from hf_zsar.hub import push
from hf_zsar.hub.method_cards import method_card
from hf_zsar.hub.verification import CLEAN_SCRIPT, PROBE_LABELS, TOLERANCE, probe_videos, scores_of
from tests.hub.server import LoopbackHub
from tests.tiny_models import tiny_model, tiny_processor
from tests.videos import write_video


TASK = "zero-shot-video-classification"


@pytest.fixture(scope="module")
def shelf() -> Iterator[LoopbackHub]:
    """A Hub that holds a tiny model of every method as `your-name/<method>`."""
    with pytest.MonkeyPatch.context() as patch, LoopbackHub() as hub:
        patch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        hub.store.orgs += ("your-name",)
        for method in METHODS:
            model, processor = tiny_model(method), tiny_processor(method)
            push(model, repo(method), processor=processor, verify=False, endpoint=hub.url, token=hub.token)
        yield hub
        assert not hub.unknown, "the client asked for something that the loopback Hub does not know"
    huggingface_hub.close_session()


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    """Probabilities of the models before they were pushed."""
    return {m: scores_of(tiny_model(m), tiny_processor(m), probe_videos(), PROBE_LABELS) for m in METHODS}


@pytest.fixture(scope="module")
def video_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the snippets of the cards find `video.mp4`."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "video.mp4", num_frames=120, fps=15, height=48, width=64)
    return folder


# Every snippet in a namespace of its own, after the scores; nothing here can import this package.
RUN_SNIPPETS = """
for name, snippet in json.load(open("snippets.json")):
    print("snippet of", name)
    exec(compile(snippet, "card of " + name, "exec"), {})
"""


@pytest.fixture(scope="module")
def elsewhere(shelf: LoopbackHub, video_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process without this package gets out of the repositories: scores, and what the snippets print."""
    scratch = tmp_path_factory.mktemp("elsewhere")
    foreign = [(m, s) for m in METHODS for s in snippets(method_card(m)) if not needs_package(s)]
    (video_folder / "snippets.json").write_text(json.dumps(foreign))
    np.savez(scratch / "probe.npz", videos=probe_videos(), labels=np.array(PROBE_LABELS))
    arguments = [str(scratch / "probe.npz"), TASK, str(scratch / "answer.json"), *map(repo, METHODS)]
    done = subprocess.run(
        [sys.executable, "-c", CLEAN_SCRIPT + RUN_SNIPPETS, *arguments],
        env={**os.environ, **shelf.environment(str(scratch / "home"))},
        cwd=video_folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads((scratch / "answer.json").read_text())
    return {"printed": done.stdout, "snippets": len(foreign), **{method: answers[repo(method)] for method in METHODS}}


@pytest.fixture
def here(shelf: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    """This process, which has the package, talks to the Hub with an empty cache and no token."""
    shelf.become_default(monkeypatch, tmp_path / "cache")
    return shelf


def repo(method: str) -> str:
    return f"your-name/{method}"


def as_labels(answers: list[dict[str, Any]]) -> list[float]:
    scores = {answer["label"]: answer["score"] for answer in answers}
    return [scores[label] for label in PROBE_LABELS]


@pytest.mark.parametrize("method", METHODS)
def test_a_push_is_one_commit_with_everything_in_it(method: str, shelf: LoopbackHub) -> None:
    files = shelf.files(repo(method))
    assert [commit.title for commit in shelf.repo(repo(method)).history("main")][1:] == ["initial commit"]
    needed = {"config.json", "model.safetensors", "processor_config.json", "README.md", f"modeling_{method}.py"}
    assert needed <= set(files)
    config = json.loads(files["config.json"])
    code = [*config["auto_map"].values(), config["custom_pipelines"][TASK]["impl"]]
    assert {f"{pointer.split('.')[0]}.py" for pointer in code} <= set(files)
    imports = re.compile(rb"^\s*(from|import) hf_zsar", re.MULTILINE)
    assert not [name for name, data in files.items() if name.endswith(".py") and imports.search(data)]


@pytest.mark.parametrize("method", METHODS)
def test_without_the_package_the_scores_are_the_same(method: str, elsewhere: dict, expected: dict) -> None:
    answer = elsewhere[method]
    assert all(module.startswith("transformers_modules.") for module in answer["modules"])
    assert np.abs(np.array(answer["scores"]) - expected[method]).max() <= TOLERANCE
    assert np.abs(np.array(answer["pipeline"]) - expected[method][0]).max() <= TOLERANCE


@pytest.mark.parametrize("method", METHODS)
def test_with_the_package_no_trust_is_asked_for(method: str, here: LoopbackHub, expected: dict) -> None:
    model = transformers.AutoModel.from_pretrained(repo(method)).eval()
    processor = transformers.AutoProcessor.from_pretrained(repo(method))
    assert (type(model), type(processor)) == (METHODS[method].model_class, METHODS[method].processor_class)
    assert np.abs(scores_of(model, processor, probe_videos(), PROBE_LABELS) - expected[method]).max() <= TOLERANCE
    classify = hf_zsar.pipeline(repo(method), device="cpu")
    assert type(classify) is hf_zsar.ZeroShotVideoClassificationPipeline
    answers = classify(probe_videos()[0], candidate_labels=list(PROBE_LABELS))
    assert np.abs(np.array(as_labels(answers)) - expected[method][0]).max() <= TOLERANCE


@pytest.mark.parametrize("method", METHODS)
def test_by_hand_from_the_safetensors_file(method: str, here: LoopbackHub, expected: dict) -> None:
    spec = METHODS[method]
    config = spec.config_class.from_json_file(hf_hub_download(repo(method), "config.json"))
    model = spec.model_class(config).eval()
    model.load_state_dict(load_file(hf_hub_download(repo(method), "model.safetensors")))
    scores = scores_of(model, tiny_processor(method), probe_videos(), PROBE_LABELS)
    assert np.abs(scores - expected[method]).max() <= TOLERANCE


@pytest.mark.parametrize("method", METHODS)
def test_saving_a_loaded_model_again_leaves_no_pointer_to_code_that_is_not_there(
    method: str, here: LoopbackHub, tmp_path: Path
) -> None:
    hf_zsar.pipeline(repo(method), device="cpu").save_pretrained(tmp_path / "again")
    assert not list((tmp_path / "again").glob("*.py"))
    for file in ("config.json", "processor_config.json"):
        settings = json.loads((tmp_path / "again" / file).read_text())
        assert not {"auto_map", "custom_pipelines"} & settings.keys()
    transformers.pipeline(TASK, model=str(tmp_path / "again"))


def test_a_revision_is_kept_through_model_processor_and_pipeline(here: LoopbackHub) -> None:
    first, second = tiny_model("rest"), tiny_model("rest", seed=1)
    options = {"processor": tiny_processor("rest"), "verify": False, "endpoint": here.url, "token": here.token}
    push(first, "your-name/two", **options)
    push(second, "your-name/two", revision="second", **options)
    video, labels = probe_videos()[0], list(PROBE_LABELS)
    for revision, model in {"main": first, "second": second}.items():
        wanted = scores_of(model, tiny_processor("rest"), probe_videos(), labels)[0]
        answers = hf_zsar.pipeline("your-name/two", revision=revision, device="cpu")(video, candidate_labels=labels)
        assert np.abs(np.array(as_labels(answers)) - wanted).max() <= TOLERANCE


def test_offline_with_a_warm_cache_works_and_with_a_cold_one_says_what_is_missing(
    here: LoopbackHub, expected: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    hf_zsar.pipeline(repo("rest"), device="cpu")
    asked = len(here.log)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    answers = hf_zsar.pipeline(repo("rest"), device="cpu")(probe_videos()[0], candidate_labels=list(PROBE_LABELS))
    assert np.abs(np.array(as_labels(answers)) - expected["rest"][0]).max() <= TOLERANCE
    with pytest.raises(OSError, match="Cannot load your-name/never-loaded"):
        hf_zsar.pipeline("your-name/never-loaded", device="cpu")
    assert len(here.log) == asked


@pytest.mark.parametrize(
    ("pattern", "what"),
    {
        "rate limit": ("HEAD .*/model.safetensors", dict(status=429, headers={"Retry-After": "3"})),
        "overload": ("HEAD .*/config.json", dict(status=503)),
        "cut in the middle": ("GET /cdn/", dict(cut_after=10_000, times=2)),
    }.values(),
    ids=["rate_limit", "overload", "cut_in_the_middle"],
)
def test_loading_survives_trouble_that_passes(
    pattern: str, what: dict, here: LoopbackHub, expected: dict, waits: list[float]
) -> None:
    fault = here.fail(pattern, **what)
    model = hf_zsar.ResTModel.from_pretrained(repo("rest")).eval()
    here.faults.clear()
    assert fault.hits >= 1
    scores = scores_of(model, tiny_processor("rest"), probe_videos(), PROBE_LABELS)
    assert np.abs(scores - expected["rest"]).max() <= TOLERANCE


def test_a_stale_entity_tag_never_gives_wrong_weights(
    here: LoopbackHub, tmp_path: Path, waits: list[float], expected: dict
) -> None:
    here.fail("HEAD .*/model.safetensors", rewrite={"X-Linked-Etag": '"old"', "X-Linked-Size": "100"})
    with pytest.raises(OSError, match="should be of size 100"):
        hf_zsar.ResTModel.from_pretrained(repo("rest"))
    here.faults.clear()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name in ("old", "model.safetensors")]
    model = hf_zsar.ResTModel.from_pretrained(repo("rest")).eval()
    scores = scores_of(model, tiny_processor("rest"), probe_videos(), PROBE_LABELS)
    assert np.abs(scores - expected["rest"]).max() <= TOLERANCE


def test_a_whole_snapshot_is_a_folder_that_loads(here: LoopbackHub, expected: dict) -> None:
    folder = snapshot_download(repo("rest"))
    with torch.inference_mode():
        model = transformers.AutoModel.from_pretrained(folder).eval()
    scores = scores_of(model, tiny_processor("rest"), probe_videos(), PROBE_LABELS)
    assert np.abs(scores - expected["rest"]).max() <= TOLERANCE


# ----------------------------------------------------------------------------------------- the snippets of the cards
def snippets(card: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", card, flags=re.DOTALL | re.MULTILINE)


def needs_package(snippet: str) -> bool:
    return "hf_zsar" in snippet


@pytest.mark.parametrize("method", METHODS)
def test_snippets_of_the_card_run_with_the_package(
    method: str, here: LoopbackHub, video_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(video_folder)
    mine = [snippet for snippet in snippets(method_card(method)) if needs_package(snippet)]
    assert len(mine) == 3
    for snippet in mine:
        exec(compile(snippet, f"card of {method}", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.count("riding a bike") >= 1
    assert "0.0 s to 4.0 s: " in printed


def test_snippets_of_the_cards_run_without_the_package(elsewhere: dict[str, Any]) -> None:
    assert elsewhere["snippets"] == 2 * len(METHODS)
    assert elsewhere["printed"].count("riding a bike") == elsewhere["snippets"]
