"""The code that travels with a model: the files of its classes, and what those import from files beside them or from
this package's `modeling` and `processing`."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path


# An import of a file beside the importing one, or of a file of this package that may travel.
_TRAVELS = re.compile(r"^([ \t]*from )(hf_zsar\.(?:modeling|processing))?\.(\w+)(?= import\b)", re.MULTILINE)


class ExportError(RuntimeError):
    """A model that cannot be exported, or an export that does not behave like its model."""


def collect_code(classes: Iterable[type]) -> dict[str, str]:
    """Name -> source of every file that these classes need. All will lie in one folder, so they import each other as
    siblings there.

    Raises:
        ExportError: a class without a file, two different files of one name, or one that imports what stays behind.
    """
    found: dict[str, str] = {}
    waiting = [_file_of(cls) for cls in classes]
    origins: dict[str, Path] = {}
    while waiting:
        path = waiting.pop()
        if path.name in found and path == origins[path.name]:
            continue
        origins.setdefault(path.name, path)
        source = path.read_text(encoding="utf-8")
        code = _TRAVELS.sub(r"\1.\3", source)
        if found.setdefault(path.name, code) != code:
            raise ExportError(f"Two different code files are called {path.name}: they cannot lie in one folder.")
        for line in _left_behind(ast.parse(code)):
            raise ExportError(
                f"{path}: '{line}' names what an export does not carry: import from files beside it, from "
                "hf_zsar.modeling and from hf_zsar.processing."
            )
        for package, name in (match.group(2, 3) for match in _TRAVELS.finditer(source)):
            folder = Path(inspect.getfile(importlib.import_module(package))).parent if package else path.parent
            waiting.append(folder / f"{name}.py")
    return dict(sorted(found.items()))


def _left_behind(tree: ast.AST) -> Iterator[str]:
    """Imports of what does not travel, but for those that may fail."""
    for node in ast.iter_child_nodes(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            beside = node.level == 1 and node.module
            names = [] if beside else ["hf_zsar" if node.level else node.module or ""]
        if any(name.split(".")[0] == "hf_zsar" for name in names):
            yield ast.unparse(node)
        if not isinstance(node, ast.Try):
            yield from _left_behind(node)


def _file_of(cls: type) -> Path:
    try:
        return Path(inspect.getfile(cls))
    except (OSError, TypeError) as error:
        raise ExportError(f"{cls.__qualname__} is defined in no file: put it into one to export it.") from error
