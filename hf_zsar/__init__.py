"""Zero-shot action recognition for the Hugging Face ecosystem.

`import hf_zsar` makes `AutoModel`, `AutoProcessor`, `AutoConfig` and `pipeline("zero-shot-video-classification")` know
the models of this package. It imports neither torch nor transformers; names are loaded when they are used.
"""

from __future__ import annotations

from .lazy import lazy_names
from .registration import METHODS, register


__version__ = "0.1.0"

# public name -> module that defines it
_NAMES = {
    "LabelBank": "modeling.modeling_zsar",
    "VideoFeatures": "modeling.modeling_zsar",
    "ZSAROutput": "modeling.modeling_zsar",
    "ZSARPreTrainedModel": "modeling.modeling_zsar",
    "ZSARProcessor": "processing.processing_zsar",
    "ZSARVideoProcessor": "processing.video_processing_zsar",
    "VideoReadError": "processing.video_reading",
    "VideoReadWarning": "processing.video_reading",
    "LabelWarning": "processing.label_losses",
    "Descriptions": "processing.descriptions",
    "VideoIndex": "retrieval",
    "ZeroShotVideoClassificationPipeline": "pipeline_zero_shot_video_classification",
    "embedded_model_path": "embedded",
    "pipeline": "hub.loading",
}
for _spec in METHODS.values():
    _NAMES[f"{_spec.prefix}Config"] = f"modeling.configuration_{_spec.name}"
    _NAMES[f"{_spec.prefix}Model"] = f"modeling.modeling_{_spec.name}"
    _NAMES[f"{_spec.prefix}Processor"] = f"processing.processing_{_spec.name}"

__all__ = ["METHODS", "__version__", *sorted(_NAMES)]

__getattr__, __dir__ = lazy_names(
    __name__, _NAMES, ("data", "descriptions", "evaluation", "hub", "modeling", "processing", "training")
)


register()
