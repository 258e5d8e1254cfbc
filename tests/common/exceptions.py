"""Every common test that is left out or replaced, with the reason: the only place where that is said.

`test_exceptions.py` proves that each entry still names a test of the suites and that the test still fails.

Not used at all: the pipeline mixin (its table of tasks is fixed and has no zero-shot video classification), the memory
mixin (it frees accelerators between tests), the tensor, expert and FSDP mixins (they need several accelerators).
"""

from __future__ import annotations

import unittest
from dataclasses import dataclass

from transformers.utils import is_torchvision_available


@dataclass(frozen=True)
class CommonTestException:
    """One common test that is not run as it is.

    Args:
        suite: `"model"`, `"processor"` or `"video_processor"`.
        test: its name.
        reason: why it does not fit.
        replaced: our suite has a test of that name in its place.
    """

    suite: str
    test: str
    reason: str
    replaced: bool = False


_NO_STATES = (
    "The outputs are scores and embeddings. Videos and texts go through different towers, frame by frame and prompt "
    "by prompt, so there is no one sequence of hidden states or attentions; the towers themselves give theirs."
)
_LABEL_EMBEDDINGS = (
    "get_text_features gives one embedding per label, pooled over its prompts, so it has no last hidden state of the "
    "shape of input_ids."
)

EXCEPTIONS: tuple[CommonTestException, ...] = (
    CommonTestException("model", "test_hidden_states_output", _NO_STATES),
    CommonTestException("model", "test_attention_outputs", _NO_STATES),
    CommonTestException("model", "test_retain_grad_hidden_states_attentions", _NO_STATES),
    CommonTestException("model", "test_get_text_features_hidden_states", _NO_STATES),
    CommonTestException("model", "test_get_text_features_attentions", _NO_STATES),
    CommonTestException("model", "test_get_video_features_hidden_states", _NO_STATES),
    CommonTestException("model", "test_get_video_features_attentions", _NO_STATES),
    CommonTestException("model", "test_get_text_features_output_0", _LABEL_EMBEDDINGS, replaced=True),
    CommonTestException("model", "test_get_text_features_output_2", _LABEL_EMBEDDINGS, replaced=True),
    CommonTestException(
        "processor",
        "test_call_arguments_not_in_attributes",
        "descriptions is both: what a processor knows about labels, and what a caller knows better for one call.",
    ),
    CommonTestException(
        "processor",
        "test_model_input_names",
        "The suite passes text, which is tokenized as it is; all inputs of a model come out of labels.",
        replaced=True,
    ),
    CommonTestException(
        "video_processor",
        "test_call_numpy_4_channels",
        "Pictures come out as RGB always; arrays must be RGB, and their shape says where the channels are.",
    ),
    CommonTestException(
        "video_processor",
        "test_call_sample_frames",
        "Frames are sampled by their times while a video is read, with other samplers than transformers', and a clip "
        "that is too short repeats frames. tests/processing has the samplers.",
    ),
)
if not is_torchvision_available():
    EXCEPTIONS += (
        CommonTestException(
            "processor",
            "test_processor_from_and_save_pretrained_as_nested_dict",
            "The suite loads the video processor through AutoVideoProcessor, which needs torchvision.",
            replaced=True,
        ),
        CommonTestException(
            "video_processor",
            "test_video_processor_save_load_with_autovideoprocessor",
            "AutoVideoProcessor needs torchvision.",
        ),
    )


def exceptions_of(suite: str) -> list[CommonTestException]:
    """The entries of one suite."""
    return [exception for exception in EXCEPTIONS if exception.suite == suite]


def apply_exceptions(case: type[unittest.TestCase], suite: str) -> type[unittest.TestCase]:
    """The same tests without those that are left out; they are reported as skipped, with the reason."""
    for exception in exceptions_of(suite):
        if not exception.replaced:
            setattr(case, exception.test, unittest.skip(exception.reason)(getattr(case, exception.test)))
    return case
