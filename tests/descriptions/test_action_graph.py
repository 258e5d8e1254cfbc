"""The graph value and the prompts derived from it (card of STDD, S6 and S7)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_zsar.processing.action_graph import ActionGraph, tidy_clause
from hf_zsar.processing.clauses import PROMPT_GROUPS
from hf_zsar.processing.graph_clauses import gerund, verbalize
from hf_zsar.processing.processing_stdd import graph_prompts


ORANGE = ActionGraph.from_dict(
    "peeling an orange",
    {
        "objects": ["peel", "fruit", "fingers"],
        "sub_actions": ["pierce the peel", "pull it away"],
        "relations": {
            "object_object": [["peel", "separated from", "fruit"]],
            "action_object": [["peeling an orange", "requires", "fingers"]],
            "sub_action_sub_action": [["pierce the peel", "precedes", "pull it away"]],
        },
    },
)


def test_worked_example():
    assert ORANGE.clause_list("xoo") == ["where the peel is separated from the fruit"]
    assert ORANGE.clause_list("xao") == ["which requires fingers"]
    assert ORANGE.clause_list("xaa") == ["where piercing the peel comes before pulling it away"]
    assert ORANGE.clause_list("xmix") == sum((ORANGE.clause_list(g) for g in ("xoo", "xao", "xaa")), [])
    assert ORANGE.clause_list("a") == []


def test_prompts_of_the_worked_example():
    prompts = graph_prompts("peeling an orange", ORANGE.clause_list(), ["a human action of {}.", "The man is {}."])
    assert prompts[1] == [
        "The man is peeling an orange.",
        "The man is peeling an orange, where the peel is separated from the fruit.",
        "The man is peeling an orange, which requires fingers.",
        "The man is peeling an orange, where piercing the peel comes before pulling it away.",
    ]
    assert [text.replace("a human action of", "The man is") for text in prompts[0]] == prompts[1]


def test_order_is_label_oo_ao_aa_and_the_first_occurrence_wins():
    graph = ActionGraph.from_dict("x", {"aa": ["same", "last"], "oo": ["first", "same"], "ao": ["middle", "first"]})
    assert graph.clause_list() == ["first", "same", "middle", "last"]
    assert graph_prompts("x", ["a", "b", "a"], ["{}"]) == [["x", "x, a", "x, b"]]


def test_unknown_group():
    with pytest.raises(ValueError, match="xmix, xoo, xao, xaa, a"):
        ORANGE.clause_list("xyz")


@pytest.mark.parametrize(
    ("triple", "kind", "clause"),
    [
        (("arrow", "on", "string"), "oo", "where the arrow is on the string"),
        (("hands", "around", "rope"), "oo", "where the hands are around the rope"),
        (("hat", "worn by", "his head"), "oo", "where the hat is worn by his head"),
        (("horse", "pulls", "cart"), "oo", "where the horse pulls the cart"),
        (("surfing", "takes place on", "waves"), "ao", "which takes place on the waves"),
        (("surfing", "requires", "surfboard"), "ao", "which requires the surfboard"),
        (("surfing", "starts with", "paddle out"), "aa", "starting with paddling out"),
        (("stand up", "follows", "paddle out"), "aa", "where standing up comes after paddling out"),
        (("crouch", "leads to", "the board turning"), "aa", "where crouching leads to the board turning"),
    ],
)
def test_verbalize(triple, kind, clause):
    assert verbalize(triple, kind) == clause


@pytest.mark.parametrize(
    ("verb", "form"),
    [
        *[("lift", "lifting"), ("put", "putting"), ("pour", "pouring"), ("open", "opening"), ("tie", "tying")],
        *[("see", "seeing"), ("bow", "bowing"), ("mix", "mixing"), ("swing", "swinging"), ("begin", "beginning")],
        *[
            ("control", "controlling"),
            ("visit", "visiting"),
            ("look", "looking"),
            ("dance", "dancing"),
            ("be", "being"),
        ],
        *[
            ("pull it away", "pulling it away"),
            ("peeling it", "peeling it"),
            ("the wheel turning", "the wheel turning"),
        ],
    ],
)
def test_gerund(verb, form):
    assert gerund(verb) == form


def test_concepts_without_relations_imply_them():
    graph = ActionGraph("archery", objects=("bow",), sub_actions=("draw the bow", "let go"))
    assert graph.clause_list() == [
        "which involves the bow",
        "starting with drawing the bow",
        "where drawing the bow comes before letting go",
    ]
    assert graph.with_clauses().clauses["ao"] == ("which involves the bow",)


def test_given_clauses_replace_derived_ones_even_when_there_are_none():
    graph = ActionGraph.from_dict("archery", {"objects": ["bow"], "clauses": {"ao": []}})
    assert graph.clause_list("xao") == []


@pytest.mark.parametrize(
    "text",
    ["where it flies.", " , where it flies", '"where it flies"', "This is an example of archery, where it flies."],
)
def test_tidy_clause(text):
    assert tidy_clause(text) == "where it flies"


@given(
    label=st.text(min_size=1, max_size=10),
    clauses=st.lists(st.text(min_size=1, max_size=8), max_size=8),
    templates=st.lists(st.sampled_from(["{}", "a video of {}.", "{}!", "{braces} {}"]), min_size=1, max_size=3),
)
def test_prompts_are_distinct_complete_and_start_with_the_label(label, clauses, templates):
    for template, prompts in zip(templates, graph_prompts(label, clauses, templates), strict=True):
        assert prompts[0] == template.replace("{}", label)
        assert len(set(prompts)) == len(prompts)
        assert set(prompts[1:]) == {template.replace("{}", f"{label}, {clause}") for clause in clauses}


def test_clauses_of_a_written_out_graph_are_those_that_were_derived():
    for group in PROMPT_GROUPS:
        assert ORANGE.with_clauses().clause_list(group) == ORANGE.clause_list(group)
