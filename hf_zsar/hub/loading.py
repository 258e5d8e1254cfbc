"""Use a pushed model with the installed code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_zsar.errors import sentence
from hf_zsar.processing.text_files import TextFileError, read_json
from hf_zsar.registration import TASK


if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

    from hf_zsar.pipeline_zero_shot_video_classification import ZeroShotVideoClassificationPipeline

# Large, and read by parsers with bounds of their own.
# Not of the model, or read with bounds of their own.
_LEFT_TO_OTHERS = frozenset({"tokenizer.json", "vocab.json", "descriptions.json", "history.json"})


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
        OSError: there is no such model, it is neither in the cache nor within reach, or its weights are damaged.
        ValueError: another of its files is damaged, or asks for what cannot be.
    """
    import transformers

    from hf_zsar.pipeline_zero_shot_video_classification import ZeroShotVideoClassificationPipeline

    if model is None:
        from hf_zsar.embedded import embedded_model_path

        model = embedded_model_path()
    model = os.fspath(model) if isinstance(model, os.PathLike) else model
    with readable(model):
        check_folder(model)
        return transformers.pipeline(TASK, model=model, pipeline_class=ZeroShotVideoClassificationPipeline, **kwargs)


def load_model(source: str | os.PathLike, **kwargs: Any) -> tuple[PreTrainedModel, ProcessorMixin]:
    """A model of this package, in evaluation mode, and its processor.

    Args:
        source: repository id or folder.
        kwargs: for both: `revision`, `token`, ...

    Raises:
        OSError, ValueError: as [`pipeline`].
    """
    from transformers import AutoModel, AutoProcessor

    with readable(source):
        check_folder(source)
        model = AutoModel.from_pretrained(source, **kwargs).eval()
        return model, AutoProcessor.from_pretrained(source, **kwargs)


def check_folder(source: Any) -> None:
    """Read the JSON files of a local model folder, which libraries would read without bounds and without a word.

    Raises:
        TextFileError: one is damaged, too deep or too large, or holds no object.
    """
    folder = Path(source) if isinstance(source, (str, os.PathLike)) and os.path.isdir(source) else None
    for path in sorted(folder.glob("*.json")) if folder else ():
        if path.name not in _LEFT_TO_OTHERS and not isinstance(read_json(path), dict):
            raise TextFileError(f"{path} holds no JSON object: it is no file of a model.")


@contextmanager
def readable(source: Any) -> Iterator[None]:
    """Loading a model that somebody else wrote: whatever libraries raise on its files becomes one documented error."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        text, kind = sentence(error), OSError if isinstance(error, OSError) else ValueError
        if isinstance(error, kind) and str(source) in text and "\n" not in str(error):
            raise
        raise kind(f"Cannot load {source}: {text}") from error
