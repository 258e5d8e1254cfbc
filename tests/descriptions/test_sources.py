"""Texts, label lists and video lists of users."""

from __future__ import annotations

import json

import pytest

from hf_zsar.descriptions import TextGraphs, build_graph_bank, read_texts
from hf_zsar.descriptions.sources import glossary_keys
from hf_zsar.processing.descriptions import DescriptionError


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_what_macos_leaves_in_a_folder_is_no_text(tmp_path):
    (tmp_path / "yoga.txt").write_text("a person bends")
    (tmp_path / "._yoga.txt").write_bytes(b"\x00\x05\x16\x07")
    assert read_texts(tmp_path).labels == ["yoga"]


def test_folder_of_text_files(tmp_path):
    written(tmp_path / "high_jump.txt", "A jump\nover a bar.")
    written(tmp_path / "notes.md", "not read")
    texts = read_texts(tmp_path)
    assert texts.labels == ["high_jump"]
    assert texts.for_label("HighJump") == ["A jump over a bar."]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.json", '{"high jump": ["One.", "Two."]}'),
        (
            "t.json",
            '[{"word": "high jump", "defn": "One.", "cleaned_defn": "one ."}, {"label": "High Jump", "text": "Two."}]',
        ),
        ("t.jsonl", '{"label": "high jump", "texts": ["One.", "Two."]}\n\n'),
        ("t.jsonl", '{"name": "high jump", "description": "One."}\n{"class": "high_jump", "gloss": "Two."}\n'),
        (
            "t.json",
            json.dumps(
                {
                    "schema": "hf_zsar/description-attributes/1",
                    "classes": {"high jump": {"attributes": [], "descriptions": [{"text": "One."}, {"text": "Two."}]}},
                }
            ),
        ),
    ],
)
def test_json_forms(tmp_path, name, content):
    assert read_texts(written(tmp_path / name, content)).for_label("highJump") == ["One.", "Two."]


def test_mapping():
    assert read_texts({"High Jump": "A  jump."}).for_label("high jump") == ["A jump."]


def test_glossary_lines(tmp_path):
    path = written(tmp_path / "words.txt", "# mine\nguitar: strings on a wooden body\nsurf\tride a wave on a board\n")
    texts = read_texts(path)
    assert texts.for_label("playing guitar") == ["strings on a wooden body"]
    assert texts.for_label("surfing") == ["ride a wave on a board"]
    assert texts.for_label("knitting") == []


WORDNET = """\
  1 This software and database is being provided to you
00007846 03 n 02 guitar 0 axe 1 001 @ 00004258 n 0000 | a stringed instrument; played by strumming; "he plays it"
01520655 35 v 03 arm_wrestle 0 wrestle 0 grapple 0 001 @ 00001 v 0000 01 + 02 00 | press down the arm of an opponent
01520656 35 v 01 wrestle 0 000 | fight with the body
01520657 35 v 01 wrestle 0 000 | third sense
"""


def test_wordnet_data_file(tmp_path):
    texts = read_texts(written(tmp_path / "data.noun", WORDNET))
    assert texts.for_label("playing guitar") == ["a stringed instrument; played by strumming"]
    assert texts.for_label("ArmWrestling") == ["press down the arm of an opponent"]
    assert texts.for_label("wrestling") == ["press down the arm of an opponent", "fight with the body"]
    graph = build_graph_bank(["ArmWrestling"], TextGraphs(), texts).for_label("arm wrestling")
    assert (graph.objects, graph.sub_actions) == (("arm of opponent",), ("press down the arm of an opponent",))


def test_glossary_keys_go_from_special_to_general():
    assert glossary_keys("playing guitar") == ["playing guitar", "play guitar", "guitar", "play"]
    assert glossary_keys("cliff_diving")[:3] == ["cliff diving", "cliff dive", "diving"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.json", "3", "expected an object"),
        ("t.json", '{"a": 3}', "'a': expected a text or a list of texts, found int"),
        ("t.json", '[{"word": "a"}]', "item 0: expected an object with a label"),
        ("t.json", "{}", "hold nothing"),
        ("t.jsonl", '{"label": "a", "text": "b"}\n{', "line 2 is not JSON"),
        ("t.jsonl", "[]", "line 1: expected an object with a label"),
        ("t.txt", "guitar strings", "line 1 is not `label: text`"),
    ],
)
def test_unusable_texts_are_named(tmp_path, name, content, says):
    with pytest.raises(DescriptionError) as raised:
        read_texts(written(tmp_path / name, content))
    assert says in str(raised.value)


def test_missing_and_empty_places(tmp_path):
    with pytest.raises(DescriptionError, match="no <label>.txt file in the folder"):
        read_texts(tmp_path)
    with pytest.raises(DescriptionError, match="cannot be read"):
        read_texts(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9: drink")
    with pytest.raises(DescriptionError, match="not UTF-8"):
        read_texts(tmp_path / "latin.txt")
