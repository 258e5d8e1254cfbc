"""`hf-zsar models` and the table of its page."""

from __future__ import annotations

import json

from hf_zsar.cli import main
from hf_zsar.encoders import ENCODERS
from tests.conftest import REPO_ROOT


def test_the_list_is_complete_and_each_figure_has_its_source(capsys):
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    page = (REPO_ROOT / "modeling/README.md").read_text(encoding="utf-8")
    for spec in ENCODERS.values():
        assert (
            f"{spec.name}  [{spec.model_type}]" in printed
            and f"--model {spec.example}\n" * bool(spec.example) in printed
        )
        assert all(name in page for name in spec.name.split(", ")), f"the page does not name {spec.name}"
        assert not spec.figures or "(" in spec.figures, "a figure without its source"


def test_the_list_as_json(capsys):
    assert main(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["model_type"] for entry in listed] == list(ENCODERS)
    assert {"name", "license", "good_for", "figures", "example"} <= listed[0].keys()
    on = {entry["model_type"]: entry["methods"] for entry in listed}
    assert on["siglip"] == on["clip"] == ["actionclip", "dasti", "stdd"] and on["xclip"] == []
