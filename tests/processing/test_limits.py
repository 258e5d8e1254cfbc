"""The limits: what each refuses is tested where it holds; here, how they are read and changed."""

from __future__ import annotations

from dataclasses import asdict, fields

import pytest

from hf_zsar.processing.limits import Limits, hold_to, limits, set_limits
from hf_zsar.processing.text_files import TextFileError, read_json, read_text
from hf_zsar.yaml_files import read_yaml


@pytest.fixture(autouse=True)
def as_before():
    before = limits()
    yield
    set_limits(**asdict(before))


def test_one_call_raises_each_limit():
    for field in fields(Limits):
        most = getattr(limits(), field.name)
        hold_to(field.name, most, "exactly as much")
        with pytest.raises(ValueError, match=rf"a file: .* more than {field.name} allows .*limits\.set_limits raises"):
            hold_to(field.name, most + 1, "a file")
        before = set_limits(**{field.name: most + 1})
        hold_to(field.name, most + 1, "a file")
        set_limits(**asdict(before))
        assert limits() == Limits()


def test_every_limit_says_its_reason():
    assert [field.name for field in fields(Limits) if f"        {field.name}: " not in Limits.__doc__] == []


def test_no_number_is_too_much():
    with pytest.raises(ValueError, match="nan"):
        hold_to("windows", float("nan"), "a file")


class Refused(ValueError):
    """Stands for an error of a reader."""


def test_the_error_is_the_callers():
    with pytest.raises(Refused):
        hold_to("windows", 10**9, "a file", Refused)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"windws": 5}, "did you mean windows"), ({"windows": 0}, "positive"), ({"windows": "9"}, "positive")],
)
def test_wrong_changes_change_nothing(changes, words):
    with pytest.raises(ValueError, match=words):
        set_limits(**changes)
    assert limits() == Limits()


FILES = {
    "text_bytes": (read_text, "x" * 1000, 1000),
    "json_depth": (read_json, '{"a": [' + "[" * 8 + "]" * 8 + "]}", 10),
    "yaml_bytes": (read_yaml, "a: " + "x" * 997, 1000),
    "yaml_depth": (read_yaml, "a: [" + "[" * 8 + "]" * 8 + "]", 10),
    "yaml_values": (read_yaml, "a: &a [1, 2]\nb: [*a, *a]", 13),
}


@pytest.mark.parametrize("name", FILES)
def test_files_up_to_each_limit_are_read(name, tmp_path):
    read, text, size = FILES[name]
    path = tmp_path / "file"
    path.write_text(text)
    set_limits(**{name: size})
    assert read(path)
    set_limits(**{name: size - 1})
    with pytest.raises(TextFileError, match=f"more than {name} allows"):
        read(path)
