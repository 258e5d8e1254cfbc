"""An export is complete, checked and appears at once; licenses that forbid redistribution are respected."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_zsar import METHODS
from hf_zsar.cli import main
from hf_zsar.encoders import ENCODERS
from hf_zsar.hub import ExportError, LicenseError, export, push, verification, verify_export
from hf_zsar.hub.exporting import code_digest
from hf_zsar.hub.licenses import check_redistribution, source_licenses
from tests.hub.server import LoopbackHub
from tests.tiny_models import TINY, tiny_folder, tiny_model, tiny_processor
from tests.videos import write_video


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A verified export of a tiny ResT. Not to be changed."""
    return export(tiny_model("rest"), tiny_processor("rest"), tmp_path_factory.mktemp("export") / "rest")


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    """An unverified export that a test may spoil."""
    return export(tiny_model("rest"), tiny_processor("rest"), tmp_path / "draft", verify=False)


def test_an_export_is_verified_and_carries_the_tested_code(exported: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert code_digest(exported) in card
    assert "library_name: transformers" in card
    assert {path.stat().st_mode & 0o777 for path in exported.iterdir()} == {0o644}
    assert "/tmp" not in (exported / "config.json").read_text() + (exported / "tokenizer_config.json").read_text()


def test_commands_read_windows_of_a_model_that_brings_its_own_code(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    video = write_video(tmp_path / "clip.mp4", 30, fps=10)
    given = ["--labels", "surfing", "cooking", "--model", str(exported), "--trust-remote-code", "--window", "1"]
    assert main(["classify", str(video), *given]) == 0
    assert capsys.readouterr().out.count(" - ") == 3


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_its_scores_without_the_package(method: str, tmp_path: Path) -> None:
    folder = export(tiny_model(method), tiny_processor(method), tmp_path / method, verify=False)
    assert verify_export(folder, tiny_model(method), tiny_processor(method)) <= verification.TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize(("method", "kind"), [(m, v) for m in METHODS for v in TINY[m].variants if v in ENCODERS])
def test_a_published_model_travels_with_its_own_adapter_only(method: str, kind: str, tmp_path: Path) -> None:
    options = {"text_padding": "max_length"} if kind == "siglip" else {}
    model, processor = tiny_model(method, **TINY[method].variants[kind]), tiny_processor(method, **options)
    folder = export(model, processor, tmp_path / kind)
    adapter = ENCODERS[kind].adapter_class()
    carried = {"encoder.py", f"{adapter.__module__.rpartition('.')[2]}.py"}
    carried |= {"encoder_towers.py"} if adapter.shows_blocks else set()
    assert {path.name for path in folder.glob("encoder*.py")} == carried


@pytest.mark.slow
def test_half_precision_weights_are_verified_too(tmp_path: Path) -> None:
    folder = export(tiny_model("rest").to(torch.bfloat16), tiny_processor("rest"), tmp_path / "half")
    assert load_file(folder / "model.safetensors")["seen_prototypes"].dtype == torch.bfloat16


def test_code_that_needs_the_package_is_noticed(draft: Path) -> None:
    code = draft / "modeling_rest.py"
    code.write_text("import hf_zsar.evaluation\n" + code.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(ExportError, match="does not load without this package(.|\n)*hf_zsar"):
        verify_export(draft)


@pytest.mark.parametrize("which", ["scores", "pipeline"])
def test_other_scores_are_noticed(which: str, draft: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = tiny_model("rest"), tiny_processor("rest")

    def slightly_off(sources: list, videos: Any, labels: Any, **options: Any) -> list[dict[str, Any]]:
        scores = verification.scores_of(model, processor, videos, labels)
        answer = {"scores": scores.copy(), "pipeline": scores[0].copy()}
        answer[which].flat[-1] += 2e-5
        return [{name: value.tolist() for name, value in answer.items()}]

    monkeypatch.setattr(verification, "run_clean", slightly_off)
    with pytest.raises(ExportError, match="gives other scores"):
        verify_export(draft, model, processor)


def test_weights_that_are_not_those_of_the_model_are_noticed(draft: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = verification.scores_of(tiny_model("rest", seed=1), tiny_processor("rest"), *probe())
    answer = {"scores": other.tolist(), "pipeline": other[0].tolist()}
    monkeypatch.setattr(verification, "run_clean", lambda *args, **options: [answer])
    with pytest.raises(ExportError, match="gives other scores"):
        verify_export(draft, tiny_model("rest"), tiny_processor("rest"))
    with pytest.raises(ExportError, match="gives other scores"):
        verify_export(draft)


def probe() -> tuple[np.ndarray, tuple[str, ...]]:
    return verification.probe_videos(), verification.PROBE_LABELS


def test_a_failed_export_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise ExportError("no")

    monkeypatch.setattr(verification, "verify_export", refuse)
    with pytest.raises(ExportError):
        export(tiny_model("rest"), tiny_processor("rest"), tmp_path / "export")
    assert not list(tmp_path.iterdir())


def test_only_an_earlier_export_is_replaced_and_only_when_asked_to(draft: Path) -> None:
    model, processor = tiny_model("rest", seed=1), tiny_processor("rest")
    before = (draft / "model.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export(model, processor, draft, verify=False)
    assert (draft / "model.safetensors").read_bytes() == before
    (draft / "left over.py").touch()
    export(model, processor, draft, verify=False, overwrite=True)
    assert (draft / "model.safetensors").read_bytes() != before
    assert not (draft / "left over.py").exists()
    assert [path.name for path in draft.parent.iterdir()] == ["draft"]
    precious = draft.parent / "thesis"
    precious.mkdir()
    (precious / "config.json").write_text("{}")
    with pytest.raises(FileExistsError, match="not an earlier export"):
        export(model, processor, precious, verify=False, overwrite=True)


def test_two_code_files_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("elsewhere.modeling_zsar")
    module.__file__ = str(tmp_path / "modeling_zsar.py")
    Path(module.__file__).write_text("class Other:\n    pass\n")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    processor = tiny_processor("rest")
    processor.__class__ = type("Other", (type(processor),), {"__module__": module.__name__})
    with pytest.raises(ExportError, match="Two different code files are called modeling_zsar.py"):
        export(tiny_model("rest"), processor, tmp_path / "export", verify=False)


# ------------------------------------------------------------------------------------------------------- licenses
@pytest.mark.parametrize("license", ["apache-2.0", "mit", "cc-by-4.0"])
def test_free_licenses_pass(license: str) -> None:
    check_redistribution([license])


@pytest.mark.parametrize("license", ["none", "unknown", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "research"])
def test_other_licenses_do_not(license: str) -> None:
    with pytest.raises(LicenseError, match=license):
        check_redistribution(["mit", license])


def test_the_license_is_read_from_the_configuration_and_from_the_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"source_license": "MIT"}))
    save_file({"x": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"source_license": "cc-by-nc-4.0"})
    save_file({"x": torch.zeros(1)}, tmp_path / "b.safetensors", metadata={"format": "pt"})
    assert source_licenses(tmp_path) == ["cc-by-nc-4.0", "mit"]


def test_restricted_weights_are_pushed_only_when_told(hub: LoopbackHub, waits: list[float]) -> None:
    model = tiny_model("stdd", source_license="none")
    options = {"processor": tiny_processor("stdd"), "verify": False, "endpoint": hub.url, "token": hub.token}
    with pytest.raises(LicenseError, match="'none'.*allow_restricted"):
        push(model, "user/model", **options)
    assert not hub.log, "the Hub was asked before the license was"
    push(model, "user/model", allow_restricted=True, **options)
    assert hub.files("user/model")["README.md"].decode().count('"user/model"') == 7, "the snippets name the repository"
    assert json.loads(hub.files("user/model")["config.json"])["source_license"] == "none"


# --------------------------------------------------------------------------------------------------- what to push
def test_a_saved_folder_is_exported_on_the_way(hub: LoopbackHub, tmp_path: Path) -> None:
    folder = tiny_folder("rest", tmp_path / "saved")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# mine\n", encoding="utf-8")
    (folder / "training_args.bin").write_bytes(b"pickle")
    (folder / ".eval_results").mkdir()
    (folder / ".eval_results" / "ucf101-full.yaml").write_text("[]\n")
    before = sorted(folder.rglob("*"))
    push(folder, "user/model", verify=False, endpoint=hub.url, token=hub.token, private=True)
    files = hub.files("user/model")
    assert files["README.md"].decode().endswith("# mine\n")
    assert {".eval_results/ucf101-full.yaml", "modeling_rest.py", "model.safetensors"} <= set(files)
    assert "training_args.bin" not in files
    assert sorted(folder.rglob("*")) == before, "the folder itself is left as it was"


def test_an_export_is_pushed_as_it_is(hub: LoopbackHub, exported: Path) -> None:
    push(exported, "user/model", verify=False, endpoint=hub.url, token=hub.token)
    remote = {name: data for name, data in hub.files("user/model").items() if name != ".gitattributes"}
    local = {path.name: path.read_bytes() for path in exported.iterdir()}
    card = remote.pop("README.md").decode()
    assert card == local.pop("README.md").decode().replace("your-name/your-model", "user/model")
    assert card.count('"user/model"') == 7
    assert remote == local


def test_a_push_that_is_not_verified_sends_nothing(hub: LoopbackHub, draft: Path, monkeypatch) -> None:
    answer = {"scores": np.zeros((2, 5)).tolist(), "pipeline": np.zeros(5).tolist()}
    monkeypatch.setattr(verification, "run_clean", lambda *args, **options: [answer])
    with pytest.raises(ExportError, match="Nothing was uploaded"):
        push(draft, "user/model", endpoint=hub.url, token=hub.token)
    assert not hub.log


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no config.json"):
        push(tmp_path, "user/model")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ExportError, match="'bert' model; this package pushes"):
        push(tmp_path, "user/model")
    with pytest.raises(ExportError, match="pass its processor"):
        push(tiny_model("rest"), "user/model")
