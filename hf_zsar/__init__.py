"""Zero-shot action recognition for the Hugging Face ecosystem.

`import hf_zsar` makes `AutoModel`, `AutoProcessor`, `AutoConfig` and `pipeline("zero-shot-video-classification")` know
the models of this package. It imports neither torch nor transformers; names are loaded when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import lazy_names
from .methods import METHODS, OWN, MethodSpec
from .registration import register


if TYPE_CHECKING:  # what the lazy names are, for editors and type checkers
    from .embedded import embedded_model_path as embedded_model_path
    from .hub.loading import load as load
    from .hub.loading import pipeline as pipeline
    from .modeling.configuration_actionclip import ActionCLIPConfig as ActionCLIPConfig
    from .modeling.configuration_dasti import DASTIConfig as DASTIConfig
    from .modeling.configuration_rest import ResTConfig as ResTConfig
    from .modeling.configuration_stdd import STDDConfig as STDDConfig
    from .modeling.configuration_video_text import VideoTextConfig as VideoTextConfig
    from .modeling.modeling_actionclip import ActionCLIPModel as ActionCLIPModel
    from .modeling.modeling_dasti import DASTIModel as DASTIModel
    from .modeling.modeling_rest import ResTModel as ResTModel
    from .modeling.modeling_stdd import STDDModel as STDDModel
    from .modeling.modeling_video_text import VideoTextModel as VideoTextModel
    from .modeling.modeling_zsar import LabelBank as LabelBank
    from .modeling.modeling_zsar import VideoFeatures as VideoFeatures
    from .modeling.modeling_zsar import ZSAROutput as ZSAROutput
    from .modeling.modeling_zsar import ZSARPreTrainedModel as ZSARPreTrainedModel
    from .pipeline_zero_shot_video_classification import (
        ZeroShotVideoClassificationPipeline as ZeroShotVideoClassificationPipeline,
    )
    from .processing.descriptions import Descriptions as Descriptions
    from .processing.label_losses import LabelWarning as LabelWarning
    from .processing.processing_actionclip import ActionCLIPProcessor as ActionCLIPProcessor
    from .processing.processing_dasti import DASTIProcessor as DASTIProcessor
    from .processing.processing_rest import ResTProcessor as ResTProcessor
    from .processing.processing_stdd import STDDProcessor as STDDProcessor
    from .processing.processing_video_text import VideoTextProcessor as VideoTextProcessor
    from .processing.processing_zsar import ZSARProcessor as ZSARProcessor
    from .processing.video_processing_zsar import ZSARVideoProcessor as ZSARVideoProcessor
    from .processing.video_reading import VideoReadError as VideoReadError
    from .processing.video_reading import VideoReadWarning as VideoReadWarning
    from .retrieval import VideoIndex as VideoIndex


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
    "load": "hub.loading",
    "pipeline": "hub.loading",
}
for _spec in OWN:
    _NAMES.update({name: module.removeprefix("hf_zsar.") for name, module in _spec.class_modules.items()})

__all__ = ["METHODS", "MethodSpec", "__version__", *sorted(_NAMES)]

__getattr__, __dir__ = lazy_names(
    __name__, _NAMES, ("data", "descriptions", "evaluation", "hub", "modeling", "processing", "training")
)


register()
