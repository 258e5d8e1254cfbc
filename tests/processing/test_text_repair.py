"""Label text reaches CLIP's tokenizer as in the official code: golden ids, and ftfy as the judge of repairs."""

from __future__ import annotations

import html
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from hf_zsar import ActionCLIPProcessor, ZSARVideoProcessor
from hf_zsar.data import load_class_names
from hf_zsar.processing.text_repair import normalize_text
from tests.clip_vocabulary import clip_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> CLIPTokenizer:
    return clip_tokenizer() or pytest.skip("CLIP's vocabulary is not here: pip install openai-clip")


@pytest.fixture(scope="session")
def table(golden_dir) -> dict:
    path = golden_dir / "tokenizer_ids" / "tokenizer_ids.json"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent}")
    return json.loads(path.read_text(encoding="utf-8"))


def test_golden_token_ids(table, tokenizer):
    processor = ActionCLIPProcessor(ZSARVideoProcessor(), tokenizer)
    texts = [row["text"] for row in table["rows"]]
    tokens = processor.tokenize(texts)
    lengths = tokens["attention_mask"].sum(dim=1).tolist()
    found = [ids[:length].tolist() for ids, length in zip(tokens["input_ids"], lengths, strict=True)]
    wrong = [texts[i] for i, row in enumerate(table["rows"]) if found[i] != row["ids"]]
    assert not wrong and len(found) == len(table["rows"])


def test_golden_rows_that_need_the_repair(table, tokenizer):
    """Without the repair exactly the rows that the table names differ: the test above cannot pass for nothing."""
    rows = table["rows"]
    different = [i for i, row in enumerate(rows) if tokenizer(row["text"])["input_ids"] != row["ids"]]
    assert different == table["stock_hf_differs"]


def official(text: str) -> str:
    """What the official tokenizer does before it splits text into tokens (white space collapsed)."""
    ftfy = pytest.importorskip("ftfy")
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("person&apos;s  dog", "person's dog"),
        ("AT&amp;amp;T", "AT&T"),
        ("it\u2019s \u201cdancing\u201d", 'it\'s "dancing"'),
        ("\ufb01ghting \uff21\uff22\u3000\uff43", "fighting AB c"),
        ("sch\u00c3\u00b6n", "schön"),
        ("\u00e2\u20ac\u2122 \u00e2\u0080\u0099", "' '"),
        ("\u00f0\u0178\u02dc\u20ac smile", "\U0001f600 smile"),
        ("J\u00c3\u0083\u00c2\u00b6rg", "Jörg"),
        ("x\x92y \u2028\ufeffz", "x'y z"),
        # Text that is right stays: fractions, dashes, real accents before quotes and signs.
        ("\u00bd cup \u2014 \u2460", "\u00bd cup \u2014 \u2460"),
        ("\u201ccaf\u00e9\u201d\u2026", '"café"\u2026'),
        ("CAF\u00c9\u2122", "CAFÉ\u2122"),
        ("l\u2019\u00e9t\u00e9", "l'été"),
    ],
)
def test_repairs_are_those_of_the_official_tokenizer(text, repaired):
    assert normalize_text(text) == repaired
    assert official(text) == repaired


@pytest.mark.parametrize("name", ["kinetics400", "kinetics600", "ucf101", "hmdb51"])
def test_published_labels_are_left_as_the_official_tokenizer_leaves_them(name):
    labels = load_class_names(name)
    assert [normalize_text(label) for label in labels] == [official(label) for label in labels]


WESTERN = (
    "".join(map(chr, range(0xC0, 0x100))) + "abc XYZ '.-" + "\u2018\u2019\u201c\u201d\u2013\u2014\u2026\u20ac\u2122"
)


@given(st.text(WESTERN, max_size=12))
def test_misread_text_is_read_back(text):
    """UTF-8 that was read as Windows-1252, as far as that can be undone at all: ftfy does it."""
    ftfy = pytest.importorskip("ftfy")
    misread = text.encode("utf-8").decode("cp1252", "ignore")
    assume(misread.encode("cp1252") == text.encode("utf-8") and ftfy.fix_encoding(misread) == text)
    assume(ftfy.fix_encoding(text) == text and normalize_text(text) == normalize_text(normalize_text(text)))
    assume("Â" not in text and "Ã" not in text)  # such text looks misread itself
    assert normalize_text(misread) == normalize_text(text)


@given(st.text(max_size=20))
def test_repairing_twice_is_repairing_once(text):
    once = normalize_text(text)
    assert normalize_text(once) == once
    assert once == once.strip() and "  " not in once
