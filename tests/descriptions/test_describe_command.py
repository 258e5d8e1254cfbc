"""`hf-zsar describe`, from texts to files that the methods read."""

from __future__ import annotations

import json

import pytest
import yaml

from hf_zsar.cli import main
from hf_zsar.descriptions.language_model import plain_prompt
from hf_zsar.descriptions.llm_graphs import graph_messages
from hf_zsar.processing.descriptions import Descriptions
from tests.descriptions.tiny_language_models import tiny_causal_model, tiny_tokenizer


@pytest.fixture
def texts_file(tmp_path, texts):
    path = tmp_path / "texts.json"
    path.write_text(json.dumps(texts), encoding="utf-8")
    return path


def run(*arguments):
    return main(["describe", *map(str, arguments)])


def test_graph_and_picture_from_texts(tmp_path, texts_file, texts, graphs, capsys):
    pytest.importorskip("networkx")
    pytest.importorskip("matplotlib")
    out, picture = tmp_path / "graph.json", tmp_path / "g.png"
    assert (
        run("--kind", "graph", "--texts", texts_file, "--out", out, "--draw", picture, "--draw-label", "Surfing") == 0
    )
    known = Descriptions.load(out, "graph")
    assert list(known) == list(texts)
    assert all(known.for_label(label) == graphs.for_label(label) for label in texts)
    assert known.generator["created"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().err
    assert f"{out}: {len(texts)} classes, " in said and "clauses each" in said and f"{picture}: Surfing" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.png", "graph.json", "texts.json"]


def test_attributes_of_chosen_labels(tmp_path, texts_file, capsys):
    out = tmp_path / "attributes.json"
    labels = ["archery", "WalkingADog", "flying a kite"]
    command = ["--kind", "attributes", "--texts", texts_file, "--out", out, "--num-attributes", 4]
    assert run(*command, "--labels", *labels) == 0
    known = Descriptions.load(out, "attributes")
    assert list(known) == labels and known.num_attributes == 4
    assert len(known.for_label("archery")) == len(known.for_label("walking a dog")) == 4
    assert known.for_label("flying a kite") == ("kite",)
    assert "1 classes have fewer than 4 attributes: flying a kite" in capsys.readouterr().err


def test_labels_from_a_file_and_a_preset(tmp_path):
    (tmp_path / "labels.csv").write_text("id,name\n0,ApplyEyeMakeup\n1,Archery\n")
    out = tmp_path / "a.json"
    assert run("--kind", "graph", "--labels-file", tmp_path / "labels.csv", "--out", out) == 0
    assert list(Descriptions.load(out)) == ["ApplyEyeMakeup", "Archery"]
    assert run("--kind", "attributes", "--preset", "hmdb51", "--out", out) == 0
    known = Descriptions.load(out)
    assert len(known) == 51 and known.dataset == "hmdb51" and known.generator["grounded"] is False


def test_scorer(tmp_path, texts_file):
    pytest.importorskip("yake")
    out = tmp_path / "a.json"
    assert (
        run("--kind", "attributes", "--texts", texts_file, "--labels", "archery", "--scorer", "yake", "--out", out)
        == 0
    )
    assert Descriptions.load(out).generator["name"] == "yake"


def test_language_model_with_cache(tmp_path, texts_file, monkeypatch):
    from hf_zsar.descriptions import LanguageModel

    asked = []

    def of(llm, device=None, revision=None):
        if isinstance(llm, LanguageModel):
            return llm

        def answer(messages, limit):
            asked.append((llm, device, revision))
            return '["bow", "arrow", "target", "string", "quiver", "glove", "field", "hay"]'

        return LanguageModel(llm, answer, revision)

    monkeypatch.setattr(LanguageModel, "of", of)
    out = tmp_path / "a.json"
    command = ["--kind", "attributes", "--labels", "archery", "--out", out, "--llm", "some/model"]
    command += ["--llm-revision", "main", "--device", "cpu"]
    assert run(*command) == 0
    assert asked == [("some/model", "cpu", "main")]
    assert (tmp_path / "a.json.cache.jsonl").exists()
    assert Descriptions.load(out).generator["model"] == "some/model"
    assert run(*command) == 0 and len(asked) == 1
    assert run(*command, "--cache", tmp_path / "other.jsonl") == 0 and len(asked) == 2
    assert (tmp_path / "other.jsonl").exists()


def test_real_random_model_by_folder(tmp_path, texts_file, texts):
    # One token per byte: room for the question and a short answer.
    question = plain_prompt(graph_messages("archery", [texts["archery"]]))
    tiny_causal_model(positions=len(question) + 60).save_pretrained(tmp_path / "lm")
    tiny_tokenizer().save_pretrained(tmp_path / "lm")
    out = tmp_path / "g.json"
    command = ["--kind", "graph", "--texts", texts_file, "--labels", "archery", "--out", out]
    assert run(*command, "--llm", tmp_path / "lm", "--device", "cpu") == 0
    known = Descriptions.load(out, "graph")
    assert known.classes["archery"].meta["made_by"] == "spacy" and known.generator["kind"] == "llm"


def test_import_of_yaml_and_json(tmp_path, capsys):
    (tmp_path / "p.yml").write_text(
        yaml.safe_dump({"waving": {"xprompt_oo": [], "xprompt_ao": ["which needs a hand"]}})
    )
    out = tmp_path / "g.json"
    assert run("--kind", "graph", "--import-from", tmp_path / "p.yml", "--labels", "wave", "--out", out) == 0
    assert "note: prompt file: 'wave' is paired with 'waving' by position" in capsys.readouterr().err
    assert Descriptions.load(out).for_label("wave").clause_list() == ["which needs a hand"]
    (tmp_path / "short.json").write_text('{"archery": ["1. Bow", "Bow"]}')
    assert run("--kind", "attributes", "--import-from", tmp_path / "short.json", "--out", out) == 0
    assert Descriptions.load(out, "attributes").for_label("archery") == ("bow",)


# -- checking ------------------------------------------------------------------------------------------------------


def test_validate_a_good_file(tmp_path, attributes, capsys):
    attributes.save(tmp_path / "a.json")
    assert run("--validate", tmp_path / "a.json", "--labels", "archery", "Surfing") == 0
    said = capsys.readouterr().out
    assert f"a.json: {len(attributes)} classes, 5 to 8 attributes each" in said
    assert f"note: {len(attributes) - 2} entries that no label asks for" in said
    assert "error" not in said


@pytest.mark.parametrize(
    ("document", "arguments", "code", "says"),
    [
        ({"archery": ["bow"]}, ["--labels", "archery", "running"], 1, "error: no entry for the label 'running'"),
        ({"HighJump": ["bar"], "high_jump": ["mat"]}, ["--labels", "high jump"], 1, "fits several entries"),
        (
            {"schema": "hf_zsar/description-attributes/1", "classes": {"archery": {"attributes": ["bow"]}}},
            ["--kind", "graph"],
            2,
            "of kind 'attributes' but the method reads 'graph'",
        ),
        ({"archery": "bow"}, [], 2, 'write ["bow"]'),
        ({"archery": []}, [], 0, "note: 1 classes are known by their name alone: archery"),
        (
            {"schema": "hf_zsar/description-attributes/1", "classes": {"archery": {"attributes": ["bow", "bow"]}}},
            [],
            0,
            "note: repaired when loaded: classes.archery.attributes[1]",
        ),
    ],
)
def test_validate_findings(tmp_path, capsys, document, arguments, code, says):
    (tmp_path / "f.json").write_text(json.dumps(document))
    assert run("--validate", tmp_path / "f.json", *arguments) == code
    assert says in capsys.readouterr().out


def test_validate_measures_texts_with_a_tokenizer(tmp_path, capsys):
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")  # one token per byte
    (tmp_path / "a.json").write_text(json.dumps({"short": ["bow"], "long": ["word " * 8, "thing " * 8]}))
    assert run("--validate", tmp_path / "a.json", "--tokenizer", tmp_path / "tokenizer") == 0
    assert "note: 1 classes have texts over 77 tokens, which get cut: long" in capsys.readouterr().out
    (tmp_path / "g.json").write_text(json.dumps({"x": {"oo": ["where " + "a long way " * 9]}, "y": {"oo": ["where"]}}))
    assert run("--validate", tmp_path / "g.json", "--tokenizer", tmp_path / "tokenizer") == 0
    assert "which get cut: x\n" in capsys.readouterr().out


def test_validate_and_draw(tmp_path, graphs):
    pytest.importorskip("networkx")
    graphs.save(tmp_path / "g.json")
    assert run("--validate", tmp_path / "g.json", "--draw", tmp_path / "g.svg", "--draw-label", "surfing") == 0
    assert b"<svg" in (tmp_path / "g.svg").read_bytes()


def test_schema_is_printed(capsys):
    assert run("--kind", "graph", "--schema") == 0
    assert json.loads(capsys.readouterr().out)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


# -- wrong usage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--kind graph or --kind attributes"),
        (["--kind", "graph"], "give --out FILE"),
        (["--kind", "graph", "--out", "g.json"], "no labels"),
        (["--kind", "attributes", "--out", "a.json", "--labels", "x", "--draw", "g.png"], "needs --kind graph"),
        (["--kind", "graph", "--out", "none/g.json", "--labels", "x"], "there is no folder"),
        (["--kind", "graph", "--out", "g.json", "--texts", "none.json"], "none.json: cannot be read"),
        (["--kind", "attributes", "--out", "a.json", "--import-from", "x.yml"], "YAML files hold graphs"),
        (["--kind", "graph", "--out", "g.json", "--labels", "x", "--draw", "g.png", "--draw-label", "y"], "label 'y'"),
        (["--kind", "graph", "--out", "g.json", "--labels", "x", "--draw", "g.xyz"], "xyz"),
    ],
)
def test_wrong_usage_is_one_line_and_writes_nothing_half(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("hf-zsar describe: ") and says in said
    assert {path.name for path in tmp_path.iterdir()} <= {"g.json"}


def test_a_pipeline_that_is_not_there_is_one_line(texts_file, tmp_path, capsys):
    out = tmp_path / "g.json"
    for kind in ("graph", "attributes"):
        assert run("--kind", kind, "--texts", texts_file, "--out", out, "--pipeline", "en_of_nobody") == 2
        assert "no spaCy pipeline 'en_of_nobody'" in capsys.readouterr().err
    assert not out.exists()
