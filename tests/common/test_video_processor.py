"""Transformers' common video processor tests, run on ours."""

from __future__ import annotations

import unittest
from typing import Any

import pytest

from hf_zsar import ZSARVideoProcessor
from tests.common.exceptions import apply_exceptions
from tests.common.suite import SuiteUnavailable, load


try:
    video_processing = load("test_video_processing_common")
except SuiteUnavailable as error:
    pytest.skip(str(error), allow_module_level=True)


class VideoProcessorTester:
    """What the suite asks about a video processor: random videos, and the shape that they must take."""

    batch_size = 3
    num_frames = 5
    num_channels = 3

    def prepare_video_inputs(self, equal_resolution: bool = False, return_tensors: str = "pil") -> list[Any]:
        return video_processing.prepare_video_inputs(
            self.batch_size, self.num_frames, self.num_channels, 30, 60, equal_resolution, return_tensors
        )

    def expected_output_video_shape(self, videos: list[Any]) -> tuple[int, ...]:
        return self.num_frames, 3, 18, 18


class CommonVideoProcessorTests(video_processing.VideoProcessingTestMixin):
    """The video processor suite with its own sizes."""

    fast_video_processing_class = ZSARVideoProcessor
    test_cast_dtype = True
    video_processor_dict: dict[str, Any] = dict(
        size={"shortest_edge": 20}, crop_size={"height": 18, "width": 18}, num_frames=5
    )

    def setUp(self) -> None:
        super().setUp()
        self.video_processor_tester = VideoProcessorTester()


def video_processor_case() -> type[unittest.TestCase]:
    """All common video processor tests, excepted ones included."""
    return type("CommonTest", (CommonVideoProcessorTests, unittest.TestCase), {"__module__": __name__})


VideoProcessorCommonTest = apply_exceptions(video_processor_case(), "video_processor")
