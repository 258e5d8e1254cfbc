"""Transformers' common model and configuration tests, run on every registered method."""

from __future__ import annotations

import copy
import unittest
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from hf_zsar import METHODS
from tests.common.exceptions import apply_exceptions
from tests.common.suite import SuiteUnavailable, load
from tests.tiny_models import LABELS, TINY, tiny_config, tiny_inputs


try:
    modeling = load("test_modeling_common")
    configuration = load("test_configuration_common")
except SuiteUnavailable as error:
    pytest.skip(str(error), allow_module_level=True)


class MethodTester:
    """What the suites ask about a model: a configuration and inputs."""

    # 5 labels are no multiple of 3 videos, so no test takes the labels for items of the batch.
    batch_size = 3
    is_training = True

    def __init__(self, method: str) -> None:
        self.method = method

    def get_config(self) -> Any:
        return tiny_config(self.method)

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, torch.Tensor]]:
        return self.get_config(), dict(tiny_inputs(self.method, LABELS, batch=self.batch_size))


def ready_class(method: str) -> type[PreTrainedModel]:
    """The model class of a method; where a fresh model cannot score yet, one that is made ready at birth."""
    base, prepare = METHODS[method].model_class, TINY[method].prepare
    if prepare is None:
        return base

    class Ready(base):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            prepare(self)

        def _init_weights(self, module: nn.Module) -> None:
            super()._init_weights(module)
            if module is self:
                prepare(self)

    Ready.__name__ = Ready.__qualname__ = base.__name__
    return Ready


class CommonModelTests(modeling.ModelTesterMixin):
    """The model suite with the hooks that our models need, and the replacements that `exceptions.py` lists."""

    method: str
    _is_composite = True
    # Older models of transformers are let off; ours are not.
    test_can_init_all_missing_weights_before_2023 = True
    # The last state of a video is its frame embeddings, whose size is that of the joint space.
    skip_test_video_features_output_shape = True
    # Without a prompt index every row is a label, so a test may take as many rows as it likes.
    additional_model_inputs = ["input_ids"]

    def setUp(self) -> None:
        self.model_tester = MethodTester(self.method)
        self.config_tester = configuration.ConfigTester(
            self, config_class=METHODS[self.method].config_class, has_text_modality=False
        )

    def _prepare_for_class(self, inputs_dict: dict, model_class: type, return_labels: bool = False) -> dict:
        inputs = copy.deepcopy(inputs_dict)
        if return_labels:
            inputs["labels"] = torch.arange(self.model_tester.batch_size)
        return inputs

    def test_config(self) -> None:
        self.config_tester.run_common_tests()


for _method, _spec in METHODS.items():
    _name = f"{_spec.prefix}CommonTest"
    _content = {"method": _method, "all_model_classes": (ready_class(_method),), "__module__": __name__}
    globals()[_name] = apply_exceptions(type(_name, (CommonModelTests, unittest.TestCase), _content), "model", _method)
