"""Configuration of a published video-text or image-text model behind our contract."""

# Without postponed annotations, which `@strict` cannot see through: it would check no field.

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .configuration_zsar import ZSARConfig


@strict
class VideoTextConfig(ZSARConfig):
    r"""
    Configuration of [`VideoTextModel`].

    Args:
        encoder_config: of the published model, e.g. a [`CLIPConfig`] or an [`XCLIPConfig`], or its fields.
        num_frames: frames per clip that its processor samples.
        cosine_scale: factor on the cosines of an encoder that has learned none of its own (VideoPrism, embedding
            models). 1 gives the cosines themselves, whose softmax is nearly flat; what orders labels is the same.
        video_prompt: what a language model reads around the frames of a video, as token ids by part.
    """

    model_type = "zsar_video_text"
    sub_configs_defaults = {"encoder_config": SubConfigSpec(AutoConfig, model_type="clip")}
    # `Trainer` gathers the other outputs over batches as predictions: those that have one row per video, `[N, K]`.
    keys_to_ignore_at_inference = ["logits_per_text", "video_embeds", "text_embeds"]

    encoder_config: dict | PreTrainedConfig | None = None
    num_frames: int = 8
    cosine_scale: float | int = 1.0
    video_prompt: dict | None = None
    initializer_range: float | int = 0.02

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PreTrainedConfig:
        """Of the text tower: where transformers looks for `vocab_size`, e.g. when it resizes the embeddings."""
        return self.encoder_config.get_text_config(decoder=decoder, encoder=encoder)


__all__ = ["VideoTextConfig"]
