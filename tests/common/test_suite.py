"""Getting at the suites, and proof that they notice what they are there for."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import unittest
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hf_zsar import METHODS
from tests.common import suite
from tests.common.suite import NEEDED, OVERRIDE, SuiteUnavailable, load, suite_folder


def write_sdist(path, names):
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(b"# test\n")
            archive.addfile(member, io.BytesIO(b"# test\n"))


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(OVERRIDE, raising=False)
    suite._fetched_folder.cache_clear()
    yield tmp_path / "hf_zsar" / "transformers-tests"
    suite._fetched_folder.cache_clear()


def fake_pip(monkeypatch, members, code=0):
    """pip that "downloads" an sdist with these members, or fails."""
    calls = []

    def run(command, **options):
        calls.append(command)
        if not code:
            folder = command[command.index("--dest") + 1]
            write_sdist(f"{folder}/transformers-{suite.transformers.__version__}.tar.gz", members)
        return SimpleNamespace(returncode=code, stdout="", stderr="ERROR: Could not find a version")

    monkeypatch.setattr(suite.subprocess, "run", run)
    return calls


def test_sdist_is_fetched_once_and_only_its_tests_are_kept(empty_cache, monkeypatch):
    members = [f"transformers-5/tests/{name}" for name in NEEDED]
    calls = fake_pip(monkeypatch, [*members, "transformers-5/setup.py", "transformers-5/src/transformers/__init__.py"])
    folder = suite_folder()
    assert folder == suite_folder() == empty_cache / suite.transformers.__version__
    assert {path.name for path in folder.rglob("*")} == {*NEEDED, "__init__.py"}
    assert len(calls) == 1 and calls[0][-1] == f"transformers=={suite.transformers.__version__}"
    suite._fetched_folder.cache_clear()
    assert suite_folder() == folder and len(calls) == 1
    assert [path.name for path in empty_cache.iterdir() if path.name.startswith(".fetch")] == []


@pytest.mark.parametrize(("members", "code"), [([], 1), (["transformers-5/setup.py"], 0)], ids=["offline", "no tests"])
def test_failure_has_a_reason_and_leaves_nothing(members, code, empty_cache, monkeypatch):
    calls = fake_pip(monkeypatch, members, code)
    for _ in range(2):
        with pytest.raises(SuiteUnavailable, match="Could not find a version" if code else "has no test_modeling"):
            suite_folder()
    assert len(calls) == 1
    assert [path.name for path in empty_cache.iterdir()] == [".lock"]


def test_sdist_cannot_write_outside_its_folder(empty_cache, monkeypatch):
    fake_pip(monkeypatch, ["transformers-5/tests/../../../escaped.py", *(f"transformers-5/tests/{n}" for n in NEEDED)])
    with pytest.raises(tarfile.FilterError):
        suite_folder()
    assert list(empty_cache.parent.parent.rglob("escaped.py")) == []


def test_override_names_a_folder_and_none_switches_the_suites_off(tmp_path, monkeypatch):
    monkeypatch.setenv(OVERRIDE, str(tmp_path))
    with pytest.raises(SuiteUnavailable, match=OVERRIDE):
        suite_folder()
    for name in NEEDED:
        (tmp_path / name).touch()
    assert suite_folder() == tmp_path


def test_modules_skip_and_say_why_where_the_suites_are_missing(request, tmp_path):
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests/common/test_models.py"]
    environment = {**suite.os.environ, OVERRIDE: "none"}
    process = subprocess.run(command, capture_output=True, text=True, cwd=request.config.rootpath, env=environment)
    assert f"{OVERRIDE}=none has no test_modeling_common.py" in process.stdout, process.stdout[-2000:]
    assert "1 skipped" in process.stdout


def failures(case: type[unittest.TestCase], test: str) -> int:
    result = unittest.TestResult()
    unittest.TestSuite([case(test)]).run(result)
    assert result.testsRun == 1 and not result.skipped
    return len(result.failures) + len(result.errors)


class Faulty:
    """Adds to a model what our own rules forbid."""

    class Uninitialized:
        def __init__(self, config):
            super().__init__(config)
            self.forgotten = nn.Parameter(torch.full((3,), 7.0))  # memory may hold zeros by chance
            self.post_init()

    class Remembering:
        def compute_scores(self, features, bank):
            self.calls = getattr(self, "calls", 0) + 1
            return {k: v * self.calls for k, v in super().compute_scores(features, bank).items()}

    class MixingVideos:
        def compute_scores(self, features, bank):
            logits = super().compute_scores(features, bank)["logits_per_video"]
            return {"logits_per_video": logits - logits.mean(dim=0)}


@pytest.mark.parametrize(
    ("fault", "test", "noticed"),
    [
        (Faulty.Uninitialized, "test_can_init_all_missing_weights", True),
        (Faulty.Remembering, "test_determinism", True),
        (Faulty.MixingVideos, "test_batching_equivalence", True),
        (object, "test_can_init_all_missing_weights", False),
        (object, "test_determinism", False),
        (object, "test_batching_equivalence", False),
    ],
)
def test_the_suites_notice_a_fault(fault, test, noticed):
    try:
        load("test_modeling_common")
    except SuiteUnavailable as error:
        pytest.skip(str(error))
    from tests.common.test_models import model_case

    case = model_case("actionclip")
    base = METHODS["actionclip"].model_class
    if fault is not object:
        case.all_model_classes = (type(base.__name__, (fault, base), {}),)
    assert bool(failures(case, test)) is noticed
