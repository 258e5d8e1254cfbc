"""The rules that the layout stands on: what may import what, what is packaged, and that importing stays cheap."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hf_zsar.cli import COMMANDS
from hf_zsar.methods import OWN


if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parent.parent

# Files of these folders are copied to the Hub as remote code: beside the standard library they may need only this.
# huggingface_hub, safetensors and numpy come with transformers.
REMOTE_CODE = {
    "modeling": {"huggingface_hub", "torch", "transformers", "safetensors"},
    "processing": {"torch", "transformers", "safetensors", "numpy", "av", "PIL"},
}
HEAVY = ("torch", "transformers", "av", "numpy", "PIL", "datasets", "huggingface_hub", "matplotlib", "gradio")


def remote_code_files() -> list[str]:
    return [f"{folder}/{path.name}" for folder in REMOTE_CODE for path in sorted((ROOT / folder).glob("*.py"))]


def optional_imports(tree: ast.AST) -> set[ast.AST]:
    """Imports inside a `try` or a function: allowed to fail, hence free."""
    holders = [node for node in ast.walk(tree) if isinstance(node, (ast.Try, ast.FunctionDef, ast.AsyncFunctionDef))]
    return {node for holder in holders for node in ast.walk(holder) if isinstance(node, (ast.Import, ast.ImportFrom))}


def broken_rules(tree: ast.AST, folder: str) -> Iterator[str]:
    """What is wrong with the imports of a file of `folder`."""
    siblings = {path.stem for path in (ROOT / folder).glob("*.py")}
    optional = optional_imports(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            if node.level > 1 or not node.module or node.module not in siblings:
                yield f"line {node.lineno}: relative imports must be `from .sibling import name`"
            continue
        if isinstance(node, ast.Import):
            packages = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            packages = {node.module.split(".")[0]}
        else:
            continue
        if packages & {"hf_zsar", "modeling", "processing"}:
            yield f"line {node.lineno}: imports {packages}, which a copy on the Hub does not have"
            continue
        unknown = packages - REMOTE_CODE[folder] - set(sys.stdlib_module_names)
        if unknown and node not in optional:
            yield f"line {node.lineno}: imports {unknown}; allowed: {sorted(REMOTE_CODE[folder])}, stdlib, siblings"


@pytest.mark.parametrize("path", remote_code_files())
def test_import_rule_of_remote_code(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert list(broken_rules(tree, path.split("/")[0])) == []


@pytest.mark.parametrize(
    "source",
    [
        "from ..processing.prompts import clean_label",
        "from . import prompts",
        "from .no_such_sibling import name",
        "from hf_zsar import METHODS",
        "def f():\n    import hf_zsar.cli",
        "import pandas",
        "from torchvision.transforms import v2",
    ],
)
def test_import_rule_notices(source):
    assert len(list(broken_rules(ast.parse(source), "processing"))) == 1


def test_import_rule_allows():
    source = "import av\nfrom .prompts import clean_label\ntry:\n    import torchcodec\nexcept ImportError:\n    pass"
    assert list(broken_rules(ast.parse(source), "processing")) == []


# What may know methods by name and the fields of their configurations: the registry, cards, conversion.
KNOWS_METHODS = ("__init__.py", "conversion", "embedded.py", "methods.py", "hub/cards.py", "hub/facts.py")
SHARED_FIELDS = {"num_frames", "text_config", "backbone_config"}
INSIDE = {"vision_model", "text_model", "visual_projection", "text_projection"}


def method_facts(tree: ast.AST) -> Iterator[str]:
    """Names of methods, fields of one method's configuration and insides of backbones that a file relies on."""
    names = {word for spec in OWN for word in (spec.name, spec.model_type, f"{spec.prefix}Model")}
    fields = {name for spec in OWN for name in spec.config_class.__annotations__} - SHARED_FIELDS
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names:
            yield f"line {node.lineno}: names {node.value}"
        elif isinstance(node, ast.Attribute):
            owner = getattr(node.value, "attr", getattr(node.value, "id", ""))
            if node.attr in INSIDE or (node.attr == "model" and owner == "backbone"):
                yield f"line {node.lineno}: looks into a backbone ({node.attr})"
            elif node.attr in fields and owner.endswith("config"):
                yield f"line {node.lineno}: reads config.{node.attr}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
            owner, name = node.args[:2]
            if getattr(name, "value", None) in fields and ast.unparse(owner).endswith("config"):
                yield f"line {node.lineno}: reads config.{name.value}"


def test_a_method_is_known_by_what_its_class_says():
    found = {}
    for path in sorted((ROOT / "hf_zsar").rglob("*.py")):
        name = path.relative_to(ROOT / "hf_zsar").as_posix()
        if not name.startswith(KNOWS_METHODS):
            found[name] = list(method_facts(ast.parse(path.read_text(encoding="utf-8"))))
    assert {name: facts for name, facts in found.items() if facts} == {}


@pytest.mark.parametrize(
    "source",
    [
        'over_all = method == "stdd"',
        'KNOWN = ("zsar_dasti",)',
        'mode = getattr(model.config, "loss_mode", None)',
        "weight = self.model.config.distill_weight",
        "target = model.backbone.model",
        "layers = model.vision_model",
    ],
)
def test_a_method_known_from_outside_is_noticed(source):
    assert len(list(method_facts(ast.parse(source)))) == 1


def test_remote_code_folders_are_flat():
    for folder in REMOTE_CODE:
        assert [path.parent.name for path in (ROOT / folder).rglob("*.py") if path.parent.name != folder] == []


def test_every_package_is_packaged():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    mapped = {package: folder for package, folder in settings["package-dir"].items() if package != "hf_zsar"}
    assert {"hf_zsar.modeling": "modeling", "hf_zsar.processing": "processing"}.items() <= mapped.items()
    assert all((ROOT / folder / "__init__.py").exists() for folder in mapped.values())
    folders = {path.parent for path in (ROOT / "hf_zsar").rglob("*.py")}
    found = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(settings["packages"]) == found | set(mapped), "pyproject.toml: [tool.setuptools] packages"
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def package_folders() -> dict[str, Path]:
    """Package name -> its folder, as pyproject.toml maps them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    mapped = settings["package-dir"]
    return {name: ROOT / mapped.get(name, name.replace(".", "/")) for name in settings["packages"]}


def test_every_data_file_is_packaged():
    """A file that is read at run time but matched by no pattern is missing from the wheel, and only there."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    packaged = {
        path
        for name, folder in package_folders().items()
        for pattern in settings["package-data"].get(name, [])
        for path in folder.glob(pattern)
    }
    files = {path for folder in package_folders().values() for path in folder.rglob("*") if path.is_file()}
    data = {path for path in files if path.suffix not in (".py", ".pyc")}
    for_readers = {*(folder / "README.md" for folder in package_folders().values())}
    for_readers |= {path for suffix in ("png", "md") for path in (ROOT / "model_cards").glob(f"*.{suffix}")}
    assert sorted(data - packaged - for_readers) == [], "pyproject.toml: [tool.setuptools.package-data]"
    assert packaged & for_readers == set(), "pages and their pictures are for readers of the repository"


@pytest.mark.slow
def test_the_wheel_works_by_itself(tmp_path):
    """Built, unpacked and imported away from the repository; nothing called `modeling` comes with it."""
    source = tmp_path / "source"
    source.mkdir()
    for folder in {path.relative_to(ROOT).parts[0] for path in package_folders().values()}:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(build, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 10_000_000
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    assert sorted(path.name for path in (tmp_path / "site").iterdir() if "dist-info" not in path.name) == ["hf_zsar"]
    code = (
        "import sys; sys.path.insert(0, 'site'); import hf_zsar, hf_zsar.data as data\n"
        "assert hf_zsar.__file__.endswith('site/hf_zsar/__init__.py'), hf_zsar.__file__\n"
        "[data.load_class_names(name) for name in data.available_class_lists()]\n"
        "[data.load_protocol_file(name) for name in data.available_protocol_files()]\n"
        "[getattr(hf_zsar, name) for name in hf_zsar.__all__]\n"
        "print(sys.modules['hf_zsar.modeling'].__file__)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "site/hf_zsar/modeling" in run.stdout.replace("\\", "/")


def test_files_are_of_readable_length():
    long = {}
    for folder in ("hf_zsar", "modeling", "processing", "train_scripts", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > 600:
                long[str(path.relative_to(ROOT))] = lines
    assert long == {}


def statements(path: Path) -> list[tuple[int, str]]:
    """Number and text of the lines that do something: no imports, signatures, docstrings, comments, blanks."""
    text = path.read_text(encoding="utf-8")
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            left_out.update(range(node.lineno, node.end_lineno + 1))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            left_out.update(range(node.lineno, body[0].lineno))
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            left_out.update(range(first.lineno, first.end_lineno + 1))
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1))
    return [(number, line) for number, line in lines if line and line[0] != "#" and number not in left_out]


def repeated(paths: list[Path], length: int) -> list[str]:
    """Places of equal runs of lines, `a.py:12 = b.py:40`."""
    first: dict[tuple[str, ...], str] = {}
    found = []
    for path in paths:
        lines = statements(path)
        for start in range(len(lines) - length + 1):
            place = f"{path.name}:{lines[start][0]}"
            other = first.setdefault(tuple(line for _, line in lines[start : start + length]), place)
            found += [f"{other} = {place}"] if other != place else []
    return found


def test_no_six_lines_stand_twice():
    paths = [path for folder in package_folders().values() for path in sorted(folder.glob("*.py"))]
    assert repeated([*paths, *sorted((ROOT / "train_scripts").glob("*.py"))], 6) == []


def test_the_search_for_repeated_lines_notices(tmp_path):
    lines = [f"    x{i} = f({i})" for i in range(6)]
    one, other = tmp_path / "a.py", tmp_path / "b.py"
    one.write_text("\n".join(["def one(a):", '    """One."""', *lines, "    return x0"]))
    other.write_text("\n".join(["import os", "def other(b):", "    # as above", *lines[:3], "", *lines[3:]]))
    assert repeated([one, other], 6) == ["a.py:3 = b.py:4"]
    assert repeated([one, other], 7) == []


def heavy_modules_after(code: str) -> list[str]:
    """Which heavy packages are loaded in a fresh process after `code`."""
    probe = f"import json, sys\n{code}\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]), file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stderr.splitlines()[-1])


@pytest.mark.parametrize(
    "code",
    [
        "import hf_zsar",
        "import hf_zsar.cli",
        "import hf_zsar.data; hf_zsar.data.load_class_names('kinetics400', display=True)",
        *[
            f"import contextlib, hf_zsar.cli\nwith contextlib.suppress(SystemExit): hf_zsar.cli.main({argv!r})"
            for argv in [["--help"], ["--version"], *([command, "--help"] for command in COMMANDS)]
        ],
    ],
)
def test_importing_and_asking_for_help_loads_nothing_heavy(code):
    assert heavy_modules_after(code) == []


def test_the_probe_notices_a_heavy_import():
    assert heavy_modules_after("import numpy") == ["numpy"]


def test_the_console_script_is_installed():
    from importlib.metadata import entry_points

    scripts = {script.name: script.value for script in entry_points(group="console_scripts")}
    assert scripts["hf-zsar"] == "hf_zsar.cli:main"
