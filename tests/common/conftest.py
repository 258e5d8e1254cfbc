"""Everything in this folder carries the mark `common`, and the marks that the suites use are made known."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.common.suite import SuiteUnavailable, marks_used, suite_folder


HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    try:
        names = marks_used(suite_folder())
    except SuiteUnavailable:
        return  # the test modules skip themselves and say why
    for name in sorted(names):
        config.addinivalue_line("markers", f"{name}: used by the test suites of transformers")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("common")
