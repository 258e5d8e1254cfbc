"""What language models answer, well-formed or not."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_zsar.descriptions.replies import parse_attributes, parse_clauses, parse_graph, parse_mapping, parse_triple


@pytest.mark.parametrize(
    "reply",
    [
        '["bow", "arrow", "target"]',
        'Sure! Here you go:\n```json\n["Bow", "arrow.", "target"]\n```\nAnything else?',
        "['bow', 'arrow', 'target']",
        "1. bow\n2) Arrow\n3. target",
        "- bow\n- arrow\n* target",
        "bow, arrow, target",
        "Keywords: bow, arrow, target",
        '<think>["no", "no"]</think>["bow", "arrow", "target"]',
        '["bow", "arrow", "target", "a cut-off wo',
        '["bow", "arrow", "target"',
        'I think [1] of ["bow", "arrow", "target"]',
        '["bow", "arrow", "target", "a whole sentence that is much too long to be one"]',
    ],
)
def test_parse_attributes(reply):
    assert parse_attributes(reply) == ["bow", "arrow", "target"]


@pytest.mark.parametrize("reply", ["", "   ", "I cannot help with that", "[]", "[", "<think>still thinking about it"])
def test_nothing_usable_gives_nothing(reply):
    assert parse_attributes(reply) == []


GRAPH = """\
archery:
  objects: [bow, arrow]
  object_relations:
  - [arrow, on, string]
  action_relations:
  - <archery, requires, bow>
  sub_actions:
  - draw the bow
  - let go
"""


@pytest.mark.parametrize(
    "reply",
    [
        GRAPH,
        f"Here is the graph:\n\n```yaml\n{GRAPH}```\nHope it helps.",
        f"```\n{GRAPH}",
        json.dumps(yaml.load(GRAPH, yaml.BaseLoader)),
        "```json\n" + json.dumps(yaml.load(GRAPH, yaml.BaseLoader)["archery"], indent=1) + "\n```",
        GRAPH.replace("objects:", "obj_en_li:").replace("object_relations", "obj_rel_triples"),
        GRAPH + "  note: [unfinished, list",
        "<think>hm\nobjects: [nothing]</think>\n" + GRAPH,
    ],
)
def test_parse_graph(reply):
    graph = parse_graph(reply, "archery")
    assert graph.objects == ("bow", "arrow")
    assert graph.sub_actions == ("draw the bow", "let go")
    assert graph.relations == {"oo": (("arrow", "on", "string"),), "ao": (("archery", "requires", "bow"),)}


def test_reply_that_was_cut_off_gives_what_stands_before_the_cut():
    cut = GRAPH[: GRAPH.index("requires")]
    graph = parse_graph(cut, "archery")
    assert graph.objects == ("bow", "arrow") and graph.relations["oo"]


@pytest.mark.parametrize(
    "reply",
    ["", "no", "archery: bow", "a: [b]", "- x\n- y", "{" * 50, "objects: []\nsub_actions: []", "a: &x {b: *x}"],
)
def test_no_graph(reply):
    assert parse_graph(reply, "archery") is None


@pytest.mark.parametrize(
    ("item", "triple"),
    [
        ("<arrow, on, string>", ("arrow", "on", "string")),
        ("(arrow, is on, the string)", ("arrow", "is on", "the string")),
        ("arrow | on | string", ("arrow", "on", "string")),
        (["arrow", "on", "string"], ("arrow", "on", "string")),
        ({"subject": "arrow", "relation": "on", "object": "string"}, ("arrow", "on", "string")),
        (["arrow", "string"], ("arrow", "is seen with", "string")),
        ("<knife, cuts, bread, butter>", ("knife", "cuts", "bread, butter")),
        ("arrow", None),
        (["arrow", "", "string"], None),
        ([], None),
        (3, None),
        (None, None),
    ],
)
def test_parse_triple(item, triple):
    assert parse_triple(item, "oo") == triple


def test_parse_clauses_wants_one_per_relation():
    first = "oo:\n- where it is\n- This is an example of archery, where it flies.\n"
    reply = f"```yaml\nooo:\n{first}ao: [which is]\naa:\n  1: a\n  2: b\n```"
    assert parse_clauses(reply, {"oo": 2, "ao": 2, "aa": 2}) == {
        "oo": ("where it is", "where it flies"),
        "aa": ("a", "b"),
    }
    assert parse_clauses("archery:\n  oo: [x]", {"oo": 1, "ao": 0}) == {"oo": ("x",)}
    assert parse_clauses("nonsense", {"oo": 1}) == {}


ATTRIBUTE = st.from_regex(r"[a-z]{2,8}( [a-z]{2,8})?", fullmatch=True)


@given(
    st.lists(ATTRIBUTE, min_size=1, max_size=8, unique=True),
    st.sampled_from(["{}", "Sure:\n{}", "```json\n{}\n```", "{} done"]),
)
def test_any_json_array_is_read_back(attributes, frame):
    assert parse_attributes(frame.format(json.dumps(attributes))) == attributes


@given(st.lists(ATTRIBUTE, min_size=2, max_size=8, unique=True), st.integers(0, 12))
def test_cut_arrays_give_complete_items_only(attributes, cut):
    text = json.dumps(attributes)
    found = parse_attributes(text[: len(text) - cut])
    assert set(found) <= set(attributes)


PIECES = st.sampled_from(
    [
        *("[", "]", "{", "}", '"', "'", ":", "- ", "\n", "\n  ", ",", "```", "```yaml\n", "objects", "oo", "a", "1."),
        *("&x ", "*x", "!!python/name:os.system ", "sub_actions: ", "<think>", "</think>", "<a, b, c>", "? ", "| "),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join) | st.text(max_size=60))
def test_no_reply_raises(reply):
    for attribute in parse_attributes(reply):
        assert attribute and len(attribute.split()) <= 6
    data = parse_mapping(reply)
    assert data is None or isinstance(data, dict)
    graph = parse_graph(reply, "archery")
    assert graph is None or graph.objects or graph.sub_actions
    parse_clauses(reply, {"oo": 1, "ao": 2, "aa": 3})


def test_endless_replies_are_cut():
    assert len(parse_attributes("[" + '"word one", ' * 100_000)) == 1
