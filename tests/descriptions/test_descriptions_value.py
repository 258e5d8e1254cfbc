"""`Descriptions`: loading rules, lookup, round trips, messages."""

from __future__ import annotations

import errno
import json
import os
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_zsar.processing.action_graph import ActionGraph, canonical_key
from hf_zsar.processing.description_documents import format_json, normalize_attribute
from hf_zsar.processing.descriptions import DescriptionError, Descriptions


def attributes(**classes):
    return Descriptions.from_dict(classes)


# -- rule 1 and 2: normalization, limit ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("  Fast\t Turn. ", "fast turn"),
        ("1. bow", "bow"),
        ("(2) arrow", "arrow"),
        ("- • target!", "target"),
        ('"raised arm",', "raised arm"),
        ("3d glasses", "3d glasses"),
        ("1.5 litre bottle", "1.5 litre bottle"),
        ("2 players", "2 players"),
        ("cafe\u0301", "caf\u00e9"),
        ("...", ""),
        ("-", ""),
    ],
)
def test_normalize_attribute(raw, clean):
    assert normalize_attribute(raw) == clean


@given(st.text(max_size=30))
def test_normalize_attribute_is_idempotent(text):
    once = normalize_attribute(text)
    assert normalize_attribute(once) == once
    assert once == once.strip()


def test_loading_normalizes_drops_and_limits(caplog):
    entry = {"attributes": ["Bow", "", "1. bow", "arrow"] + [f"thing {i}" for i in range(9)]}
    document = {"schema": "hf_zsar/description-attributes/1", "num_attributes": 3, "classes": {"archery": entry}}
    assert Descriptions.from_dict(document).for_label("archery") == ("bow", "arrow", "thing 0")
    assert "'archery' lists 11 attributes; the first 3 are kept" in caplog.text


def test_fewer_attributes_are_not_padded():
    assert attributes(archery=["bow"]).for_label("archery") == ("bow",)


# -- rule 3: lookup ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "key"),
    [
        ("HandstandPushups", "handstand pushups"),
        ("YoYo", "yo yo"),
        ("apply_eye-makeup", "apply eye makeup"),
        ("TVShow2Go", "tv show2 go"),
        ("play  ing/guitar ", "play ing guitar"),
    ],
)
def test_canonical_key(label, key):
    assert canonical_key(label) == key


def test_lookup_prefers_key_then_name_then_canonical_key():
    known = Descriptions.from_dict(
        {
            "schema": "hf_zsar/description-attributes/1",
            "classes": {
                "yo yo": {"attributes": ["by key"]},
                "toy": {"name": "Yo-Yo", "attributes": ["by name"]},
                "HandstandPushups": {"attributes": ["upside down"]},
            },
        }
    )
    assert known.for_label("yo yo") == ("by key",)
    assert known.for_label("Yo-Yo") == ("by name",)
    assert known.for_label("handstand_pushups") == ("upside down",)
    assert known.for_label("juggling") is None
    assert "handstand pushups" in known and "juggling" not in known
    assert known.missing(["yo yo", "juggling"]) == ["juggling"]


def test_ambiguous_label_is_an_error_that_names_the_candidates():
    known = attributes(HighJump=["bar"], high_jump=["mat"])
    assert known.for_label("HighJump") == ("bar",)
    with pytest.raises(DescriptionError, match="'high jump' fits several entries .*'HighJump', 'high_jump'"):
        known.for_label("high jump")


def test_select_keeps_the_order_asked_for():
    known = attributes(a=["1x"], b=["2x"], c=["3x"])
    assert list(known.select(["c", "nothing", "A"])) == ["c", "a"]


# -- rule 4: round trips -------------------------------------------------------------------------------------------

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
PHRASES = st.lists(WORDS, max_size=5)
META = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(0, 9),
        "name": WORDS,
        "descriptions": st.lists(st.builds(dict, text=WORDS), max_size=2),
    },
)
ATTRIBUTE_ENTRY = st.builds(lambda meta, value: {**meta, "attributes": value}, META, PHRASES)
TRIPLES = st.lists(st.lists(WORDS, min_size=3, max_size=3), max_size=3)
GRAPH_ENTRY = st.builds(
    lambda meta, parts: {**meta, **parts},
    META,
    st.fixed_dictionaries(
        {},
        optional={
            "objects": PHRASES,
            "sub_actions": PHRASES,
            "relations": st.fixed_dictionaries(
                {}, optional={"object_object": TRIPLES, "action_object": TRIPLES, "sub_action_sub_action": TRIPLES}
            ),
            "clauses": st.fixed_dictionaries({}, optional={"oo": PHRASES, "ao": PHRASES, "aa": PHRASES}),
        },
    ),
)


@settings(max_examples=80, deadline=None)
@given(
    kind=st.sampled_from(["attributes", "graph"]),
    data=st.data(),
    keys=st.lists(WORDS, min_size=1, max_size=4, unique=True),
)
def test_load_save_load_is_identical(tmp_path_factory, kind, data, keys):
    schema = {"attributes": "hf_zsar/description-attributes/1", "graph": "hf_zsar/action-graph/1"}[kind]
    entries = st.just(0).flatmap(lambda _: ATTRIBUTE_ENTRY if kind == "attributes" else GRAPH_ENTRY)
    document = {"schema": schema, "classes": {key: data.draw(entries) for key in keys}}
    first = Descriptions.from_dict(document)
    path = tmp_path_factory.mktemp("d") / "d.json"
    first.save(path)
    second = Descriptions.load(path)
    assert second == first
    assert list(second) == keys
    assert second.to_dict() == first.to_dict() == json.loads(path.read_text(encoding="utf-8"))
    assert second.fingerprint == first.fingerprint


def test_fingerprint_is_about_content():
    base = attributes(archery=["bow", "arrow"], running=["track"])
    document = base.to_dict()
    document["generator"] = {"kind": "llm", "model": "some/model"}
    document["classes"] = dict(reversed(document["classes"].items()))
    assert Descriptions.from_dict(document).fingerprint == base.fingerprint
    assert attributes(archery=["arrow", "bow"], running=["track"]).fingerprint != base.fingerprint
    assert attributes(archery=["bow", "arrow"]).fingerprint != base.fingerprint
    graph = Descriptions.from_dict({"archery": {"clauses": {"oo": ["where the arrow is on the string"]}}})
    other = Descriptions.from_dict({"archery": {"clauses": {"ao": ["where the arrow is on the string"]}}})
    assert graph.fingerprint != other.fingerprint


@given(
    st.recursive(st.integers() | st.text(max_size=5), lambda x: st.lists(x) | st.dictionaries(st.text(max_size=3), x))
)
def test_readable_json_is_the_same_json(value):
    assert json.loads(format_json(value)) == value


def test_lists_that_fit_stand_on_one_line():
    assert '"attributes": ["bow", "arrow"]' in format_json(attributes(archery=["bow", "arrow"]).to_dict())


# -- what is accepted, what is refused -----------------------------------------------------------------------------


def test_shorthands():
    assert attributes(archery=["Bow"]).kind == "attributes"
    clauses = {"oo": ["where the arrow is on the string"], "aa": ["starting with drawing the bow."]}
    by_group = Descriptions.from_dict({"archery": clauses})
    assert by_group.kind == "graph"
    assert by_group.for_label("archery").clauses == {
        "oo": ("where the arrow is on the string",),
        "aa": ("starting with drawing the bow",),
    }
    flat = Descriptions.of({"archery": ["where an arrow flies"]}, "graph")
    assert flat.for_label("Archery").clause_list() == ["where an arrow flies"]


def test_bike_attributes_per_video_are_refused_with_the_difference():
    per_video = {"archery/clip_1.mp4": {"kinetics_top5": ["bow", "arrow"]}}
    with pytest.raises(DescriptionError, match=r"per \*video\*.*per \*class\*.*hf-zsar describe --kind attributes"):
        Descriptions.from_dict(per_video)


def test_kind_is_checked():
    with pytest.raises(DescriptionError, match="of kind 'attributes' but the method reads 'graph'"):
        Descriptions.of({"archery": {"attributes": ["bow"]}}, None).require("graph")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "at line 1, column 2; correct it there"),
        ('{"a": ["x"], "a": ["y"]}', "the key 'a' appears twice"),
        ("[]", "expected a JSON object with an entry per label, found an empty list"),
        ('[{"word": "archery", "defn": "a sport"}]', "--texts FILE"),
        ('{"schema": "v2", "classes": {}}', "schema 'v2' is unknown"),
        ('{"archery": [1]}', "classes.archery.attributes[0]: expected a string"),
        ('{"archery": {"objets": ["bow"]}}', 'the field "attributes" is missing'),
        ("\xff", "not UTF-8"),
        ("[" * 100_000, "more than json_depth allows"),
    ],
)
def test_unusable_files_are_named_with_the_reason(tmp_path, text, says):
    path = tmp_path / "bad.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DescriptionError) as raised:
        Descriptions.load(path)
    assert "bad.json" in str(raised.value) and says in str(raised.value)


def test_missing_file(tmp_path):
    with pytest.raises(DescriptionError, match="none.json: cannot be read .*check the path"):
        Descriptions.load(tmp_path / "none.json")


def test_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "d.json"
    attributes(archery=["bow"]).save(path)
    before = path.read_bytes()

    def no_replace(*_):
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(os, "replace", no_replace)
    with pytest.raises(OSError, match="disk full"):
        attributes(archery=["arrow"]).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["d.json"]


def test_saved_file_is_readable_by_others(tmp_path):
    attributes(archery=["bow"]).save(tmp_path / "d.json")
    assert stat.S_IMODE((tmp_path / "d.json").stat().st_mode) & 0o044 == 0o044


def test_graph_entry_gives_a_graph():
    known = Descriptions.from_dict({"peeling an orange": {"objects": ["peel"], "sub_actions": ["pull it away"]}})
    graph = known.for_label("PeelingAnOrange")
    assert isinstance(graph, ActionGraph)
    assert graph.objects == ("peel",) and graph.action == "peeling an orange"
