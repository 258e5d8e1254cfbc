"""Labels and action graphs to the prompts of STDD (card of STDD, S7)."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_zsar import Descriptions, STDDProcessor
from hf_zsar.processing.description_schemas import DescriptionError
from hf_zsar.processing.processing_stdd import AUGMENTED_TEMPLATES, BASE_TEMPLATES
from tests.tiny_models import tiny_processor


GRAPHS = {
    "peeling an orange": {
        "clauses": {
            "oo": ["where the peel leaves the fruit"],
            "ao": ["which requires fingers", "where the peel leaves the fruit"],
            "aa": ["starting with a cut"],
        }
    },
    "surfing": {"clauses": {"ao": ["which needs a wave"], "aa": []}},
}
CLAUSES = ["where the peel leaves the fruit", "which requires fingers", "starting with a cut"]


def prompts_of(labels, templates=("<{}>",), descriptions=GRAPHS, **options):
    processor = tiny_processor("stdd", **options)
    return processor.build_prompts(labels, templates, processor.read_descriptions(descriptions))


def test_prompts_are_template_major_and_each_once():
    (prompts,) = prompts_of(["peeling an orange"], ["a {}.", "b {}!"])
    texts = ["peeling an orange", *(f"peeling an orange, {clause}" for clause in CLAUSES)]
    assert prompts == [f"a {text}." for text in texts] + [f"b {text}!" for text in texts]


@pytest.mark.parametrize(
    ("group", "clauses"),
    [("xmix", CLAUSES), ("xoo", CLAUSES[:1]), ("xao", CLAUSES[1::-1]), ("xaa", CLAUSES[2:]), ("a", [])],
)
def test_prompt_groups(group, clauses):
    (prompts,) = prompts_of(["peeling an orange"], ["{}"], prompt_group=group)
    assert prompts == ["peeling an orange", *(f"peeling an orange, {clause}" for clause in clauses)]


def test_masked_padding_leaves_lists_ragged():
    prompts = prompts_of(["peeling an orange", "surfing", "waving"], ["a {}", "b {}"])
    assert [len(of_label) for of_label in prompts] == [8, 4, 2]
    index = tiny_processor("stdd").index_prompts(prompts)["prompt_index"]
    assert index.shape == (3, 8)
    assert (index >= 0).sum(1).tolist() == [8, 4, 2]


def test_cyclic_padding_repeats_each_list_within_its_template():
    prompts = prompts_of(["peeling an orange", "surfing", "waving"], ["a {}", "b {}"], prompt_padding="cycle")
    surfing = ["surfing", "surfing, which needs a wave"] * 2
    assert prompts[1] == [f"a {text}" for text in surfing] + [f"b {text}" for text in surfing]
    assert prompts[2] == ["a waving"] * 4 + ["b waving"] * 4
    index = tiny_processor("stdd").index_prompts(prompts)
    assert (index["prompt_index"] >= 0).all()
    assert len(index["input_ids"]) == len({prompt for of_label in prompts for prompt in of_label})


@given(
    st.lists(
        st.lists(st.sampled_from(["which is fun", "which is hard", "where it rains"]), max_size=5),
        min_size=1,
        max_size=4,
    )
)
def test_both_paddings_hold_the_same_prompts(clauses):
    labels = [f"label {i}" for i in range(len(clauses))]
    given_clauses = {label: {"clauses": {"ao": of_label}} for label, of_label in zip(labels, clauses, strict=True)}
    masked, cycled = (
        prompts_of(labels, ["a {}", "b {}"], given_clauses, prompt_padding=padding) for padding in ("mask", "cycle")
    )
    assert [set(of_label) for of_label in masked] == [set(of_label) for of_label in cycled]
    assert all(len(set(of_label)) == len(of_label) for of_label in masked)
    assert len({len(of_label) for of_label in cycled}) == 1


def test_labels_without_a_graph_have_the_template_prompts_and_are_named(caplog):
    with caplog.at_level(logging.WARNING, logger="hf_zsar"):
        prompts = prompts_of(["surfing", "waving", "nodding"])
    assert prompts[1:] == [["<waving>"], ["<nodding>"]]
    assert "2 of 3 labels have no action graph" in caplog.text
    assert "waving, nodding" in caplog.text


def test_labels_find_their_graph_however_they_are_spelled():
    processor = tiny_processor("stdd", descriptions=GRAPHS)
    count = (processor.prepare_labels(["PeelingAnOrange", "Surfing"], templates="{}")["prompt_index"] >= 0).sum(1)
    assert count.tolist() == [4, 2]


@pytest.mark.parametrize("form", [["which needs a wave"], {"ao": ["which needs a wave"]}, GRAPHS["surfing"]])
def test_shorthands_for_clauses(form):
    (prompts,) = prompts_of(["surfing"], descriptions={"surfing": form})
    assert prompts == ["<surfing>", "<surfing, which needs a wave>"]


def test_descriptions_of_another_kind_are_refused():
    attributes = Descriptions.from_dict({"surfing": ["water", "board"]}, "attributes")
    with pytest.raises(DescriptionError, match="kind 'attributes' but the method reads 'graph'"):
        prompts_of(["surfing"], descriptions=attributes)
    with pytest.raises(DescriptionError, match="reads 'graph'"):
        tiny_processor("stdd", descriptions=attributes)


@pytest.mark.parametrize("option", [dict(prompt_group="all"), dict(prompt_padding="repeat")])
def test_unknown_options_are_refused(option):
    with pytest.raises(ValueError, match=f"{next(iter(option))} must be one of"):
        tiny_processor("stdd", **option)


def test_a_template_needs_one_place_for_the_label():
    with pytest.raises(ValueError, match="exactly one"):
        prompts_of(["surfing"], ["no place"])


def test_everything_is_saved_and_loaded(tmp_path):
    options = dict(prompt_group="xao", prompt_padding="cycle", prompt_templates=["{}", "a {}"])
    saved = tiny_processor("stdd", tmp_path, descriptions=GRAPHS, **options)
    loaded = STDDProcessor.from_pretrained(tmp_path)
    assert {name: getattr(loaded, name) for name in options} == options
    assert loaded.descriptions == saved.descriptions
    labels = ["surfing", "peeling an orange"]
    before, after = saved.prepare_labels(labels), loaded.prepare_labels(labels)
    assert all((before[name] == after[name]).all() for name in before)


def test_published_templates():
    assert len(AUGMENTED_TEMPLATES) == 8
    assert len(set(BASE_TEMPLATES)) == 28
    assert "a example of a person practicing {}." in BASE_TEMPLATES
    assert tiny_processor("stdd").prompt_templates == list(AUGMENTED_TEMPLATES)


def test_both_paddings_agree_where_all_labels_have_equally_many_prompts():
    graphs = {"surfing": ["which needs a wave"], "waving": ["which needs a hand"]}
    masked, cycled = (prompts_of(list(graphs), ["a {}", "b {}"], graphs, prompt_padding=p) for p in ("mask", "cycle"))
    assert masked == cycled
