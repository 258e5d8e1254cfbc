"""Transformers' common model and configuration tests, run on every registered method."""

from __future__ import annotations

import copy
import re
import unittest
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from hf_zsar import METHODS
from hf_zsar.encoders import ENCODERS
from tests.common.exceptions import apply_exceptions
from tests.common.suite import SuiteUnavailable, load
from tests.tiny_models import LABELS, TINY, tiny_config, tiny_inputs


try:
    modeling = load("test_modeling_common")
    configuration = load("test_configuration_common")
    training = load("test_training_mixin")
except SuiteUnavailable as error:
    pytest.skip(str(error), allow_module_level=True)


class MethodTester:
    """What the suites ask about a model: a configuration and inputs."""

    # 5 labels are not multiple of 3 videos, so no test takes the labels for items of the batch.
    batch_size = 3
    is_training = True

    def __init__(self, method: str, variant: str = "") -> None:
        self.method, self.variant = method, variant

    def get_config(self) -> Any:
        return tiny_config(self.method, **TINY[self.method].variants.get(self.variant, {}))

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


def embeddings_class(base: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """The model, with embeddings and their cosines where the suite looks for the logits.

    In half precision the suite's tolerances are for numbers of the size of embeddings. Logits are cosines times a
    scale of up to 100, which multiplies their rounding too, and how that falls out depends on the instruction set.
    """

    class Embeddings(base):
        def forward(self, *args: Any, **kwargs: Any) -> ModelOutput:
            output = super().forward(*args, **kwargs)
            texts, videos = output.text_embeds.float(), output.video_embeds.float()
            output.logits_per_text = torch.cat([texts, texts @ videos.t()], dim=1)
            return output

    Embeddings.__name__ = Embeddings.__qualname__ = base.__name__
    return Embeddings


class CommonModelTests(modeling.ModelTesterMixin):
    """The model suite with the hooks that our models need, and the replacements that `exceptions.py` lists."""

    method: str
    variant = ""
    _is_composite = True
    # Older models of transformers are let off; ours are not.
    test_can_init_all_missing_weights_before_2023 = True
    # The last state of a video is its frame embeddings, whose size is that of the joint space.
    skip_test_video_features_output_shape = True
    # Without a prompt index every row is a label, so a test may take as many rows as it likes.
    additional_model_inputs = ["input_ids"]

    def setUp(self) -> None:
        self.model_tester = MethodTester(self.method, self.variant)
        self.config_tester = configuration.ConfigTester(
            self, config_class=METHODS[self.method].config_class, has_text_modality=False
        )
        if re.search("_matches_.*(fp16|bf16)", self._testMethodName):
            self.all_model_classes = tuple(map(embeddings_class, self.all_model_classes))

    def _prepare_for_class(self, inputs_dict: dict, model_class: type, return_labels: bool = False) -> dict:
        inputs = copy.deepcopy(inputs_dict)
        if return_labels:
            inputs["labels"] = torch.arange(self.model_tester.batch_size)
        return inputs

    def test_config(self) -> None:
        self.config_tester.run_common_tests()

    def _check_text_features(self, return_dict: bool | None) -> None:
        config, inputs = self._text_features_prepare_config_and_inputs()
        if return_dict is not None:
            config.return_dict = return_dict
        with torch.no_grad():
            output = self.all_model_classes[0](config).eval().get_text_features(**inputs)
        self.assertIsInstance(output, ModelOutput)
        self.assertEqual(output.pooler_output.shape[0], inputs["input_ids"].shape[0])
        torch.testing.assert_close(output.pooler_output.norm(dim=-1), torch.ones(inputs["input_ids"].shape[0]))

    def test_get_text_features_output_0(self) -> None:
        self._check_text_features(return_dict=True)

    def test_get_text_features_output_2(self) -> None:
        self._check_text_features(return_dict=None)


def model_case(method: str, variant: str = "") -> type[unittest.TestCase]:
    """All common model tests of a method, excepted ones included."""
    name = f"{METHODS[method].prefix}{variant.title()}CommonTest"
    content = {"method": method, "all_model_classes": (ready_class(method),), "__module__": __name__}
    content["variant"] = variant
    return type(name, (CommonModelTests, unittest.TestCase), content)


class TrainingTester(MethodTester):
    def get_config(self) -> Any:
        config = super().get_config()
        config.vocab_size = config.get_text_config().vocab_size  # the suite asks every configuration for it
        return config


class CommonTrainingTests(training.TrainingTesterMixin):
    """A tiny model learns three videos by heart."""

    method: str
    model_tester = None
    training_overfit_steps = 60

    def setUp(self) -> None:
        self.model_tester = TrainingTester(self.method)
        self.all_model_classes = (ready_class(self.method),)

    def _get_model_modality(self) -> str:
        return "text"  # the only modality for which the suite asks for a batch

    def _create_text_training_batch(self, **sizes: int) -> dict[str, torch.Tensor]:
        _, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        return {**inputs, "labels": torch.arange(self.model_tester.batch_size)}


def training_case(method: str) -> type[unittest.TestCase]:
    name = f"{METHODS[method].prefix}TrainingTest"
    # ResT starts without anything learned and has three losses, so it takes longer.
    content = {"training_overfit_steps": 200} if method == "rest" else {}
    return type(name, (CommonTrainingTests, unittest.TestCase), {"method": method, "__module__": __name__, **content})


# A method that stands on an encoder, over another one; over all of them: slow.
for _method, _variant in ((m, v) for m in METHODS for v in TINY[m].variants if v in ENCODERS):
    _case = apply_exceptions(model_case(_method, _variant), "model")
    globals()[_case.__name__] = _case if _variant == "siglip" else pytest.mark.slow(_case)
for _method in METHODS:
    for _case in (model_case(_method), training_case(_method)):
        globals()[_case.__name__] = apply_exceptions(_case, "model") if issubclass(_case, CommonModelTests) else _case
del _case
