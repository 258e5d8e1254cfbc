"""Text of users and authors makes no HTML, link, table or code in cards, reports, pages and files of a Space."""

from __future__ import annotations

import ast
import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from hf_zsar.evaluation.reports import markdown_table, save_eval_results
from hf_zsar.features.store import FeatureStore, Header
from hf_zsar.hub import CardFacts, render_card
from hf_zsar.hub.facts import TrainingFacts
from hf_zsar.markdown import Markdown, cell, code, plain, without_html
from tests.hub.test_cards import full_facts, record


HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a | pipe || b",
    "a `tick` ``two`` `",
    "{{ 7*7 }} {% for x in y %} {{ title }}",
    "line\n\n# heading\n---\n| a |\n|---|",
    'YAML: # no comment, "quoted", - item',
    "[link](javascript:alert(1)) ![p](http://x/y.png) *bold* __strong__ ~~gone~~",
    "&lt;script&gt; &#60;b&#62;",
    "\\`<b>\\` \\",
    "'; import os; os.abort() #",
    "- item",
    "1. first",
    "> said",
    "---",
    '""" + open("x") + """',
]
# What a card of harmless facts is made of.
TAGS = {"a", "blockquote", "code", "em", "h1", "h2", "h3", "hr", "li", "ol", "p", "pre", "strong", "table", "tbody"}
TAGS |= {"td", "th", "thead", "tr", "ul"}


class Page(HTMLParser):
    """Tags, links and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.words += data


def parts_of(card: str) -> tuple[Any, str]:
    """Metadata and text."""
    found = re.match(r"---\n(.*?)\n---\n", card, flags=re.DOTALL)
    return (yaml.safe_load(found[1]), card[found.end() :]) if found else (None, card)


def shown(markdown: str) -> Page:
    _, body = parts_of(markdown)
    return Page(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(body))


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("place", ["alone", "title", "item", "cell"])
def test_a_text_reads_the_same_and_is_nothing_else(text, place):
    before, after, escape = {
        "alone": ("", "", plain),
        "title": ("# ", "", plain),
        "item": ("- ", "", plain),
        "cell": ("| a | b |\n| --- | --- |\n| x | ", " |", cell),
    }[place]
    if place == "alone":
        before = "word "
    page = shown(f"{before}{escape(text)}{after}\n")
    assert page.tags <= {"alone": {"p"}, "title": {"h1"}, "item": {"ul", "li"}}.get(place, TAGS - {"a", "code", "em"})
    assert page.links == []
    assert one_line(text) in one_line(page.words)


@pytest.mark.parametrize("text", [*HOSTILE, "`", "``", "", " "])
def test_code_within_a_line(text):
    page = shown(f"see {code(text)} there\n")
    assert page.tags == {"p", "code"} and one_line(page.words) == one_line(f"see {text} there")


def test_markdown_of_ours_stays_and_that_of_authors_loses_its_tags():
    assert plain(Markdown("*a* | `b`")) == "*a* | `b`" and cell(Markdown("*a* | `b`")) == r"*a* \| `b`"
    assert plain("half_e2e of 3 classes, 5 % > 4 %") == "half_e2e of 3 classes, 5 % > 4 %"
    assert without_html("**a** <https://x.org> 3 < 4 <b>") == "**a** <https://x.org> 3 < 4 &lt;b>"
    for text in HOSTILE:
        assert not shown(f"{without_html(text)}\n").tags & {"script", "b"}


def facts_with(text: str) -> CardFacts:
    """A card with `text` wherever a text may stand."""
    training = TrainingFacts(
        data=text,
        videos=12,
        classes=6,
        hyperparameters={text: text},
        log=[{"step": 1, text: 2.5}, {"step": 2, text: 1.25}],
        versions={text: text},
    )
    base = record()
    result = record(
        model={**base["model"], "id": text, "training_set": text},
        protocol={**base["protocol"], "dataset": text, "split_rule": text, "clip_set": text},
        classes={"names": ["a"], "label_order": text},
        sampling={"frames_x_views": text},
        prompts={"candidates": text},
    )
    return dataclasses.replace(
        full_facts(),
        model_name=text,
        description=text,
        license="other",
        license_name=text,
        license_link=text,
        architecture={text: text},
        templates=[text],
        limits=[text],
        training=training,
        results=[result],
        benchmarks={},
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_no_fact_of_a_card_becomes_anything_else(text):
    card, harmless = render_card(facts_with(text)), render_card(facts_with("word"))
    page, expected = shown(card), shown(harmless)
    own = Page("") if "](" not in text else shown(f"{text}\n")  # Markdown of description and limits is the author's
    headings = {"h1", "h2", "hr"}
    assert page.tags - own.tags - headings - {"table", "thead", "tbody", "tr", "th", "td", "em", "code"} <= TAGS
    assert not page.tags & {"script", "img", "b"} or "![" in text
    if "](" not in text:
        assert page.links == expected.links
    assert page.words.count("49") == expected.words.count("49")
    metadata, _ = parts_of(card)
    assert metadata["license_name"] == text and metadata["model-index"][0]["name"] == text
    assert card.count("| --- ") == harmless.count("| --- ") or "|---|" in text


@pytest.mark.parametrize("text", HOSTILE)
def test_reports(text, tmp_path):
    result = facts_with(text).results[0]
    rows = markdown_table([result]).splitlines()
    page = shown("\n".join(rows) + "\n")
    assert len(rows) == 3 and page.tags == {"table", "thead", "tbody", "tr", "th", "td"}
    assert one_line(page.words).count(one_line(text)) == 3
    named = {**result, "protocol": {**result["protocol"], "dataset": "ucf101"}}
    (entry,) = yaml.safe_load(save_eval_results(named, tmp_path, "org/data").read_text(encoding="utf-8"))
    assert text in entry["notes"]


@pytest.mark.parametrize("text", HOSTILE)
def test_the_card_of_a_store(text, tmp_path):
    header = Header({"identity": "x", "id": text, "revision": None}, {})
    FeatureStore.claim(tmp_path / "store", header)
    card = (tmp_path / "store" / "README.md").read_text(encoding="utf-8")
    page = shown(card)
    assert page.tags <= {"h1", "p", "code", "pre"} and one_line(text) in one_line(page.words)
    assert parts_of(card)[0]["configs"]


@pytest.mark.parametrize("text", HOSTILE)
def test_files_of_a_space(text, tmp_path):
    pytest.importorskip("gradio", reason="Spaces need Gradio (pip install 'hf-zsar[demo]')")
    from hf_zsar.hub.space import write_space

    write_space(tmp_path, "org/model", text, text)
    code_of_app = ast.parse((tmp_path / "app.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(code_of_app) if isinstance(node, ast.Call)]
    assert [call.func.id for call in calls] == ["pipeline", "launch"]
    given = {keyword.arg: keyword.value.value for call in calls for keyword in call.keywords}
    assert given["revision"] == text and given["title"] == text and given["model"] == "org/model"
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert parts_of(readme)[0]["title"] == text


@pytest.mark.parametrize("model", HOSTILE)
def test_a_space_of_what_is_no_repository_is_refused(model, tmp_path):
    pytest.importorskip("gradio", reason="Spaces need Gradio (pip install 'hf-zsar[demo]')")
    from hf_zsar.hub.space import write_space

    with pytest.raises(ValueError, match="(?i)repo id"):
        write_space(tmp_path, model, "main", "a title")
    assert list(Path(tmp_path).iterdir()) == []


def test_the_title_of_a_page():
    pytest.importorskip("gradio", reason="the demo needs Gradio (pip install 'hf-zsar[demo]')")
    from hf_zsar.demo.app import build_app

    pipe = SimpleNamespace(
        model=SimpleNamespace(config=SimpleNamespace(model_type="rest")),
        processor=SimpleNamespace(descriptions_kind=None),
    )
    title = " ".join(HOSTILE)
    parts = [part["props"].get("value") for part in build_app(pipe, title).get_config_file()["components"]]
    pages = [Page(value) for value in parts if isinstance(value, str) and "alert" in value]
    assert [page.tags for page in pages] == [{"h1"}] and one_line(title) in one_line(pages[0].words)
