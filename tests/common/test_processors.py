"""Transformers' common processor tests, run on the processor of every registered method."""

from __future__ import annotations

import tempfile
import unittest
from typing import Any

import pytest
from transformers import AutoTokenizer

from hf_zsar import METHODS, ZSARVideoProcessor
from tests.common.exceptions import apply_exceptions
from tests.common.suite import SuiteUnavailable, load
from tests.tiny_models import TINY, tiny_processor


try:
    processing = load("test_processing_common")
except SuiteUnavailable as error:
    pytest.skip(str(error), allow_module_level=True)


class CommonProcessorTests(processing.ProcessorTesterMixin):
    """The processor suite with the components of a method."""

    method: str

    @classmethod
    def _setup_video_processor(cls) -> ZSARVideoProcessor:
        return tiny_processor(cls.method).video_processor

    @classmethod
    def _setup_tokenizer(cls) -> Any:
        return TINY[cls.method].tokenizer()

    def get_component(self, attribute: str, use_tiny_ckpt: bool = True, **kwargs: Any) -> Any:
        # The suite asks AutoVideoProcessor, which is there with torchvision only.
        if attribute == "video_processor":
            return ZSARVideoProcessor.from_pretrained(self.tmpdirname, **kwargs)
        return super().get_component(attribute, use_tiny_ckpt, **kwargs)

    def test_model_input_names(self) -> None:
        processor = self.get_processor()
        inputs = processor(videos=self.prepare_videos_inputs(), labels=["cooking", "surfing"], do_sample_frames=False)
        self.assertSetEqual(set(inputs), set(processor.model_input_names))

    def test_processor_from_and_save_pretrained_as_nested_dict(self) -> None:
        first = self.get_processor()
        with tempfile.TemporaryDirectory() as folder:
            first.save_pretrained(folder)
            self.assertEqual(self.processor_class.from_pretrained(folder).to_dict(), first.to_dict())
            video_processor = ZSARVideoProcessor.from_pretrained(folder)
            self.assertEqual(repr(video_processor), repr(first.video_processor))
            tokenizer = AutoTokenizer.from_pretrained(folder)
            self.assertEqual(tokenizer.get_vocab(), first.tokenizer.get_vocab())


def processor_case(method: str) -> type[unittest.TestCase]:
    """All common processor tests of a method, excepted ones included."""
    spec = METHODS[method]
    content = {"method": method, "processor_class": spec.processor_class, "__module__": __name__}
    return type(f"{spec.prefix}CommonTest", (CommonProcessorTests, unittest.TestCase), content)


for _method in METHODS:
    _case = apply_exceptions(processor_case(_method), "processor")
    globals()[_case.__name__] = _case
del _case
