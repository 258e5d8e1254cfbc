"""From a recipe to the parts of a run: model, processor, data, collator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer

from hf_zsar.clips.datasets import few_shot, load_video_dataset, with_classes
from hf_zsar.hub.loading import load, readable
from hf_zsar.methods import METHODS, MethodSpec
from hf_zsar.processing.processing_zsar import ZSARProcessor
from hf_zsar.processing.video_processing_zsar import ZSARVideoProcessor

from .augmentation import ClipAugmentation
from .collator import VideoTextCollator
from .optimization import freeze, freeze_statistics
from .recipe import LoraRecipe, ModelRecipe, Recipe, RecipeError


@dataclass
class Run:
    """What a recipe describes, loaded."""

    recipe: Recipe
    model: Any  # a `ZSARPreTrainedModel`, or adapters of peft around one
    processor: ZSARProcessor
    train_dataset: Any
    eval_dataset: Any | None
    collator: VideoTextCollator

    @property
    def label_names(self) -> list[str]:
        """The training classes in the order of their ids."""
        return self.train_dataset.features["label"].names


def prepare_run(recipe: Recipe) -> Run:
    """Load everything that a recipe names.

    Raises:
        RecipeError: parts that do not fit each other.
        VideoDatasetError: the data.
        OSError: a model or tokenizer that is not there.
    """
    data = recipe.data
    everything, classes = _dataset(data.source, recipe), data.classes
    if classes is None and data.eval_classes and data.eval_source is None:
        classes = [name for name in everything.features["label"].names if name not in data.eval_classes]
    train = _of_classes(everything, classes)
    if data.shots is not None:
        train = few_shot(train, data.shots, recipe.seed)
    evaluation = None
    if data.eval_source or data.eval_classes:
        evaluation = _dataset(data.eval_source, recipe) if data.eval_source else everything
        evaluation = _of_classes(evaluation, data.eval_classes or data.classes)
    torch.manual_seed(recipe.seed)  # weights that start at random
    names = train.features["label"].names
    model, processor = build_model(recipe, names)
    model.prepare_training(names, recipe.model.teacher or recipe.model.encoder)
    if recipe.lora is not None:
        model = with_adapters(model, recipe.lora)
    # Adapters of a text side that stays as it is, too.
    freeze(model, [*recipe.optimization.freeze, *(["text"] if model.text_is_static else [])])
    if recipe.optimization.freeze_statistics:
        freeze_statistics(model)
    if recipe.optimization.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    collator = VideoTextCollator.for_model(
        model,
        processor,
        names,
        augmentation=ClipAugmentation(**recipe.augmentation) if recipe.augmentation is not None else None,
        sampling=recipe.sampling,
        sampling_options=recipe.sampling_options,
        seed=recipe.seed,
        on_error=data.on_error,
    )
    return Run(recipe, model, processor, train, evaluation, collator)


def _dataset(source: str, recipe: Recipe) -> Any:
    return load_video_dataset(source, root=recipe.data.root, on_missing=recipe.data.on_missing)


def _of_classes(dataset: Any, classes: list[str] | None) -> Any:
    return dataset if classes is None else with_classes(dataset, classes)


def build_model(recipe: Recipe, label_names: list[str]) -> tuple[Any, ZSARProcessor]:
    """The model and processor that a recipe starts from.

    Raises:
        RecipeError: a model of another method, or no way to get a tokenizer.
    """
    spec, origin = METHODS[recipe.method], recipe.model
    if origin.pretrained is not None:
        model, processor = _saved(spec, origin)
    else:
        fields = spec.model_class.training_fields({**(origin.config or {}), **origin.fields}, label_names)
        model, processor = _new(spec, origin, fields)
    return model, processor.limited_to(model.text_limit)


def _saved(spec: MethodSpec, origin: ModelRecipe) -> tuple[Any, ZSARProcessor]:
    folder = _resolved(str(origin.pretrained))
    with readable(folder):
        model = AutoModel.from_pretrained(folder, **origin.fields)
    if not isinstance(model, spec.model_class):
        raise RecipeError(f"model.pretrained: {origin.pretrained} is a {type(model).__name__}.")
    with readable(folder):
        return model, spec.processor_class.from_pretrained(folder, **origin.processor, **origin.video_processor)


def _new(spec: MethodSpec, origin: ModelRecipe, fields: dict[str, Any]) -> tuple[Any, ZSARProcessor]:
    if origin.encoder is not None:
        if not hasattr(spec.model_class, "from_encoder"):
            raise RecipeError("model.encoder: this method does not stand on one; use config or pretrained.")
        sides = {"processor": origin.processor, "video_processor": origin.video_processor}
        return load(origin.encoder, method=spec.name, **sides, **fields)
    model = spec.model_class(spec.config_class(**fields))
    if origin.tokenizer is None:
        raise RecipeError("model.tokenizer: a model from a config needs the folder or Hub id of a tokenizer.")
    video_processor = ZSARVideoProcessor(**{"num_frames": model.config.num_frames, **origin.video_processor})
    with readable(origin.tokenizer):
        loaded = AutoTokenizer.from_pretrained(origin.tokenizer)
    return model, spec.processor_class(video_processor, loaded, **origin.processor)


def with_adapters(model: Any, lora: LoraRecipe) -> Any:
    """The model with adapters of peft around it, which alone are trained.

    Raises:
        ImportError: peft is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise ImportError("lora in a recipe needs peft: pip install peft") from error
    return peft.get_peft_model(
        model,
        peft.LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=list(model.lora_targets),
            modules_to_save=lora.new_parts or None,
        ),
    )


def _resolved(name: str) -> str:
    if name != "embedded":
        return name
    from hf_zsar.embedded import embedded_model_path

    return str(embedded_model_path())


__all__ = ["Run", "prepare_run"]
