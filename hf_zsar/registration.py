"""Our types in transformers' auto classes and pipelines, as soon as those are loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .encoders import ENCODERS, take_over
from .import_hook import after_import
from .methods import METHODS


TASK = "zero-shot-video-classification"


def _register_configs() -> None:
    from transformers import AutoConfig

    for spec in METHODS.values():
        AutoConfig.register(spec.model_type, spec.config_class, exist_ok=True)
    for encoder in ENCODERS.values():
        if encoder.config:
            AutoConfig.register(encoder.model_type, encoder.config_class(), exist_ok=True)


def _register_models() -> None:
    from transformers import AutoModel

    for spec in METHODS.values():
        AutoModel.register(spec.config_class, spec.model_class, exist_ok=True)


def _register_processors() -> None:
    from transformers import AutoProcessor

    for spec in METHODS.values():
        AutoProcessor.register(spec.config_class, spec.processor_class, exist_ok=True)


def _register_video_processor() -> None:
    from transformers.utils import is_torchvision_available

    if not is_torchvision_available():
        return  # AutoVideoProcessor is a dummy without it; our processors load their video processor by class
    from transformers import AutoVideoProcessor

    from hf_zsar.processing.video_processing_zsar import ZSARVideoProcessor

    for spec in METHODS.values():
        AutoVideoProcessor.register(spec.config_class, video_processor_class=ZSARVideoProcessor, exist_ok=True)


def _register_pipeline() -> None:
    from transformers import AutoModel
    from transformers.pipelines import PIPELINE_REGISTRY

    from hf_zsar.pipeline_zero_shot_video_classification import ZeroShotVideoClassificationPipeline

    ours: Any = ZeroShotVideoClassificationPipeline
    ours.take_over = staticmethod(take_over)
    ours._load_processor = None  # where transformers cannot, `take_over` does
    PIPELINE_REGISTRY.register_pipeline(
        TASK, pipeline_class=ZeroShotVideoClassificationPipeline, pt_model=AutoModel, type="multimodal"
    )


def _register_adapters() -> None:
    from hf_zsar.modeling.encoder import ADAPTERS

    ADAPTERS.update({model_type: spec.adapter_class for model_type, spec in ENCODERS.items()})


# module -> what to do once it is loaded
_HOOKS: dict[str, Callable[[], None]] = {
    "transformers.models.auto.configuration_auto": _register_configs,
    "transformers.models.auto.modeling_auto": _register_models,
    "transformers.models.auto.processing_auto": _register_processors,
    "transformers.models.auto.video_processing_auto": _register_video_processor,
    "transformers.pipelines": _register_pipeline,
    "hf_zsar.modeling.encoder": _register_adapters,
}


def register() -> None:
    """Register all methods with transformers, now or as soon as its auto classes are loaded. Safe to call twice."""
    after_import(_HOOKS)
