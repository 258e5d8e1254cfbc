"""Every common test that is left out or replaced, with the reason: the only place where that is said.

`test_exceptions.py` proves that each entry still names a test of the suites and that the test still fails.
"""

from __future__ import annotations

import unittest
from dataclasses import dataclass


@dataclass(frozen=True)
class CommonTestException:
    """One common test that is not run as it is.

    Args:
        suite: `"model"` or `"processor"`.
        test: its name.
        reason: why it does not fit.
        methods: the methods it concerns; empty = all.
    """

    suite: str
    test: str
    reason: str
    methods: tuple[str, ...] = ()


_NO_STATES = (
    "The outputs are scores and embeddings. Videos and texts go through different towers, frame by frame and prompt "
    "by prompt, so there is no one sequence of hidden states or attentions; the towers themselves give theirs."
)
_LABEL_EMBEDDINGS = (
    "get_text_features gives one embedding per label, pooled over its prompts, so it has no last hidden state of the "
    "shape of input_ids. tests/modeling checks what it gives instead."
)

EXCEPTIONS: tuple[CommonTestException, ...] = (
    CommonTestException("model", "test_hidden_states_output", _NO_STATES),
    CommonTestException("model", "test_attention_outputs", _NO_STATES),
    CommonTestException("model", "test_retain_grad_hidden_states_attentions", _NO_STATES),
    CommonTestException("model", "test_get_text_features_hidden_states", _NO_STATES),
    CommonTestException("model", "test_get_text_features_attentions", _NO_STATES),
    CommonTestException("model", "test_get_video_features_hidden_states", _NO_STATES),
    CommonTestException("model", "test_get_video_features_attentions", _NO_STATES),
    CommonTestException("model", "test_get_text_features_output_0", _LABEL_EMBEDDINGS),
    CommonTestException("model", "test_get_text_features_output_2", _LABEL_EMBEDDINGS),
)


def exceptions_for(suite: str, method: str) -> dict[str, CommonTestException]:
    """Test name -> why it is left out for this method."""
    return {e.test: e for e in EXCEPTIONS if e.suite == suite and (not e.methods or method in e.methods)}


def apply_exceptions(case: type[unittest.TestCase], suite: str, method: str) -> type[unittest.TestCase]:
    """The same tests without those that are excepted for the method; they are reported as skipped, with the reason."""
    for name, exception in exceptions_for(suite, method).items():
        setattr(case, name, unittest.skip(exception.reason)(getattr(case, name)))
    return case
