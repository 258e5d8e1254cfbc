"""What a configuration may ask for: numbers of any size are refused in words before anything is built."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from hf_zsar import METHODS
from hf_zsar.hub.loading import readable
from hf_zsar.modeling import size_limits
from hf_zsar.modeling.size_limits import SizeLimits, check_sizes, hold_to_size, set_size_limits
from tests.tiny_models import tiny_config, tiny_model


every_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = size_limits.size_limits()
    yield
    set_size_limits(**asdict(before))


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Where whole numbers stand in a configuration, also in lists and in configurations within it."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from places(each, (*path, name))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from places(each, (*path, number))
    elif isinstance(value, int) and not isinstance(value, bool):
        yield path


def changed(content: dict[str, Any], path: tuple, value: Any) -> dict[str, Any]:
    content = copy.deepcopy(content)
    target = content
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    return content


def outcome(method: str, content: dict[str, Any]) -> tuple[str, int]:
    """The refusal, or the parameters of the model, which is built without storage."""
    spec = METHODS[method]
    try:
        # As the pipeline does: an assertion of PyTorch (about a padding index, say) becomes a sentence.
        with readable("a configuration"), torch.device("meta"):
            config = spec.config_class.from_dict(content)
            return "", sum(each.numel() for each in spec.model_class(config).parameters())
    except ValueError as error:
        return str(error), 0


@every_method
def test_every_number_is_refused_or_builds_nothing_more(method, tmp_path):
    content = json.loads(tiny_config(method).to_json_string(use_diff=False))
    usual = outcome(method, content)[1]
    found = list(places(content))
    assert len(found) > 15
    began, monsters = time.monotonic(), {}
    for path in found:
        for value in (10**9, 10**30):
            refusal, parameters = outcome(method, changed(content, path, value))
            if refusal:
                assert len(refusal) < 1000 and "\n" not in refusal
            elif parameters > usual:
                monsters[path] = parameters
    assert monsters == {}
    assert time.monotonic() - began < 60
    for path in found:
        if path[-1] == "num_hidden_layers":  # of a tower
            (tmp_path / "config.json").write_text(json.dumps(changed(content, path, 10**9)))
            with pytest.raises(ValueError, match=r"num_hidden_layers: 1,000,000,000, more than layers allows"):
                AutoConfig.from_pretrained(tmp_path)


@every_method
def test_sizes_that_are_allowed_one_by_one_make_no_monster_together(method):
    usual = sum(each.numel() for each in tiny_model(method).parameters())
    set_size_limits(parameters=usual - 1)
    with pytest.raises(ValueError, match=r"parameters of the model: [\d,]+, more than parameters allows"):
        tiny_model(method)
    set_size_limits(parameters=usual)
    tiny_model(method)


@every_method
def test_the_methods_own_fields_are_at_least_something(method):
    with pytest.raises(ValueError, match="num_frames must be at least 1"):
        tiny_config(method, num_frames=0)


FIELDS = {
    "layers": ("num_hidden_layers", "depths", "temporal_layers"),
    "widths": ("hidden_size", "intermediate_size", "projection_dim", "backbone_widths"),
    "heads": ("num_attention_heads",),
    "positions": ("max_position_embeddings", "max_text_length", "num_frames"),
    "entries": ("vocab_size", "num_seen_classes"),
    "pixels": ("image_size", "patch_size"),
    "factors": ("width_coefficient", "mlp_ratio"),
    "numbers": ("temperature",),
}


@pytest.mark.parametrize("limit", FIELDS)
def test_one_call_raises_each_limit(limit):
    most = getattr(SizeLimits(), limit)
    for name in FIELDS[limit]:
        for value in ({name: most * 2}, {"inner": {name: [1, most * 2]}}):
            with pytest.raises(ValueError, match=rf"{name}: .*more than {limit} allows .*set_size_limits raises it"):
                check_sizes(value)
        check_sizes({name: most})
    set_size_limits(**{limit: most * 3})
    for name in FIELDS[limit]:
        check_sizes({name: most * 2})


def test_every_limit_has_its_fields_and_its_reason():
    names = {field.name for field in fields(SizeLimits)}
    assert names == {*FIELDS, "parameters"}
    assert [name for name in names if f"        {name}: " not in SizeLimits.__doc__] == []


@pytest.mark.parametrize("changes", [{"layer": 5}, {"layers": 0}, {"layers": "9"}, {"layers": True}])
def test_wrong_changes_change_nothing(changes):
    with pytest.raises(ValueError, match="no limit|positive"):
        set_size_limits(**changes)
    assert size_limits.size_limits() == SizeLimits()


def test_no_number_is_too_much():
    with pytest.raises(ValueError, match="nan"):
        hold_to_size("layers", float("nan"), "a file")
