"""Configuration of a published video-text or image-text model behind our contract."""

# Without postponed annotations, which `@strict` cannot see through: it would check no field.

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .configuration_dual_encoder import DualEncoderConfig


@strict
class VideoTextConfig(DualEncoderConfig):
    r"""
    Configuration of [`VideoTextModel`].

    Args:
        backbone_config: of the published model, e.g. a [`CLIPConfig`] or an [`XCLIPConfig`], or its fields.
        num_frames: frames per clip that its processor samples.
        cosine_scale: factor on the cosines of an encoder that has learned none of its own (VideoPrism, embedding
            models). 1 gives the cosines themselves, whose softmax is nearly flat; what orders labels is the same.
        video_prompt: what a language model reads around the frames of a video, as token ids by part.
    """

    model_type = "zsar_video_text"
    sub_configs_defaults = {"backbone_config": SubConfigSpec(AutoConfig, model_type="clip")}

    backbone_config: dict | PreTrainedConfig | None = None
    num_frames: int = 8
    cosine_scale: float | int = 1.0
    video_prompt: dict | None = None
    initializer_range: float | int = 0.02


__all__ = ["VideoTextConfig"]
