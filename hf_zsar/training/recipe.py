"""Recipes: one YAML file says all of a training run. Checked before anything heavy is loaded."""

# Annotations are evaluated here: the strict dataclasses check their fields by them.
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, Literal, get_args

from huggingface_hub.dataclasses import StrictDataclassFieldValidationError, strict, validated_field

from hf_zsar.methods import METHODS
from hf_zsar.processing.text_files import TextFileError
from hf_zsar.yaml_files import read_yaml


Number = int | float


def at_least(least: Number) -> Callable[[Number], None]:
    """A validator of numbers."""

    def check(value: Number) -> None:
        if value < least:
            raise ValueError(f"must be at least {least}, got {value}.")

    return check


def not_empty(value: Sized) -> None:
    """A validator of learning rates."""
    if not value:
        raise ValueError("give at least one, such as default.")


def two_numbers(value: Sized) -> None:
    """A validator of AdamW's betas."""
    if len(value) != 2:
        raise ValueError(f"two numbers are needed, got {value}.")


class RecipeError(ValueError):
    """A recipe that cannot be run; the message names the field, what is wrong and what to do."""


@strict
@dataclass
class ModelRecipe:
    """Where the model comes from: exactly one of `pretrained`, `encoder` and `config`.

    Args:
        pretrained: folder or Hub id of a model of this package, to go on from.
        encoder: folder or Hub id of a published model, such as a CLIP, for the methods on one; pictures and texts are
            prepared as its files say.
        config: a whole configuration, for a model from random weights.
        fields: of the method's configuration, over `encoder`'s or `pretrained`'s.
        tokenizer: folder or Hub id, for `config`; the others bring theirs.
        processor: options of the method's processor.
        video_processor: options of the video processor.
        teacher: folder or Hub id of what a method with a teacher learns from; default: `encoder`, else the model
            itself as it starts.
    """

    pretrained: str | None = None
    encoder: str | None = None
    config: dict[str, Any] | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    tokenizer: str | None = None
    processor: dict[str, Any] = field(default_factory=dict)
    video_processor: dict[str, Any] = field(default_factory=dict)
    teacher: str | None = None


@strict
@dataclass
class DataRecipe:
    """The training set, see [`load_video_dataset`].

    Args:
        source: folder of class folders, manifest, list, shards or Hub id.
        root: where listed files lie.
        classes: only these, in this order (leave-some-classes-out); default all, but those of `eval_classes` when the
            evaluation has no source of its own.
        shots: so many videos of every class, drawn with the run's seed.
        eval_source, eval_classes: of the evaluation after each epoch; default: none.
        on_missing: `"error"` or `"report"`.
        on_error: a video that cannot be read: `"raise"` or `"skip"`.
        workers: loading processes.
    """

    source: str
    root: str | None = None
    classes: list[str] | None = None
    shots: int | None = None
    eval_source: str | None = None
    eval_classes: list[str] | None = None
    on_missing: Literal["error", "report"] = "error"
    on_error: Literal["raise", "skip"] = "raise"
    workers: int = validated_field(at_least(0), default=0)


@strict
@dataclass
class OptimizationRecipe:
    """Optimizer and schedule: AdamW, linear warm-up, cosine.

    Args:
        learning_rates: by role (`vision`, `text`, `scale`, `head`) or `default`.
        epochs, warmup_epochs: the latter may be a fraction.
        batch_size: videos per process and step; accumulation: steps per update.
        weight_decay, decay_all: see [`parameter_groups`].
        betas, eps: of AdamW.
        min_lr_ratio: the cosine ends at this share of the learning rate.
        clip_grad: largest gradient norm; 0 is no limit.
        freeze: roles that are not trained.
        freeze_statistics: leave the means and variances of batch norms as they are (small batches, few videos).
        precision: `"no"`, `"bf16"` or `"fp16"`.
        gradient_checkpointing: trade time for memory.
    """

    learning_rates: dict[str, Number] = validated_field(not_empty)
    epochs: int = validated_field(at_least(1), default=10)
    warmup_epochs: Number = validated_field(at_least(0), default=0.0)
    batch_size: int = validated_field(at_least(1), default=8)
    accumulation: int = validated_field(at_least(1), default=1)
    weight_decay: Number = 0.0
    decay_all: bool = False
    betas: list[Number] = validated_field(two_numbers, default_factory=lambda: [0.9, 0.999])
    eps: Number = 1e-8
    min_lr_ratio: Number = 0.0
    clip_grad: Number = validated_field(at_least(0), default=0.0)
    freeze: list[str] = field(default_factory=list)
    freeze_statistics: bool = False
    precision: Literal["no", "bf16", "fp16"] = "no"
    gradient_checkpointing: bool = False


@strict
@dataclass
class AveragingRecipe:
    """Weight averaging over epochs, see [`averaging_weights`]; `first_epoch` counts from 1."""

    first_epoch: int = validated_field(at_least(1), default=1)
    mode: Literal["mean", "gaussian", "beta", "exponential"] = "mean"


@strict
@dataclass
class LoraRecipe:
    """Low-rank adapters on the towers instead of training all their weights (needs peft); merged at the end.

    Args:
        r, alpha, dropout: rank, scale and dropout, as in `peft.LoraConfig`.
        new_parts: what is trained whole beside them, such as `temporal_head`.
    """

    r: int = validated_field(at_least(1), default=8)
    alpha: int = validated_field(at_least(1), default=16)
    dropout: Number = validated_field(at_least(0), default=0.0)
    new_parts: list[str] = field(default_factory=list)


@strict
@dataclass
class Recipe:
    """A training run.

    Args:
        method: a name of `hf_zsar.METHODS`.
        output: folder of checkpoints and of the final model.
        sampling, sampling_options: frame sampler of training clips.
        augmentation: fields of [`ClipAugmentation`]; without it clips are resized and cropped as in evaluation.
        averaging: weight averaging over epochs.
        interpolation: the way back from the trained towers to those that the run started from, 0 to 1 ("patching").
        lora: adapters on the towers.
        prototypes: let a method that needs it go through all videos once more when training is over.
        seed: all randomness starts from it.
        report_to: a tracker or several, `tensorboard` or `wandb`.
        log_steps: updates between two lines of the trackers.
        save_epochs: epochs between two checkpoints that stay; save_steps: updates between two that replace each other
            within an epoch (0: none).
    """

    method: str
    output: str
    model: ModelRecipe
    data: DataRecipe
    optimization: OptimizationRecipe
    sampling: str | None = "tsn_random"
    sampling_options: dict[str, Any] = field(default_factory=dict)
    augmentation: dict[str, Any] | None = None
    averaging: AveragingRecipe | None = None
    interpolation: Number = 0.0
    lora: LoraRecipe | None = None
    prototypes: bool = True
    seed: int = 0
    report_to: str | list[str] = field(default_factory=list)
    log_steps: int = validated_field(at_least(1), default=10)
    save_epochs: int = validated_field(at_least(1), default=1)
    save_steps: int = validated_field(at_least(0), default=0)


def load_recipe(path: str | os.PathLike, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a YAML recipe.

    Args:
        overrides: dotted names -> values that win, such as `{"data.source": "clips"}`.

    Raises:
        RecipeError: no such file, not YAML, an unknown, missing or ill-typed field.
    """
    try:
        content = read_yaml(path)
    except FileNotFoundError as error:
        raise RecipeError(f"There is no recipe {os.fspath(path)!r}.") from error
    except TextFileError as error:
        raise RecipeError(str(error)) from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: expected fields and values.")
    for name, value in (overrides or {}).items():
        *parents, last = name.split(".")
        target = content
        for parent in parents:
            inner = target.get(parent) or {}
            if not isinstance(inner, dict):
                raise RecipeError(f"{parent}: expected fields and values, got {inner!r}, so {name} cannot be set.")
            target[parent] = target = dict(inner)
        target[last] = value
    return recipe_from(content)


def recipe_from(content: Mapping[str, Any]) -> Recipe:
    """A recipe from fields and values.

    Raises:
        RecipeError: as [`load_recipe`], or values that do not fit each other.
    """
    from hf_zsar.processing.frame_sampling import get_sampler

    from .augmentation import ClipAugmentation
    from .optimization import check_roles

    for where, value in _leaves(content):
        if isinstance(value, Number) and not abs(value) < 2**63:
            raise RecipeError(f"{where}: this number is infinite, too large, or none.")
    recipe = _build(Recipe, content)
    for problem in _problems(recipe):
        raise RecipeError(problem)
    try:
        check_roles(set(recipe.optimization.learning_rates) - {"default"})
        check_roles(recipe.optimization.freeze)
        if recipe.sampling is not None:
            get_sampler(recipe.sampling)
        if recipe.augmentation is not None:
            ClipAugmentation(**recipe.augmentation)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"recipe: {error}") from error
    return recipe


def _problems(recipe: Recipe) -> Iterator[str]:
    if recipe.method not in METHODS:
        yield f"method: {recipe.method!r} is none of {sorted(METHODS)}."
    origins = [name for name in ("pretrained", "encoder", "config") if getattr(recipe.model, name) is not None]
    if len(origins) != 1:
        yield f"model: give exactly one of pretrained, encoder and config, got {origins or 'none'}."
    if recipe.model.tokenizer and recipe.model.config is None:
        yield "model.tokenizer: goes with model.config; pretrained and encoder bring their own."
    if not 0 <= recipe.interpolation <= 1:
        yield "interpolation: must lie between 0 (as trained) and 1 (as before)."
    if recipe.lora and (recipe.averaging or recipe.interpolation):
        yield "lora: goes without averaging and interpolation, which need whole weights."
    if recipe.averaging and recipe.averaging.first_epoch > recipe.optimization.epochs:
        yield "averaging.first_epoch: must lie between 1 and optimization.epochs."


def _leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of everything that holds no further values."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{where}.{name}".lstrip("."))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _leaves(inner, f"{where}[{i}]")
    else:
        yield where, value


def _build(kind: type, content: Any, where: str = "") -> Any:
    """A recipe or a part of one; messages begin with the field's dotted name."""
    place = where or "recipe"
    if not isinstance(content, Mapping):
        raise RecipeError(f"{place}: expected fields and values, got {content!r}.")
    known = {each.name: each for each in fields(kind)}
    if unknown := sorted(set(content) - set(known), key=repr):  # a stranger's names are not all text
        raise RecipeError(f"{place}: unknown fields {unknown}; there are {sorted(known)}.")
    required = {name for name, each in known.items() if each.default is each.default_factory is MISSING}
    if missing := sorted(required - set(content)):
        raise RecipeError(f"{place}: missing fields {missing}.")
    values = dict(content)
    for name, value in content.items():
        types = get_args(known[name].type) or (known[name].type,)
        part = next((each for each in types if isinstance(each, type) and is_dataclass(each)), None)
        if part and not (value is None and type(None) in types):
            values[name] = _build(part, value, f"{where}.{name}".lstrip("."))
    try:
        return kind(**values)
    except StrictDataclassFieldValidationError as error:
        raise RecipeError(_in_words(error, where, values)) from error


def _in_words(error: BaseException, where: str, values: Mapping[str, Any]) -> str:
    name = str(error).partition("field '")[2].partition("'")[0]
    while error.__cause__ is not None:
        error = error.__cause__  # the innermost names the item of a list or dict
    match = re.fullmatch(r"Field '(.+?)' (.*)", str(error), re.DOTALL)
    path, reason = match.groups() if match else (name, str(error))
    texts = [value for _, value in _leaves(values[name]) if isinstance(value, str)]
    number = next((text for text in texts if re.fullmatch(r"[+-]?\d+e[+-]?\d+", text)), None)
    advice = f" (YAML reads it as text: write {number.replace('e', '.0e')})" if number else ""
    return f"{where}.{path}: {reason}{advice}".lstrip(".")


__all__ = ["Recipe", "RecipeError", "load_recipe", "recipe_from"]
