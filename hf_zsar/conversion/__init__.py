"""Official checkpoint files to folders that `from_pretrained` reads; one module per source.

`SOURCES` lists what can be read. A converter is a function `convert(path, **config) -> Conversion`, `config` being
fields of the method's configuration that win over what the file says. Importing this package imports neither torch nor
transformers.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .checkpoint_files import Conversion


@dataclass(frozen=True)
class Source:
    """A kind of checkpoint file.

    Args:
        name: as `hf-zsar convert --from` takes it.
        summary: what it is, a line.
        module: of this package.
        function: in that module.
    """

    name: str
    summary: str
    module: str
    function: str = "convert"

    def load(self) -> Callable[..., Conversion]:
        """The converter; imports torch and transformers."""
        return getattr(importlib.import_module(f"{__name__}.{self.module}"), self.function)


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source("actionclip", "trainer file of the official ActionCLIP code", "actionclip"),
        Source("mmaction2-actionclip", "ActionCLIP file of mmaction2", "actionclip", "convert_mmaction2"),
        Source("bike", "epoch file of the official BIKE code (video branch)", "bike"),
        Source("openai-clip", "OpenAI's CLIP, an archive or a state dict", "openai_clip"),
        Source("stdd", "epoch file or averaged file of the official STDD code", "stdd"),
    )
}


def convert_checkpoint(
    path: str | os.PathLike, source: str, tokenizer: Any = None, templates: list[str] | None = None, **config: Any
) -> Conversion:
    """Convert a checkpoint file.

    Args:
        path: the file.
        source: a name of `SOURCES`.
        tokenizer: of the text tower: a Hub id, a folder or a loaded tokenizer; goes into the folder's processor.
        templates: prompt templates instead of the method's own.
        config: fields of the method's configuration that win over what the file says.

    Returns:
        the model with its weights, and everything to save beside it; `save(folder)` writes it.

    Raises:
        ConversionError: an unknown source, a file that does not fit, a configuration field that does not exist or
            cannot have that value, or a tokenizer of another vocabulary.
    """
    from huggingface_hub.errors import StrictDataclassError

    from .checkpoint_files import ConversionError
    from .processors import attach_processor

    if source not in SOURCES:
        raise ConversionError(f"Unknown source {source!r}; known: {', '.join(SOURCES)}.")
    try:
        conversion = SOURCES[source].load()(os.fspath(path), **config)
    except StrictDataclassError as error:
        raise ConversionError(f"the configuration is not valid: {str(error).splitlines()[-1].strip()}") from error
    unknown = sorted(set(config) - set(type(conversion.model.config).__dataclass_fields__))
    if unknown:
        raise ConversionError(f"{type(conversion.model.config).__name__} has no field {', '.join(unknown)}.")
    attach_processor(conversion, tokenizer, templates)
    return conversion


__all__ = ["SOURCES", "Source", "convert_checkpoint"]
