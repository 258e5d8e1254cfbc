"""Our own short texts about 42 everyday actions, and what is made of them offline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hf_zsar.descriptions import KeywordExtractor, TextGraphs, build_attribute_bank, build_graph_bank


TEXTS_FILE = Path(__file__).with_name("texts_42.json")


@pytest.fixture(scope="session")
def texts() -> dict[str, str]:
    return json.loads(TEXTS_FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def graphs(texts):
    return build_graph_bank(list(texts), TextGraphs(), texts)


@pytest.fixture(scope="session")
def attributes(texts):
    return build_attribute_bank(list(texts), KeywordExtractor(), texts)
