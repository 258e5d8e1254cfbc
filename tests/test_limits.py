"""The one place where limits of both kinds are read and changed."""

from __future__ import annotations

from dataclasses import fields

import pytest

from hf_zsar.limits import limits, set_limits
from hf_zsar.modeling.size_limits import SizeLimits, check_sizes
from hf_zsar.processing.limits import Limits, hold_to


@pytest.fixture(autouse=True)
def as_before():
    before = limits()
    yield
    set_limits(**before)


def test_all_limits_are_there_and_no_name_is_in_both():
    names = [field.name for kind in (Limits, SizeLimits) for field in fields(kind)]
    assert sorted(limits()) == sorted(names) and len(set(names)) == len(names)


def test_limits_of_both_kinds_are_raised_by_one_call_and_undone_by_one():
    before = set_limits(windows=10**6, layers=1000)
    hold_to("windows", 10**6, "a file")
    check_sizes({"num_hidden_layers": 1000})
    set_limits(**before)
    assert limits() == before
    with pytest.raises(ValueError, match="windows"):
        hold_to("windows", 10**6, "a file")
    with pytest.raises(ValueError, match="layers"):
        check_sizes({"num_hidden_layers": 1000})


@pytest.mark.parametrize("wrong", [{"windws": 5}, {"windows": 0}, {"heads": -1}])
def test_a_wrong_change_changes_nothing(wrong):
    before = limits()
    with pytest.raises(ValueError, match="did you mean|positive"):
        set_limits(layers=3, labels=3, **wrong)
    assert limits() == before
