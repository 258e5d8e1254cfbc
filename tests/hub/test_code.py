"""The code of an export: what it carries, and how much of it a stranger has to read."""

from __future__ import annotations

import ast
import io
import json
import tokenize
from pathlib import Path

import pytest

from hf_zsar import METHODS
from hf_zsar.hub.exporting import add_code
from tests.tiny_models import tiny_folder, tiny_model, tiny_processor


# Lines of code, without blank lines, comments and docstrings, in any export.
MOST = 3800
# What works only where the package is installed.
STAYS = {
    *("action_graph", "description_documents", "description_schemas", "graph_clauses", "text_files"),
    *("video_download", "video_archives", "video_reader_files", "video_reader_streams", "video_windows"),
    *("bank_files", "bank_examples", "examples", "file_writing", "size_limits", "tensor_files", "starting"),
}


def code_lines(source: str) -> int:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    skipped: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            skipped.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    blank = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    kept: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in blank:
            kept.update(range(token.start[0], token.end[0] + 1))
    return len(kept - skipped)


def exported_code(method: str, folder: Path, **options: str) -> dict[str, str]:
    tiny_folder(method, folder)
    processor = tiny_processor(method)
    for name, value in options.items():
        setattr(processor.video_processor, name, value)
    add_code(folder, tiny_model(method), processor)
    return {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}


@pytest.mark.parametrize("method", METHODS)
def test_an_export_is_short_and_carries_what_it_uses(method: str, tmp_path: Path) -> None:
    code = exported_code(method, tmp_path)
    assert sum(map(code_lines, code.values())) <= MOST
    assert STAYS & code.keys() == ({"action_graph"} if method == "stdd" else set())
    others = {spec.name for spec in METHODS.values()} - {method}
    assert not {f"modeling_{other}" for other in others} & code.keys()
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert {pointer.split(".")[0] for pointer in config["auto_map"].values()} <= code.keys()


def test_samplers_of_official_code_travel_where_one_is_used(tmp_path: Path) -> None:
    assert code_lines(exported_code("rest", tmp_path / "time")["official_samplers"]) == 3
    code = exported_code("rest", tmp_path / "frames", sampling="slowfast")
    assert "def slowfast(" in code["official_samplers"]


def test_lines_are_counted_without_comments_and_docstrings() -> None:
    assert code_lines('"""A."""\n\n# b\nx = """c\nd"""\n\n\ndef f():\n    """E\n\n    F.\n    """\n    return\n') == 4
