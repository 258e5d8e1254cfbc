"""The code of an export: what it carries, and how much of it a stranger has to read."""

from __future__ import annotations

import ast
import io
import json
import tokenize
from pathlib import Path
from typing import Any

import pytest

from hf_zsar import METHODS, Descriptions, STDDProcessor
from hf_zsar.hub.exporting import add_code
from hf_zsar.pipeline_video_scoring import ELSEWHERE, VideoScoringPipeline
from hf_zsar.processing import descriptions
from hf_zsar.processing.clauses import PROMPT_GROUPS, Clauses
from tests.tiny_models import TINY, tiny_folder, tiny_model, tiny_processor


# Lines of code, without blank lines, comments and docstrings, in any export.
MOST = 3500
# What works only where the package is installed.
STAYS = {
    *("action_graph", "graph_clauses", "description_documents", "description_schemas", "text_files"),
    *(
        "video_download",
        "video_archives",
        "video_reader_files",
        "video_reader_streams",
        "video_windows",
        "video_bytes",
    ),
    *("bank_files", "bank_examples", "examples", "file_writing", "size_limits", "tensor_files", "starting"),
    *("adapters", "candidates", "distillation", "distributed", "pipeline_zero_shot_video_classification"),
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


def exported_code(method: str, folder: Path, variant: str | None = None, **options: str) -> dict[str, str]:
    fields = TINY[method].variants[variant] if variant else {}
    tiny_folder(method, folder, **fields)
    processor = tiny_processor(method)
    for name, value in options.items():
        setattr(processor.video_processor, name, value)
    add_code(folder, tiny_model(method, **fields), processor)
    return {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}


@pytest.mark.parametrize("method", METHODS)
def test_an_export_is_short_and_carries_what_it_uses(method: str, tmp_path: Path) -> None:
    code = exported_code(method, tmp_path)
    assert sum(map(code_lines, code.values())) <= MOST
    assert not STAYS & code.keys()
    others = {spec.name for spec in METHODS.values()} - {method}
    assert not {f"modeling_{other}" for other in others} & code.keys()
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert {pointer.split(".")[0] for pointer in config["auto_map"].values()} <= code.keys()


@pytest.mark.parametrize("encoder", ["siglip", "metaclip_2", "tipsv2", "xclip"])
@pytest.mark.parametrize("method", METHODS)
def test_an_export_on_another_encoder_is_short(method: str, encoder: str, tmp_path: Path) -> None:
    if encoder not in TINY[method].variants:
        pytest.skip(f"{method} does not stand on {encoder}")
    code = exported_code(method, tmp_path, encoder)
    assert sum(map(code_lines, code.values())) <= MOST, {name: code_lines(text) for name, text in code.items()}


@pytest.mark.parametrize("group", PROMPT_GROUPS)
def test_clauses_stand_for_the_graphs_that_stay_behind(group: str, tmp_path: Path, monkeypatch: Any) -> None:
    graph = {"objects": ["bike"], "sub_actions": ["mount", "pedal"], "clauses": {"oo": ["a bike has wheels"]}}
    processor = tiny_processor("stdd")
    processor.prompt_group, processor.descriptions = group, Descriptions.from_dict({"riding a bike": graph}, "graph")
    processor.save_pretrained(tmp_path)
    expected = processor.prepare_labels(["riding a bike", "surfing"])
    monkeypatch.setattr(descriptions, "part", lambda name: None)
    again = STDDProcessor.from_pretrained(tmp_path)
    assert isinstance(again.descriptions.for_label("riding a bike"), Clauses)
    found = again.prepare_labels(["riding a bike", "surfing"])
    assert all(found[name].tolist() == expected[name].tolist() for name in expected)


def test_options_that_need_the_package_say_so() -> None:
    classifier = VideoScoringPipeline(model=tiny_model("rest"), processor=tiny_processor("rest"))
    for name in ELSEWHERE:
        with pytest.raises(ValueError, match=f"'{name}' is not an option.* pip install hf-zsar"):
            classifier([], candidate_labels=["surfing", "cooking"], **{name: 1})


def test_samplers_of_official_code_travel_where_one_is_used(tmp_path: Path) -> None:
    assert code_lines(exported_code("rest", tmp_path / "time")["official_samplers"]) == 3
    code = exported_code("rest", tmp_path / "frames", sampling="slowfast")
    assert "def slowfast(" in code["official_samplers"]


def test_lines_are_counted_without_comments_and_docstrings() -> None:
    assert code_lines('"""A."""\n\n# b\nx = """c\nd"""\n\n\ndef f():\n    """E\n\n    F.\n    """\n    return\n') == 4
