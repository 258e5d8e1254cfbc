"""A model folder that loads anywhere: weights, config, processor and the code that reads them.

The code travels beside the weights (see `code`), and `auto_map` / `custom_pipelines` say which file holds which class.
That is all that `trust_remote_code=True` needs, without this package. Where the package is installed, its own classes
are used and the copies are never run.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_zsar.files import is_empty, replacing_folder
from hf_zsar.modeling.encoder import Encoder
from hf_zsar.processing.frame_sampling import get_sampler
from hf_zsar.processing.text_files import TextFileError, read_json
from hf_zsar.registration import TASK

from .code import ExportError, collect_code


if TYPE_CHECKING:
    from transformers import ProcessorMixin

    from hf_zsar.modeling.modeling_zsar import ZSARPreTrainedModel

    from .facts import CardFacts


# In the place of samplers by frame index, where none of them is used.
NO_SAMPLERS = '''"""This model samples by time."""


def official_samplers() -> tuple:
    """None of the samplers by frame index."""
    return ()


__all__ = ["official_samplers"]
'''

# Which adapter goes with which encoder is for the installed package to know, so an export names the one that it needs.
JOINED = "modeling_exported.py"
_JOINED_CODE = '''"""The model with the adapter of its encoder. Written by the export."""

from .encoder import ADAPTERS
from .{adapter_file} import {adapter}
from .{model_file} import {model} as Model


ADAPTERS["{model_type}"] = lambda: {adapter}


class {model}(Model):
    """{model} over {adapter}."""
'''


def export(
    model: ZSARPreTrainedModel,
    processor: ProcessorMixin,
    folder: str | os.PathLike,
    *,
    card: CardFacts | str | None = None,
    overwrite: bool = False,
    verify: bool = True,
) -> Path:
    """Write a model folder with everything that is needed to use it on another machine.

    Args:
        model: one of this package's models; its weights are saved as safetensors.
        processor: the processor that goes with it.
        folder: where to write. It appears only when it is complete.
        card: facts for the model card, or a ready README text; by default the facts that the model itself tells.
        overwrite: replace an earlier export of the same name. Anything else that stands there is never touched.
        verify: load the result in a process without this package and compare scores (see `verify_export`).

    Returns:
        The folder.

    Raises:
        FileExistsError: the folder exists and is not empty, or with `overwrite` is not an export.
        ExportError: two code files of the same name differ, or the export does not give the model's scores.
    """
    target = Path(folder)
    _check_target(target, overwrite)
    with replacing_folder(target, overwrite) as draft:
        model.save_pretrained(draft)
        processor.save_pretrained(draft)
        add_code(draft, model, processor)
        _write_readme(draft, model, processor, card)
        if verify:
            from .verification import verify_export

            verify_export(draft, model, processor)
    return target


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.exists() or (target.is_dir() and is_empty(target)):
        return
    if overwrite and target.is_dir() and is_export(target):
        return
    hint = "it is not an earlier export" if overwrite else "pass overwrite=True to replace an earlier export"
    raise FileExistsError(f"{target} exists already and was left as it is: choose another folder ({hint}).")


def is_export(folder: Path) -> bool:
    """Whether a folder carries the code of its model (written by `export`)."""
    try:
        config = read_json(folder / "config.json")
    except (OSError, TextFileError):
        return False
    return isinstance(config, dict) and "auto_map" in config


def add_code(folder: Path, model: ZSARPreTrainedModel, processor: ProcessorMixin) -> None:
    """Copy the code of a model, its configuration, its processor and the pipeline; point the JSON files at it."""
    from hf_zsar.pipeline_video_scoring import VideoScoringPipeline

    classes = {"AutoConfig": type(model.config), "AutoModel": type(model), "AutoProcessor": type(processor)}
    adapters = [type(each) for each in model.children() if isinstance(each, Encoder)]
    if not all(adapter.travels for adapter in adapters):
        raise ExportError(
            f"{adapters[0].__name__} needs a package of its own, which an export cannot bring along: push the "
            "original checkpoint, which hf_zsar.pipeline takes as it is."
        )
    code = collect_code((*classes.values(), *adapters, VideoScoringPipeline))
    if get_sampler(processor.video_processor.sampling).unit == "seconds":
        code["official_samplers.py"] = NO_SAMPLERS
    for name, source in code.items():
        (folder / name).write_text(source, encoding="utf-8")
    pointers = {auto: _pointer(cls) for auto, cls in classes.items()}
    if adapters:
        pointers["AutoModel"] = _add_adapter(folder, model, adapters[0])
    impl = {"impl": _pointer(VideoScoringPipeline), "pt": ["AutoModel"], "type": "multimodal"}
    _update_json(folder / "config.json", auto_map=pointers, custom_pipelines={TASK: impl})
    _update_json(folder / "processor_config.json", auto_map={"AutoProcessor": pointers["AutoProcessor"]})


def _add_adapter(folder: Path, model: ZSARPreTrainedModel, adapter: type) -> str:
    """A file that joins a model with the adapter of its encoder; the pointer to what it defines."""
    name = type(model).__name__
    (folder / JOINED).write_text(
        _JOINED_CODE.format(
            adapter=adapter.__name__,
            adapter_file=adapter.__module__.rsplit(".", 1)[-1],
            model=name,
            model_file=type(model).__module__.rsplit(".", 1)[-1],
            model_type=model.config.backbone_config.model_type,
        ),
        encoding="utf-8",
    )
    return f"{Path(JOINED).stem}.{name}"


def _pointer(cls: type) -> str:
    return f"{cls.__module__.rsplit('.', 1)[-1]}.{cls.__name__}"


def _update_json(path: Path, **fields: Any) -> None:
    settings = read_json(path)
    settings.update(fields)
    path.write_text(json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_readme(
    folder: Path, model: ZSARPreTrainedModel, processor: ProcessorMixin, card: CardFacts | str | None
) -> None:
    from .cards import write_card
    from .facts import CardFacts

    if isinstance(card, str):
        (folder / "README.md").write_text(card, encoding="utf-8")
        return
    facts = (card or CardFacts()).completed_from(model, processor)
    write_card(folder, facts.with_code(code_digest(folder)))


def code_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's Python files: what a reader of the card can compare."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
