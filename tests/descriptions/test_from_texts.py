"""Graphs and attributes of real labels out of short texts, without a language model."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_zsar.descriptions import (
    KeywordExtractor,
    TextGraphs,
    build_attribute_bank,
    build_graph_bank,
    read_texts,
)
from hf_zsar.descriptions.keywords import keep_distinct, rake, rerank
from hf_zsar.descriptions.reading import NotEnglishWarning, clean_text, english, read_text
from hf_zsar.processing.action_graph import ActionGraph, canonical_key
from hf_zsar.processing.descriptions import Descriptions


# -- graphs --------------------------------------------------------------------------------------------------------


def test_graph_of_archery(graphs):
    graph = graphs.for_label("archery")
    assert graph.objects == ("archer", "curved bow", "arrow", "string", "cheek", "round target")
    assert graph.sub_actions == (
        "raise a curved bow",
        "place an arrow on the string",
        "draw the string back to the cheek",
        "aim at a round target",
        "release the arrow",
    )
    assert graph.relations["oo"] == (
        ("archer", "raises", "curved bow"),
        ("archer", "places", "arrow"),
        ("arrow", "on", "string"),
    )
    assert graph.relations["ao"][0] == ("archery", "is performed by", "archer")
    assert graph.clauses["aa"][1] == "where raising a curved bow comes before placing an arrow on the string"


def test_roles_of_objects(graphs):
    relations = {item: predicate for _, predicate, item in graphs.for_label("playing drums").relations["ao"]}
    assert relations["drummer"] == "is performed by"
    assert relations["drum kit"] == "involves"
    graph = TextGraphs().generate("cutting", ["In a kitchen the chef cuts a carrot with a knife."])
    assert {item: predicate for _, predicate, item in graph.relations["ao"]} == {
        "kitchen": "takes place in",
        "chef": "is performed by",
        "carrot": "involves",
        "knife": "uses",
    }


def test_things_that_move_by_themselves_keep_their_name():
    graph = TextGraphs().generate("using a blender", ["She pushes a button. The sharp blades spin in the jar."])
    assert graph.sub_actions == ("push a button", "the blades spinning in the jar")
    assert "where pushing a button comes before the blades spinning in the jar" in graph.clause_list()


def test_every_text_gives_objects_steps_and_clauses_of_all_kinds(graphs, texts):
    assert list(graphs) == list(texts)
    for label in texts:
        graph = graphs.for_label(label)
        assert 3 <= len(graph.objects) <= 10, label
        assert 1 <= len(graph.sub_actions) <= 8, label
        assert all(graph.clauses[kind] for kind in ("oo", "ao", "aa")), label
        known = {graph.action, *graph.objects, *graph.sub_actions}
        for kind in ("oo", "ao", "aa"):
            assert {name for subject, _, item in graph.triples(kind) for name in (subject, item)} <= known
        for clause in graph.clause_list():
            assert clause.startswith(("where ", "which ", "starting with "))
            assert len(clause.split()) <= 24, clause


def test_label_alone_gives_what_it_names():
    assert TextGraphs().generate("flipping a pancake").objects == ("pancake",)
    for label in ("running", "archery", "doing yoga", "cliff diving"):
        assert (
            TextGraphs().generate(label) == ActionGraph(label, relations={"oo": (), "ao": (), "aa": ()}).with_clauses()
        )


def test_limits():
    text = "He holds a cup. He lifts a bow. He pushes a door. He pulls a rope."
    graph = TextGraphs(max_objects=2, max_sub_actions=3).generate("working", [text])
    assert (graph.objects, len(graph.sub_actions)) == (("cup", "bow"), 3)


def test_texts_that_nobody_tuned_on():
    """Who acts is the subject, wherever the sentence begins; verbs are not things."""
    texts = json.loads((Path(__file__).parent / "texts_20.json").read_text(encoding="utf-8"))
    bank = build_graph_bank(list(texts), TextGraphs(), texts)
    for label, (step, place) in {
        "flying a kite": ("run with a string", "windy beach"),
        "shoveling snow": ("push a shovel along the driveway", "storm"),
        "making soup": ("stir soup", "kitchen"),
        "giving a speech": ("speak into a microphone", "lectern"),
    }.items():
        graph = bank.for_label(label)
        assert step in graph.sub_actions and place in graph.objects
        assert not any(place in text for text in graph.sub_actions), label
    assert bank.for_label("cutting onions").relations["oo"][0] == ("chef", "cuts", "onions")
    assert bank.for_label("giving a speech").objects == ("microphone", "lectern", "page", "crowd")
    # Of 20 texts, how many name every thing that a person would: a change of rules or pipeline shows here.
    assert sum(len(bank.for_label(label).sub_actions) >= 2 for label in texts) >= 15


GERMAN = "Ein Mann läuft über den Strand und hält eine Schnur fest in der Hand."


def test_other_languages_are_noticed():
    with pytest.warns(NotEnglishWarning, match="Ein Mann läuft"):
        TextGraphs().generate("flying a kite", [GERMAN])
    with pytest.warns(NotEnglishWarning):
        KeywordExtractor().generate("flying a kite", ["Une femme coupe des oignons avec un couteau tranchant."])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TextGraphs().generate("archery", ["Archer, curved bow, arrow."])


def test_what_is_missing_is_said(monkeypatch):
    with pytest.raises(ImportError, match="no spaCy pipeline 'en_of_nobody'.*spacy download en_core_web_sm"):
        TextGraphs(pipeline="en_of_nobody").generate("archery", ["He shoots."])
    monkeypatch.setattr("spacy.util.get_installed_models", lambda: ["de_core_news_sm"])
    with pytest.raises(ImportError, match="no spaCy pipeline 'for English'"):
        english.__wrapped__()
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(ImportError, match="needs spaCy: pip install 'hf-zsar.graphs.'"):
        english.__wrapped__()


def test_glosses_and_markup_are_cleaned():
    assert clean_text("<b>draw</b> &amp; pull\n (of a bow) it’s (here)") == "draw & pull it's here"


# -- attributes ----------------------------------------------------------------------------------------------------


def test_attributes_of_some_labels(attributes):
    assert attributes.for_label("archery") == (
        "curved bow", "round target", "raising bow", "placing arrow", "releasing arrow", "drawing string", "archer",
        "cheek",
    )  # fmt: skip
    assert {"drum kit", "wooden sticks", "pressing pedal"} <= set(attributes.for_label("playing drums"))


def test_attributes_are_distinct_short_and_not_the_label(attributes, texts):
    for label in texts:
        found = attributes.for_label(label)
        assert 5 <= len(found) <= 8, label
        assert len(set(found)) == len(found)
        assert canonical_key(label) not in found
        assert all(1 <= len(attribute.split()) <= 3 for attribute in found)
        assert not {"person", "woman", "man", "moment", "air"} & set(found)


def test_rake_scores_by_hand():
    # "ball" is in three phrases of 2, 1 and 2 words: 5/3. red and throwing: 2/1. So 11/3 twice, 5/3, and hoop 1.
    text = "A red ball and a hoop. He throws the ball."
    assert rake([read_text(text)]) == ["red ball", "throwing ball", "ball", "hoop"]


@pytest.mark.parametrize(
    ("candidates", "action", "kept"),
    [
        (["dance floor", "floor"], "running", ["dance floor"]),
        (["floor", "dance floor"], "running", ["floor", "dance floor"]),
        (["dancing salsa", "dress"], "salsa dancing", ["dress"]),
        (["soccer ball", "foot"], "juggling a soccer ball", ["foot", "soccer ball"]),
        (["x", "a", "12", "the", "people", "way", "z" * 41], "running", []),
        (["Bow", "1. bow", "bows"], "archery", ["bow"]),
    ],
)
def test_keep_distinct(candidates, action, kept):
    assert keep_distinct(candidates, action) == kept


def test_extractor_is_deterministic_and_bounded(texts):
    for n in (1, 3, 20):
        first = KeywordExtractor().generate("archery", [texts["archery"]], n)
        assert first == KeywordExtractor().generate("archery", [texts["archery"]], n)
        assert len(first) <= n


def test_yake_finds_the_things_too(texts):
    pytest.importorskip("yake")
    found = KeywordExtractor("yake").generate("archery", [texts["archery"]])
    assert {"curved bow", "round target", "arrow"} <= set(found) and len(found) <= 8


def test_yake_missing_is_said_at_once(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install 'hf-zsar.keywords.'"):
        KeywordExtractor("yake")


def test_scorer_of_your_own():
    extractor = KeywordExtractor(lambda text, n: [("string", 2.0), ("archery", 1.0), ("bow", 0.5)])
    assert extractor.generate("archery", ["Some text"]) == ["string", "bow"]
    with pytest.raises(ValueError, match='"rake", "yake" or a function'):
        KeywordExtractor("tfidf")


VECTORS = {
    "disc": [1.0, 0.1, 0.0],
    "puck": [1.0, 0.11, 0.0],
    "net": [0.6, 0.0, 0.8],
    "moon": [-1.0, 0.2, 0.0],
    "label": [1.0, 0.0, 0.0],
    "context": [0.0, 0.0, 1.0],
}


def embed(texts):
    return np.array([VECTORS[text.removeprefix("a video of ").removesuffix(".")] for text in texts])


def test_rerank_by_hand():
    """Relevance: disc .995, puck .994, net .6, moon -.981; cosine with the disc: puck 1.0, net .597, moon -.956."""
    names = ["moon", "net", "puck", "disc"]
    # Second step at .7: puck .696 - .300, net .420 - .179, moon < 0.
    assert rerank(names, "label", embed, 4) == ["disc", "puck", "net", "moon"]
    # At .5: puck .497 - .500, net .3000 - .2985, moon -.490 + .478.
    assert rerank(names, "label", embed, 2, trade_off=0.5) == ["disc", "net"]
    # The net has .8 in common with the context: its relevance falls to -.2. The label itself is not a context.
    assert rerank(names, "label", embed, 3, context=["label", "context"], trade_off=0.5) == ["disc", "puck", "moon"]


def test_extractor_uses_the_text_tower():
    def scorer(text, n):
        return [(name, 1.0) for name in ("moon", "net", "puck", "disc")]

    extractor = KeywordExtractor(scorer, embed=embed)
    assert extractor.generate("label", ["text"], n=2) == ["disc", "puck"]
    assert extractor.params == {"rerank": True}


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80), st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=12))
def test_any_text_gives_a_file_that_loads(text, label):
    graph = build_graph_bank([label], TextGraphs(), {label: text} if text.strip() else None)
    bank = build_attribute_bank([label], KeywordExtractor(), {label: text} if text.strip() else None)
    for made in (graph, bank):
        assert Descriptions.from_dict(made.to_dict()) == made


# -- whole banks ---------------------------------------------------------------------------------------------------


def test_banks_record_where_they_come_from(graphs, attributes, texts):
    assert graphs.generator["kind"] == attributes.generator["kind"] == "extractor"
    assert graphs.generator["grounded"] is True
    entry = attributes.classes["archery"]
    assert entry.meta == {
        "id": 1,
        "descriptions": [{"text": texts["archery"], "source": "user"}],
        "made_by": "rake",
    }
    bare = build_attribute_bank(
        ["HighJump", "archery"], KeywordExtractor(), {"archery": texts["archery"]}, created="2026-01-31"
    )
    assert bare.generator["grounded"] is False and bare.generator["created"] == "2026-01-31"
    assert bare.classes["HighJump"].meta == {"id": 0, "name": "high jump", "made_by": "label"}


def test_banks_feed_on_their_own_files(tmp_path, graphs, texts):
    graphs.save(tmp_path / "graph.json")
    again = read_texts(tmp_path / "graph.json")
    assert again.labels == list(texts)
    assert again.for_label("archery") == [texts["archery"]]


@pytest.mark.parametrize("labels", [[], ["archery", "archery"]])
def test_labels_must_be_there_once(labels):
    with pytest.raises(ValueError, match="missing or repeated"):
        build_graph_bank(labels, TextGraphs())


def test_labels_of_the_real_clips(clips_manifest, texts):
    """Every label gets an entry that a processor can look up; those with a text are never empty."""
    labels = clips_manifest["labels"]
    known = {label: text for label, text in texts.items() if label in labels}
    graphs = build_graph_bank(labels, TextGraphs(), known or None)
    attributes = build_attribute_bank(labels, KeywordExtractor(), known or None)
    for label in labels:
        assert graphs.for_label(label) is not None and attributes.for_label(label) is not None
        if label in known:
            assert graphs.for_label(label).clause_list() and attributes.for_label(label)
