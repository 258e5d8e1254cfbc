"""Transformers' own common test suites, taken from the source distribution of the installed version.

The wheel has no tests, the sdist on PyPI does: `ModelTesterMixin`, `ConfigTester`, `ProcessorTesterMixin` and others.
It is fetched once per version with pip, unpacked into the user's cache and imported as the package
`transformers_suite`, so nothing of it lies in this repository and the name `tests` stays ours.

`HF_ZSAR_TRANSFORMERS_TESTS` names a folder that holds the unpacked `tests` instead (`none` switches the suites off).
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import transformers
from filelock import FileLock


OVERRIDE = "HF_ZSAR_TRANSFORMERS_TESTS"
PACKAGE = "transformers_suite"
NEEDED = ("test_modeling_common.py", "test_configuration_common.py", "test_processing_common.py")


class SuiteUnavailable(Exception):
    """The suites cannot be had here; the message says why."""


def _empty_class(name: str) -> type:
    return type(name, (), {"__doc__": "Not shipped in the sdist; an empty stand-in."})


# Modules that the suites import and the sdist leaves out -> what stands in for them. The two mixins bring tests of
# text generation and of exporters; our models do not generate.
_STUBS: dict[str, dict[str, object]] = {
    f"{PACKAGE}.exporters.test_export": {"ExportTesterMixin": _empty_class("ExportTesterMixin")},
    f"{PACKAGE}.generation.test_utils": {"GenerationTesterMixin": _empty_class("GenerationTesterMixin")},
    f"{PACKAGE}.utils.test_configuration_utils": {"config_common_kwargs": {}},
    "fetch_hub_objects_for_ci": {"url_to_local_path": lambda url: url},
}


def suite_folder() -> Path:
    """The unpacked `tests` folder of the sdist, fetched when it is missing.

    Raises:
        SuiteUnavailable: no network, no pip, or the override names a folder without the suites.
    """
    override = os.environ.get(OVERRIDE)
    found = _named_folder(Path(override)) if override else _fetched_folder()
    if isinstance(found, SuiteUnavailable):
        raise found
    return found


def _named_folder(folder: Path) -> Path | SuiteUnavailable:
    if all((folder / name).is_file() for name in NEEDED):
        return folder
    return SuiteUnavailable(f"{OVERRIDE}={folder} has no {', '.join(NEEDED)}")


@functools.cache  # a failure as well: trying again would only take its time again
def _fetched_folder() -> Path | SuiteUnavailable:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hf_zsar" / "transformers-tests"
    folder = cache / transformers.__version__
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / ".lock"):  # test processes start together, one of them fetches
            try:
                if not folder.is_dir():
                    _fetch(folder)
            except SuiteUnavailable as error:
                return error
    return folder


def _fetch(folder: Path) -> None:
    """Download the sdist and put its tests at `folder`, whole or not at all."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as name:
        work = Path(name)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--no-binary=:all:", "--retries=1", "--timeout=20", "--dest", str(work)]
        if importlib.util.find_spec("setuptools") is not None:
            command.append("--no-build-isolation")  # pip asks the sdist for its name; no build tools are downloaded
        command.append(f"transformers=={transformers.__version__}")
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=300)
        except subprocess.TimeoutExpired as error:
            raise SuiteUnavailable("pip download of the transformers sdist took more than 300 seconds") from error
        archives = list(work.glob("*.tar.gz"))
        if run.returncode or not archives:
            reason = (run.stderr.strip().splitlines() or ["no output"])[-1]
            raise SuiteUnavailable(
                f"pip could not download the transformers {transformers.__version__} sdist: {reason}"
            )
        _unpack_tests(archives[0], work)
        os.replace(work / "tests", folder)


def _unpack_tests(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as tar:
        members = [member for member in tar.getmembers() if re.match(r"[^/]+/tests/", member.name)]
        for member in members:
            member.name = member.name.split("/", 1)[1]
        tar.extractall(target, members, filter="data")
    if not all((target / "tests" / name).is_file() for name in NEEDED):
        raise SuiteUnavailable(f"{archive.name} has no {', '.join(NEEDED)}")
    (target / "tests" / "__init__.py").touch()  # the suites import the package that they lie in


def marks_used(folder: Path) -> set[str]:
    """Names of the pytest marks in the suites and in the helpers that they use."""
    helpers = Path(transformers.__file__).parent / "testing_utils.py"
    sources = [*folder.glob("*.py"), helpers]
    return {name for path in sources for name in re.findall(r"\bmark\.(\w+)", path.read_text(encoding="utf-8"))}


def _stub_modules(folder: Path) -> Iterator[ModuleType]:
    package = ModuleType(PACKAGE)
    package.__path__ = [str(folder)]
    yield package
    for name, content in _STUBS.items():
        parent = name.rpartition(".")[0]
        if parent and parent != PACKAGE:
            subpackage = ModuleType(parent)
            subpackage.__path__ = []
            yield subpackage
        module = ModuleType(name)
        vars(module).update(content)
        yield module


def load(name: str) -> ModuleType:
    """Import a module of the suites, e.g. `load("test_modeling_common")`.

    Raises:
        SuiteUnavailable: see `suite_folder`.
    """
    if PACKAGE not in sys.modules:
        for module in _stub_modules(suite_folder()):
            sys.modules[module.__name__] = module
    with _unchanged_search_path():
        return importlib.import_module(f"{PACKAGE}.{name}")


@contextlib.contextmanager
def _unchanged_search_path() -> Iterator[None]:
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before
