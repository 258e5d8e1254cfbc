"""The schemas, and our validator: the same verdict as the jsonschema library, in words that help."""

from __future__ import annotations

import contextlib
import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_zsar.processing.description_schemas import ATTRIBUTES_SCHEMA, GRAPH_SCHEMA, SCHEMAS, check, iter_problems
from hf_zsar.processing.descriptions import DescriptionError


ATTRIBUTES = {
    "schema": "hf_zsar/description-attributes/1",
    "dataset": "ucf101",
    "language": "en",
    "num_attributes": 8,
    "generator": {"kind": "manual", "name": None, "params": {}, "created": "2026-01-31", "grounded": True},
    "classes": {
        "SalsaSpin": {
            "id": 76,
            "name": "salsa spin",
            "descriptions": [{"text": "A couple turns.", "source": "user", "license": "CC0-1.0"}],
            "attributes": ["partner dance", "fast turn"],
        }
    },
}
GRAPH = {
    "schema": "hf_zsar/action-graph/1",
    "generator": {"kind": "llm", "model": "some/model", "prompt": "..."},
    "classes": {
        "peeling an orange": {
            "objects": ["peel", "fruit"],
            "sub_actions": ["pierce the peel", "pull it away"],
            "relations": {"object_object": [["peel", "separated from", "fruit"]]},
            "clauses": {"ao": ["which requires fingers"]},
        }
    },
}
DOCUMENTS = {"attributes": ATTRIBUTES, "graph": GRAPH}


def changed(document, path, value):
    """A copy with the value at `path` replaced, or removed when `value` is `...`."""
    result = copy.deepcopy(document)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return result


@pytest.mark.parametrize("kind", SCHEMAS)
def test_examples_are_valid(kind):
    assert list(iter_problems(DOCUMENTS[kind], SCHEMAS[kind])) == []


SALSA = ["classes", "SalsaSpin"]
ORANGE = ["classes", "peeling an orange"]


@pytest.mark.parametrize(
    ("document", "path", "value", "where", "says"),
    [
        (ATTRIBUTES, ["schema"], "x", "schema", 'write "hf_zsar/description-attributes/1"'),
        (ATTRIBUTES, ["classes"], ..., "the document", 'add "classes"'),
        (ATTRIBUTES, ["classes"], {}, "classes", "add at least one class"),
        (ATTRIBUTES, ["datset"], "x", "the document", 'did you mean "dataset"?'),
        (ATTRIBUTES, ["num_attributes"], 0, "num_attributes", "use 1 or more"),
        (ATTRIBUTES, ["num_attributes"], True, "num_attributes", "found true or false"),
        (ATTRIBUTES, ["generator", "kind"], "gpt", "generator.kind", '"llm"'),
        (ATTRIBUTES, [*SALSA, "attributes"], "dance", "classes.SalsaSpin.attributes", 'write ["dance"]'),
        (ATTRIBUTES, [*SALSA, "attributes"], ["a", "b", "a"], "classes.SalsaSpin.attributes[2]", "repeats item 0"),
        (ATTRIBUTES, [*SALSA, "attributes"], ["a", ""], "classes.SalsaSpin.attributes[1]", "empty"),
        (ATTRIBUTES, [*SALSA, "attributes"], ["a", 3], "classes.SalsaSpin.attributes[1]", "expected a string"),
        (ATTRIBUTES, [*SALSA, "attributes"], ..., "classes.SalsaSpin", 'the field "attributes" is missing'),
        (ATTRIBUTES, [*SALSA, "descriptions"], [{}], "classes.SalsaSpin.descriptions[0]", 'add "text"'),
        (GRAPH, [*ORANGE, "object"], [], 'classes["peeling an orange"]', 'did you mean "objects"?'),
        (GRAPH, [*ORANGE, "clauses", "ox"], [], 'classes["peeling an orange"].clauses', "unknown field"),
        (
            GRAPH,
            [*ORANGE, "relations", "object_object"],
            [["peel", "fruit"]],
            'classes["peeling an orange"].relations.object_object[0]',
            "2 items instead of exactly 3",
        ),
    ],
)
def test_problem_says_where_what_and_what_to_do(document, path, value, where, says):
    schema = ATTRIBUTES_SCHEMA if document is ATTRIBUTES else GRAPH_SCHEMA
    problems = list(iter_problems(changed(document, path, value), schema))
    assert len(problems) == 1
    assert str(problems[0]).startswith(f"{where}: ")
    assert says in str(problems[0])


def test_check_lists_the_first_problems_and_counts_the_rest():
    bad = changed(ATTRIBUTES, [*SALSA, "attributes"], list(range(9)))
    with pytest.raises(DescriptionError) as raised:
        check(bad, ATTRIBUTES_SCHEMA, "file.json")
    lines = str(raised.value).splitlines()
    assert lines[0] == "file.json: 9 problems"
    assert len(lines) == 7 and lines[-1] == "- and 4 more"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 9)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "a", "b c", "llm"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["text", "kind", "oo", "x"]), inner),
    max_leaves=6,
)


def paths(value, prefix=()):
    """All places of a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield [*prefix, key]
        yield from paths(item, [*prefix, key])


@pytest.mark.parametrize("kind", SCHEMAS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_same_verdict_as_the_jsonschema_library(kind, data):
    jsonschema = pytest.importorskip("jsonschema")
    document = DOCUMENTS[kind]
    path = data.draw(st.sampled_from(list(paths(document))))
    if data.draw(st.booleans()) and isinstance(path[-1], str):
        path = [
            *path[:-1],
            data.draw(st.sampled_from(["name", "id", "objects", "clauses", "attributes", "schema", "zz"])),
        ]
    document = changed(document, path, data.draw(JSON))
    if data.draw(st.booleans()):
        with contextlib.suppress(KeyError, IndexError):
            document = changed(document, path, ...)
    valid = jsonschema.Draft202012Validator(SCHEMAS[kind]).is_valid(document)
    assert (not list(iter_problems(document, SCHEMAS[kind]))) == valid


@pytest.mark.parametrize("kind", SCHEMAS)
def test_schema_is_a_valid_schema(kind):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[kind])
