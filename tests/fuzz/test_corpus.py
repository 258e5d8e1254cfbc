"""Inputs that the fuzz targets once failed on end as documented; so do those that fuzzing begins with."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.folders import mutated, pack, unpack
from tests.fuzz.targets import TARGETS, expect


CORPUS = Path(__file__).with_name("corpus")


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_is_read_or_refused(path: Path) -> None:
    TARGETS[path.parent.name].check(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_simple_faults_in_them(name: str) -> None:
    target, rng = TARGETS[name], random.Random(name)
    for seed in target.seeds()[:5]:
        assert pack(unpack(seed)) == seed
        target.check(seed)
        for _ in range(3):
            if target.mutate is not None:
                target.check(target.mutate(seed, rng))
            else:
                target.check(mutated(seed, rng, lambda part: part[: len(part) // 2], list(target.names)))


@pytest.mark.parametrize("error", [UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), ValueError(""), KeyError("a")])
def test_other_errors_than_the_documented_are_findings(error: Exception) -> None:
    def read() -> None:
        raise error

    with pytest.raises(type(error)):
        expect((ValueError,), read)


def test_a_documented_error_is_none() -> None:
    assert expect((ValueError,), int, "x") is None
