"""The three-file YAML layout, with the quirks of the released data (card of STDD, S6). All content here is ours."""

from __future__ import annotations

import pytest

from hf_zsar.descriptions import import_stdd_yaml
from hf_zsar.descriptions.stdd_yaml import align
from hf_zsar.processing.descriptions import DescriptionError, Descriptions


GRAPHS = """\
peeling an orange:
  label: peeling an orange
  obj_en_li: [peel, fruit, fingers]
  obj_rel_triples: ["<peel, separated from, fruit>", [peel, fruit]]
  act_obj_triples:
  - <peeling an orange, requires, fingers>
  - [peeling an orange, requires, a knife, or fingers]
  - loose words
  sub_act_en_li: [pierce the peel, pull it away]
  act_rel_triples:
  - <peeling an orange, starts with, pierce the peel>
  - <pierce the peel, precedes, pull it away>
falling to the floor:
  label: falling
  obj_en_li: [floor]
  obj_rel_triples: []
  act_obj_triples: []
  sub_act_en_li: [on, off]
  act_rel_triples: []
"""
CLAUSES = """\
Peeling An Orange:
  label: peeling an orange
  xprompt_oo: [where the peel comes off the fruit]
  xprompt_ao: ["which requires fingers.", which requires fingers]
  xprompt_aa: []
fall_floor:
  label: fall floor
  xprompt_oo: []
  xprompt_ao: [which ends on the floor]
  xprompt_aa: [starting with losing balance]
"""
LABELS = """\
classes: [fall floor, peeling an orange]
templates: ["a human action of {}.", "The man is {}."]
obj_templates: ["a photo of {}."]
"""


@pytest.fixture
def folder(tmp_path):
    for name, text in (
        ("classes_ASKG_x.yml", GRAPHS),
        ("classes_xprompt_x.yml", CLAUSES),
        ("classes_label_x.yml", LABELS),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_all_three_files(folder):
    result = import_stdd_yaml([folder], dataset="x")
    known = result.descriptions
    assert list(known) == ["fall floor", "peeling an orange"]
    assert result.templates == ["a human action of {}.", "The man is {}."]
    orange = known.for_label("peeling an orange")
    assert orange.objects == ("peel", "fruit", "fingers")
    assert orange.relations["oo"] == (("peel", "separated from", "fruit"), ("peel", "is seen with", "fruit"))
    assert orange.relations["ao"][1] == ("peeling an orange", "requires", "a knife, or fingers")
    assert orange.clauses == {
        "oo": ("where the peel comes off the fruit",),
        "ao": ("which requires fingers",),
        "aa": (),
    }
    floor = known.for_label("FallFloor")
    assert floor.sub_actions == ("on", "off")
    assert floor.clause_list() == ["which ends on the floor", "starting with losing balance"]
    assert known.generator == {"kind": "import", "name": "stdd-yaml"}
    assert result.remarks == ["peeling an orange: 'loose words' is not a relation and was left out"]


def test_saved_and_loaded_again(folder, tmp_path):
    known = import_stdd_yaml([folder]).descriptions
    known.save(tmp_path / "graph.json")
    assert Descriptions.load(tmp_path / "graph.json", "graph") == known


def test_graphs_without_clauses_are_put_into_words(folder):
    orange = import_stdd_yaml([folder / "classes_ASKG_x.yml"]).descriptions.for_label("peeling an orange")
    assert "where the peel is separated from the fruit" in orange.clauses["oo"]
    assert "starting with piercing the peel" in orange.clauses["aa"]


def test_clauses_without_graphs(folder):
    known = import_stdd_yaml([folder / "classes_xprompt_x.yml"]).descriptions
    assert list(known) == ["Peeling An Orange", "fall_floor"]
    assert known.for_label("fall floor").clause_list("xao") == ["which ends on the floor"]


def test_names_go_before_positions_and_positions_fill_the_rest():
    remarks = []
    entries = {"Hand Stand Pushups": 1, "swing it": 2, "waving": 3}
    assert align(["wave", "HandstandPushups", "swing it"], {"wave": 1, "x": 2, "swing it": 3}, "f", remarks) == {
        "wave": 1,
        "HandstandPushups": 2,
        "swing it": 3,
    }
    assert remarks == ["f: 'HandstandPushups' is paired with 'x' by position"]
    assert align(["HandstandPushups", "swing it", "wave"], entries, "f", []) == {
        "HandstandPushups": 1,
        "swing it": 2,
        "wave": 3,
    }


def test_aliases_are_known():
    assert align(["jump", "fall floor"], {"falling to the floor": 1, "jump": 2}, "f", []) == {
        "jump": 2,
        "fall floor": 1,
    }


@pytest.mark.parametrize(("labels", "entries"), [(["a", "b"], {"a": 1}), (["a", "b"], {"b": 1, "c": 2}), (["a"], {})])
def test_labels_that_nothing_fits(labels, entries):
    with pytest.raises(DescriptionError, match="no entry for the class .* by name or by position"):
        align(labels, entries, "f", [])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1", "is not YAML"),
        ("a: {obj_en_li: [x]}\na: {obj_en_li: [y]}\n", "the key 'a' appears twice"),
        ("just text", "neither a graph file"),
        ("!!python/object/apply:os.getcwd []", "is not YAML|neither a graph file"),
    ],
)
def test_unusable_files(tmp_path, text, says):
    (tmp_path / "f.yml").write_text(text, encoding="utf-8")
    with pytest.raises(DescriptionError, match=says):
        import_stdd_yaml([tmp_path / "f.yml"])


def test_two_files_of_one_kind_and_no_file(folder, tmp_path):
    (folder / "classes_ASKG_y.yml").write_text(GRAPHS, encoding="utf-8")
    with pytest.raises(DescriptionError, match="one data set at a time"):
        import_stdd_yaml([folder])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DescriptionError, match="no .yml file"):
        import_stdd_yaml([tmp_path / "empty"])
    with pytest.raises(DescriptionError, match="No graph .* and no prompt file"):
        import_stdd_yaml([folder / "classes_label_x.yml"])
