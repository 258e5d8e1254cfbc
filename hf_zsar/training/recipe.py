"""Recipes: one YAML file says all of a training run. Checked before anything heavy is loaded."""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_zsar.methods import METHODS
from hf_zsar.processing.text_files import TextFileError
from hf_zsar.yaml_files import read_yaml


# As in `weight_averaging`, which imports torch.
AVERAGES = ("mean", "gaussian", "beta", "exponential")


class RecipeError(ValueError):
    """A recipe that cannot be run; the message names the field, what is wrong and what to do."""


@dataclass(frozen=True)
class ModelRecipe:
    """Where the model comes from: exactly one of `pretrained`, `clip` and `config`.

    Args:
        pretrained: folder or Hub id of a model of this package, to go on from.
        clip: folder or Hub id of a CLIP, for the methods on one.
        config: a whole configuration, for a model from random weights.
        fields: of the method's configuration, over `clip`'s or `pretrained`'s.
        tokenizer: folder or Hub id; default: that of `pretrained` or `clip`.
        processor: options of the method's processor.
        video_processor: options of the video processor.
        teacher: folder or Hub id of the CLIP whose frame embeddings STDD stays near (`distill_weight`); default:
            `clip`, else the model itself as it starts.
    """

    pretrained: str | None = None
    clip: str | None = None
    config: dict[str, Any] | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    tokenizer: str | None = None
    processor: dict[str, Any] = field(default_factory=dict)
    video_processor: dict[str, Any] = field(default_factory=dict)
    teacher: str | None = None


@dataclass(frozen=True)
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
    on_missing: str = "error"
    on_error: str = "raise"
    workers: int = 0


@dataclass(frozen=True)
class OptimizationRecipe:
    """Optimiser and schedule: AdamW, linear warm-up, cosine.

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

    learning_rates: dict[str, float]
    epochs: int = 10
    warmup_epochs: float = 0.0
    batch_size: int = 8
    accumulation: int = 1
    weight_decay: float = 0.0
    decay_all: bool = False
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8
    min_lr_ratio: float = 0.0
    clip_grad: float = 0.0
    freeze: list[str] = field(default_factory=list)
    freeze_statistics: bool = False
    precision: str = "no"
    gradient_checkpointing: bool = False


@dataclass(frozen=True)
class AveragingRecipe:
    """Weight averaging over epochs, see [`averaging_weights`]; `first_epoch` counts from 1."""

    first_epoch: int = 1
    mode: str = "mean"


@dataclass(frozen=True)
class LoraRecipe:
    """Low-rank adapters on the towers instead of training all their weights (needs peft); merged at the end.

    Args:
        r, alpha, dropout: rank, scale and dropout, as in `peft.LoraConfig`.
        new_parts: what is trained whole beside them, such as `temporal_head`.
    """

    r: int = 8
    alpha: int = 16
    dropout: float = 0.0
    new_parts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
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
        prototypes: fit the seen prototypes when training is over (ResT).
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
    interpolation: float = 0.0
    lora: LoraRecipe | None = None
    prototypes: bool = True
    seed: int = 0
    report_to: str | list[str] = field(default_factory=list)
    log_steps: int = 10
    save_epochs: int = 1
    save_steps: int = 0


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
        RecipeError: as [`load_recipe`].
    """
    return check_recipe(_build(Recipe, content, ""))


def check_recipe(recipe: Recipe) -> Recipe:
    """
    Raises:
        RecipeError: values that do not fit each other.
    """
    from hf_zsar.processing.frame_sampling import get_sampler

    from .augmentation import ClipAugmentation
    from .optimization import check_roles

    for problem in (*_problems(recipe), *_limits(recipe)):
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
    optimization = recipe.optimization
    if recipe.method not in METHODS:
        yield f"method: {recipe.method!r} is none of {sorted(METHODS)}."
    origins = [n for n in ("pretrained", "clip", "config") if getattr(recipe.model, n) is not None]
    if len(origins) != 1:
        yield f"model: give exactly one of pretrained, clip and config, got {origins or 'none'}."
    choices = (
        ("optimization.precision", optimization.precision, ("no", "bf16", "fp16")),
        ("data.on_error", recipe.data.on_error, ("raise", "skip")),
        ("data.on_missing", recipe.data.on_missing, ("error", "report")),
        ("averaging.mode", recipe.averaging.mode if recipe.averaging else "mean", AVERAGES),
    )
    for name, value, allowed in choices:
        if value not in allowed:
            yield f"{name}: {value!r} is none of {', '.join(allowed)}."
    if not optimization.learning_rates:
        yield "optimization.learning_rates: give at least one, such as default."
    if len(optimization.betas) != 2:
        yield "optimization.betas: two numbers are needed."


def _limits(recipe: Recipe) -> Iterator[str]:
    optimization = recipe.optimization
    if not 0 <= recipe.interpolation <= 1:
        yield "interpolation: must lie between 0 (as trained) and 1 (as before)."
    if recipe.lora and (recipe.averaging or recipe.interpolation):
        yield "lora: goes without averaging and interpolation, which need whole weights."
    if recipe.averaging and not 1 <= recipe.averaging.first_epoch <= optimization.epochs:
        yield "averaging.first_epoch: must lie between 1 and optimization.epochs."
    smallest = {
        "optimization.epochs": (optimization.epochs, 1),
        "optimization.batch_size": (optimization.batch_size, 1),
        "optimization.accumulation": (optimization.accumulation, 1),
        "optimization.warmup_epochs": (optimization.warmup_epochs, 0),
        "optimization.clip_grad": (optimization.clip_grad, 0),
        "save_epochs": (recipe.save_epochs, 1),
        "save_steps": (recipe.save_steps, 0),
        "log_steps": (recipe.log_steps, 1),
        "data.workers": (recipe.data.workers, 0),
    }
    for name, (value, least) in smallest.items():
        if value < least:
            yield f"{name}: must be at least {least}, got {value}."


def _build(kind: type, content: Any, where: str) -> Any:
    if not isinstance(content, Mapping):
        raise RecipeError(f"{where or 'recipe'}: expected fields and values, got {content!r}.")
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(content) - set(hints), key=repr)  # a stranger's names are not all text
    if unknown:
        raise RecipeError(f"{where or 'recipe'}: unknown fields {unknown}; there are {sorted(hints)}.")
    values = {name: _value(hints[name], value, f"{where}.{name}".lstrip(".")) for name, value in content.items()}
    required = {f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING}
    if missing := sorted(required - set(values)):
        raise RecipeError(f"{where or 'recipe'}: missing fields {missing}.")
    return kind(**values)


def _value(hint: Any, value: Any, where: str) -> Any:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    if isinstance(value, (int, float)) and not abs(value) < 2**63:
        raise RecipeError(f"{where}: this number is infinite, too large, or none.")
    for option in options:
        if dataclasses.is_dataclass(option):
            return _build(option, value, where)
        origin = typing.get_origin(option) or option
        if origin is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if origin is dict and isinstance(value, dict):
            kinds = typing.get_args(option)
            if not kinds:
                return value
            return {
                _value(kinds[0], k, f"{where}: a name"): _value(kinds[1], v, f"{where}.{k}") for k, v in value.items()
            }
        if origin is list and isinstance(value, list):
            (kind,) = typing.get_args(option) or (Any,)
            return [_value(kind, v, f"{where}[{i}]") for i, v in enumerate(value)]
        if origin is Any or (
            isinstance(origin, type) and isinstance(value, origin) and not (origin is int and isinstance(value, bool))
        ):
            return value
    names = " or ".join(getattr(o, "__name__", str(o)) for o in options)
    advice = ""
    if float in options and isinstance(value, str) and _is_number(value):
        advice = f" (YAML reads it as text: write {value.replace('e', '.0e')})"
    raise RecipeError(f"{where}: expected {names}, got {value!r}{advice}.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


__all__ = ["Recipe", "RecipeError", "load_recipe", "recipe_from"]
