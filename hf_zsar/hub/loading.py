"""Use a pushed model with the installed code."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from hf_zsar.registration import TASK


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hf_zsar.pipeline_zero_shot_video_classification import ZeroShotVideoClassificationPipeline


def pipeline(
    model: str | os.PathLike | PreTrainedModel | None = None, **kwargs: Any
) -> ZeroShotVideoClassificationPipeline:
    """The zero-shot video classification pipeline, with this package's code.

    As `transformers.pipeline("zero-shot-video-classification", model=...)`, and it needs no `trust_remote_code`: a
    repository pushed with code names its own pipeline file, which makes transformers ask for trust even where the
    package is installed. Here the installed class is used and no file of the repository is executed.

    Args:
        model: repository id, folder or loaded model (then also pass `processor`). The embedded default if left out.
        kwargs: as for `transformers.pipeline`: `revision`, `device`, `dtype`, `token`, `processor`, ...

    Raises:
        OSError: there is no such model, or it is neither in the cache nor within reach.
    """
    import transformers

    from hf_zsar.pipeline_zero_shot_video_classification import ZeroShotVideoClassificationPipeline

    if model is None:
        from hf_zsar.embedded import embedded_model_path

        model = embedded_model_path()
    model = os.fspath(model) if isinstance(model, os.PathLike) else model
    try:
        return transformers.pipeline(TASK, model=model, pipeline_class=ZeroShotVideoClassificationPipeline, **kwargs)
    except OSError as error:
        if str(model) in str(error):
            raise
        raise OSError(f"Cannot load {model}: {error}") from error  # transformers does not always say what is missing
