"""Use a pushed model with the installed code."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_zsar.backbones import load_backbone
from hf_zsar.encoders import SOURCE, is_open_clip, load_encoder
from hf_zsar.errors import sentence
from hf_zsar.methods import METHODS
from hf_zsar.processing.text_files import TextFileError, read_json
from hf_zsar.registration import TASK


if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

    from hf_zsar.modeling.modeling_zsar import ZSARPreTrainedModel
    from hf_zsar.pipeline_zero_shot_video_classification import ZeroShotVideoClassificationPipeline

# Not of the model, or read with bounds of their own.
_LEFT_TO_OTHERS = frozenset({"tokenizer.json", "vocab.json", "descriptions.json", "history.json", "modules.json"})
_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model", "tekken.json")


def pipeline(
    model: str | os.PathLike | PreTrainedModel | None = None, **kwargs: Any
) -> ZeroShotVideoClassificationPipeline:
    """The zero-shot video classification pipeline, with this package's code.

    As `transformers.pipeline("zero-shot-video-classification", model=...)`, and it needs no `trust_remote_code`: a
    repository pushed with code names its own pipeline file, which makes transformers ask for trust even where the
    package is installed. Here the installed class is used and no file of the repository is executed.

    Args:
        model: as in [`load`], or a loaded model (then also pass `processor`).
        kwargs: as for `transformers.pipeline`: `revision`, `device`, `dtype`, `token`, `processor`, ...

    Raises:
        OSError: there is no such model, it is neither in the cache nor within reach, or its weights are damaged.
        ValueError: another of its files is damaged, or asks for what cannot be, or weights are missing.
    """
    import transformers

    from hf_zsar.pipeline_zero_shot_video_classification import ZeroShotVideoClassificationPipeline

    model = _name(model)
    with readable(model):
        check_folder(model)
        if isinstance(model, str) and not _is_own(model, **_subset(kwargs, SOURCE)):
            model, processor = load_encoder(model, **_subset(kwargs, (*SOURCE, "encoder", "dtype", "device_map")))
            kwargs = {"processor": processor, **_subset(kwargs, kwargs.keys() - {*SOURCE, "encoder"})}
        options: dict[str, Any] = {"model": model, "pipeline_class": ZeroShotVideoClassificationPipeline, **kwargs}
        task: Any = TASK  # the types of `transformers.pipeline` know its own tasks only
        return complete(transformers.pipeline(task, **options))


def load(
    source: str | os.PathLike | None = None, *, method: str | None = None, **kwargs: Any
) -> tuple[ZSARPreTrainedModel, ProcessorMixin]:
    """A model in evaluation mode and its processor.

    Args:
        source: repository id or folder of a model of this package, or of a published one that there is an adapter for
            (`hf-zsar models`). The embedded default if left out.
        method: `"actionclip"`, `"stdd"` or `"dasti"`, to start from a published model of images, with its weights
            and new ones of the method; or `"rest"`, on a published video or vision model (then also pass
            `text_encoder`). `kwargs` may hold fields of its configuration, such as `num_frames`.
        kwargs: `revision`, `token`, `cache_dir`, `local_files_only` for both; others, e.g. `dtype`, for the model.

    Raises:
        OSError, ValueError: as [`pipeline`].
    """
    from transformers import AutoModel, AutoProcessor

    source = _name(source)
    with readable(source):
        check_folder(source)
        own = _is_own(source, **_subset(kwargs, SOURCE))
        if own and method is not None:
            raise ValueError(f"{source} is a model of this package already: method= is for published ones.")
        if "text_encoder" in kwargs or (method and hasattr(METHODS[method].model_class, "from_backbone")):
            return load_backbone(source, **kwargs)
        if not own:
            model, processor = load_encoder(source, method=METHODS[method] if method else None, **kwargs)
            return complete(model), processor
        model = complete(AutoModel.from_pretrained(source, **kwargs)).eval()
        return model, AutoProcessor.from_pretrained(source, **_subset(kwargs, SOURCE))


def _name(source: Any) -> Any:
    if source is None:
        from hf_zsar.embedded import embedded_model_path

        source = embedded_model_path()
    return os.fspath(source) if isinstance(source, os.PathLike) else source


def _subset(options: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: options[name] for name in names if name in options}


def _is_own(source: Any, **load_kwargs: Any) -> bool:
    """Whether a repository or folder holds a model of a method or an adapter for one, not a published model."""
    from transformers import PreTrainedConfig
    from transformers.utils import find_adapter_config_file

    if is_open_clip(source):
        return False
    place = _subset(load_kwargs, load_kwargs.keys() - {"trust_remote_code"})
    settings = PreTrainedConfig.get_config_dict(source, **place)[0]
    if "model_type" not in settings and (adapter := find_adapter_config_file(source, **place)):
        base = str(read_json(Path(adapter)).get("base_model_name_or_path"))
        place = _subset(place, place.keys() - {"revision", "subfolder"})  # those of the adapter
        settings = PreTrainedConfig.get_config_dict(base, **place)[0]
    return settings.get("model_type") in {spec.model_type for spec in METHODS.values()}


def check_folder(source: Any) -> None:
    """Read the JSON files of a local model folder, which libraries would read without bounds and without a word.

    Raises:
        TextFileError: one is damaged, too deep or too large, or holds no object.
        ValueError: a file instead of a folder, a folder instead of a file, a tokenizer without its vocabulary.
    """
    if not isinstance(source, (str, os.PathLike)) or not os.path.exists(source):
        return
    folder = Path(source)
    if not folder.is_dir():
        raise ValueError(f"{source} is a file: name the folder of a model, or a repository on the Hub.")
    for path in sorted(folder.glob("*.json")):
        if not path.is_file():
            raise ValueError(f"{path} is not a file.")
        if path.name not in _LEFT_TO_OTHERS and not isinstance(read_json(path), dict):
            raise TextFileError(f"{path} holds no JSON object: it is not a file of a model.")
    # Without one, transformers makes a tokenizer that knows no word.
    if (folder / "tokenizer_config.json").is_file() and not any(any(folder.glob(name)) for name in _VOCABULARIES):
        raise ValueError(f"{folder} has a tokenizer without its vocabulary ({', '.join(_VOCABULARIES)}).")


def complete(loaded: Any) -> Any:
    """A model of ours, or a pipeline, as it is; errors as [`check_missing`]."""
    model = getattr(loaded, "model", loaded)
    check_missing(model, getattr(model, "missing_weights", ()))
    return loaded


def check_missing(model: PreTrainedModel, missing: Collection[str]) -> None:
    """
    Raises:
        ValueError: the file that it was loaded from lacks weights, of which transformers warns and makes random ones.
    """
    if missing:
        name = getattr(model.config, "_name_or_path", "") or type(model).__name__
        raise ValueError(f"{name} lacks {len(missing)} of its weights, such as {min(missing)}: its file is not whole.")


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
