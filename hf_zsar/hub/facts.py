"""The facts that a model card is written from. Nothing here is prose or guessed: what is not known is None."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hf_zsar.markdown import code
from hf_zsar.methods import METHODS

from .licenses import FIELD


if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, ProcessorMixin

# Settings of every transformers configuration that say nothing about a model, and those shown elsewhere in the card.
_HOUSEKEEPING = frozenset(
    "architectures auto_map custom_pipelines dtype model_type transformers_version output_hidden_states id2label "
    "output_attentions return_dict label2id problem_type chunk_size_feed_forward name_or_path num_frames "
    "num_seen_classes seen_class_names".split()
    + [FIELD]
)


@dataclass(frozen=True)
class TrainingFacts:
    """How weights came about.

    Args:
        data: name of the training data.
        videos, classes: how many.
        hyperparameters: name -> value as they are printed.
        log: rows of the training log, each a mapping of column -> value.
        versions: package -> version.
        finished: False while training goes on.
    """

    data: str | None = None
    videos: int | None = None
    classes: int | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    log: Sequence[Mapping[str, Any]] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    finished: bool = True


@dataclass(frozen=True)
class CardFacts:
    """What a card says about one model.

    Args:
        method: registry name ("actionclip"); taken from the model.
        repo_id: `namespace/name` for the snippets.
        model_name: title of the card.
        description: the author's own words about this model: Markdown, shown without HTML.
        license, license_name, license_link: as on the Hub.
        base_model: repository id(s) of what the weights were made from.
        base_model_relation: "finetune", "adapter", "quantized" or "merge".
        datasets: repository ids of the training data.
        architecture: rows of the table of model details.
        templates: the prompt templates.
        training: how the weights were made.
        results: records of `hf-zsar evaluate`, measured on these very weights.
        benchmarks: data set of a record ("ucf101") -> repository id of that benchmark on the Hub; only those results
            become `.eval_results` entries.
        limits: besides those of the method; Markdown too. All other texts are shown as they are.
        has_weights: False for the card of a method.
        code_digest: SHA-256 of the code that travels with the weights; None without code.
    """

    method: str | None = None
    repo_id: str | None = None
    model_name: str | None = None
    description: str | None = None
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    base_model: str | Sequence[str] | None = None
    base_model_relation: str | None = None
    datasets: Sequence[str] = ()
    architecture: Mapping[str, Any] = field(default_factory=dict)
    templates: Sequence[str] = ()
    training: TrainingFacts | None = None
    results: Sequence[Mapping[str, Any]] = ()
    benchmarks: Mapping[str, str] = field(default_factory=dict)
    limits: Sequence[str] = ()
    has_weights: bool = True
    code_digest: str | None = None

    def with_code(self, digest: str | None) -> CardFacts:
        return dataclasses.replace(self, code_digest=digest)

    def completed_from(self, model: PreTrainedModel, processor: ProcessorMixin | None = None) -> CardFacts:
        """The same facts, with what the model and its processor tell filled in where nothing was said."""
        kinds = {spec.model_type: spec.name for spec in METHODS.values()}
        known: dict[str, Any] = {
            "method": kinds.get(model.config.model_type),
            "license": _license_of(model.config),
            "architecture": architecture_of(model, processor),
            "templates": tuple(getattr(processor, "prompt_templates", ())),
        }
        missing = {name: value for name, value in known.items() if not getattr(self, name)}
        return dataclasses.replace(self, **missing)


def _license_of(config: PreTrainedConfig) -> str | None:
    license = getattr(config, FIELD, None)
    return license if license not in (None, "none", "unknown") else None


def architecture_of(model: PreTrainedModel, processor: ProcessorMixin | None = None) -> dict[str, Any]:
    """Rows of the table of model details: sizes, and every setting that differs from the method's default."""
    config, video_processor = model.config, getattr(processor, "video_processor", None)
    rows: dict[str, Any] = {"Class": type(model).__name__, "Parameters": f"{model.num_parameters():,}"}
    for name, part in _parts(config).items():
        rows[name] = part
    if video_processor is not None:
        rows["Frames per view"] = video_processor.num_frames
        crop = video_processor.crop_size
        rows["Input size"] = f"{crop['height']} x {crop['width']}" if isinstance(crop, Mapping) else crop
    elif getattr(config, "num_frames", None):
        rows["Frames per view"] = config.num_frames
    if names := getattr(config, "seen_class_names", None):
        rows["Seen classes"] = len(names)
    for name, value in _changed_settings(config).items():
        rows[code(name)] = code(value)
    return rows


def _changed_settings(config: PreTrainedConfig) -> dict[str, Any]:
    """Plain settings of a configuration that differ from the defaults of its class."""
    defaults = {field.name: field.default for field in dataclasses.fields(type(config))}
    changed = {}
    for name in sorted(defaults.keys() - _HOUSEKEEPING):
        value = getattr(config, name, None)
        if isinstance(value, (bool, int, float, str)) and value != defaults[name]:
            changed[name] = value
    return changed


def _parts(config: PreTrainedConfig) -> dict[str, str]:
    """The sub-networks by their configurations, e.g. `clip_config`: "clip, width 512, 12 layers"."""
    parts = {}
    for name in sorted(getattr(config, "sub_configs_defaults", None) or {}):
        sub = getattr(config, name, None)
        if sub is None:
            continue
        words = [str(sub.model_type)]
        for label, keys in {"width": ("hidden_size", "hidden_dim"), "layers": ("num_hidden_layers",)}.items():
            value = next((getattr(sub, key) for key in keys if isinstance(getattr(sub, key, None), int)), None)
            if value:
                words.append(f"{label} {value}")
        for tower in ("vision_config", "text_config"):
            if (inner := getattr(sub, tower, None)) is not None:
                patch = f", patches of {inner.patch_size}" if getattr(inner, "patch_size", None) else ""
                words.append(
                    f"{tower.split('_')[0]}: width {inner.hidden_size}, {inner.num_hidden_layers} layers{patch}"
                )
        parts[name.removesuffix("_config").replace("_", " ").capitalize()] = "; ".join(words)
    return parts
