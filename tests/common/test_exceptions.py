"""The list of exceptions is honest: every entry names a test of the suites, and that test does fail on our classes."""

from __future__ import annotations

import inspect
import unittest

import pytest
from transformers.utils import is_torchvision_available

from hf_zsar import METHODS
from tests.common import test_models, test_processors, test_video_processor
from tests.common.exceptions import EXCEPTIONS, CommonTestException


SUITES = {
    "model": (test_models.modeling.ModelTesterMixin, test_models.CommonModelTests, test_models.model_case),
    "processor": (
        test_processors.processing.ProcessorTesterMixin,
        test_processors.CommonProcessorTests,
        test_processors.processor_case,
    ),
    "video_processor": (
        test_video_processor.video_processing.VideoProcessingTestMixin,
        test_video_processor.CommonVideoProcessorTests,
        lambda method: test_video_processor.video_processor_case(),
    ),
}


def run_original(exception: CommonTestException, method: str) -> unittest.TestResult:
    """The suite's own test on a method, as if there were no exception."""
    mixin, _, build = SUITES[exception.suite]
    case = build(method)
    setattr(case, exception.test, vars(mixin)[exception.test])
    result = unittest.TestResult()
    unittest.TestSuite([case(exception.test)]).run(result)
    return result


def test_no_test_is_excepted_twice():
    names = [(exception.suite, exception.test) for exception in EXCEPTIONS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("exception", EXCEPTIONS, ids=lambda exception: exception.test)
def test_exception_names_a_test_of_the_suite(exception):
    assert callable(vars(SUITES[exception.suite][0]).get(exception.test)), "no such test: remove the entry"


@pytest.mark.parametrize("exception", EXCEPTIONS, ids=lambda exception: exception.test)
def test_excepted_test_still_fails(exception):
    methods = ["all"] if exception.suite == "video_processor" else list(METHODS)
    results = {method: run_original(exception, method) for method in methods}
    assert [result.testsRun for result in results.values()] == [1] * len(methods)
    passing = [method for method, result in results.items() if result.wasSuccessful()]
    assert passing == [], "the test passes or skips itself now: remove the entry"


@pytest.mark.parametrize("suite", SUITES)
def test_every_replacement_is_listed(suite):
    mixin, ours, _ = SUITES[suite]
    module = inspect.getmodule(ours)
    replaced = {
        name
        for name in vars(ours)
        if name.startswith("test_")
        and hasattr(mixin, name)
        and inspect.isfunction(getattr(ours, name))
        and inspect.unwrap(getattr(ours, name)).__module__ == module.__name__
    }
    listed = {exception.test for exception in EXCEPTIONS if exception.suite == suite and exception.replaced}
    if is_torchvision_available():
        replaced.discard("test_processor_from_and_save_pretrained_as_nested_dict")
    assert replaced == listed


def test_a_passing_test_would_be_noticed():
    result = run_original(CommonTestException("model", "test_determinism", "passes"), next(iter(METHODS)))
    assert result.wasSuccessful()
