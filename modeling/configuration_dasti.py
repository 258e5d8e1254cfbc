"""DA-STI configuration."""

# No postponed annotations here: `@strict` could not check the types of the fields.
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .configuration_dual_encoder import DualEncoderConfig


@strict
class DASTIConfig(DualEncoderConfig):
    r"""
    Configuration of [`DASTIModel`] (arXiv 2510.27255). The encoder, the temporal transformer, the saliency formula and
    the loss are BIKE's (arXiv 2301.00182, code); how the two interactions are combined is our reading of the paper's
    figure, and every alternative reading is a field here. What belongs to the text (templates, which tokens count as
    words) is set on [`DASTIProcessor`].

    Args:
        backbone_config: of the dual encoder.
        num_frames: frames per view the model was made for.
        use_temporal_transformer: BIKE's head over frames; without it frame embeddings are used as they are.
        temporal_num_layers, temporal_num_heads, temporal_max_positions, temporal_layer_norm_eps: of that head; heads
            default to text width / 64.
        use_spatial_interaction: gate frames by their best matching patch.
        use_temporal_interaction: gate frames by the attention of the words over time.
        spatial_fusion: how the spatial gate joins the temporal one: `"mul"`, `"residual"`, `"softmax"`, `"add"` or
            `"none"`.
        spatial_floor: smallest value of a multiplicative spatial gate.
        saliency_temperature: of the softmax over time.
        patch_projection: `"clip"` uses the backbone's own projection for patches and words; `"linear"` adds one matrix
            each, the identity at first.
        normalize_pooled: L2-normalize the gated sum over time.
        class_score_weight: share of the class branch in the score; the rest is the attribute branch.
        freeze_text: the text tower is not trained; the logit scale is.
        loss_divergence: `"ce"` or `"kl"` to the target distribution; they differ by a constant.
        loss_target: `"soft"` (softmax of `loss_target_gain` x match), `"multi_hot"` or `"one_hot"` (the diagonal).
        loss_mode: `"in_batch"`, both directions among the videos and texts of the batch, or `"all_classes"`, every
            video against all candidates.
        attribute_loss_weight: of the attribute branch's loss; 0 leaves it out.
        class_chunk_size: classes scored at a time; `None` keeps the patch-word similarities under 128 MiB.
        bike_compat: several views as BIKE's validation fuses them: softmax of the raw scores, mean over views.
    """

    model_type = "zsar_dasti"
    sub_configs_defaults = {"backbone_config": SubConfigSpec(AutoConfig, model_type="clip")}
    keys_to_ignore_at_inference = [
        *DualEncoderConfig.keys_to_ignore_at_inference,
        *("class_scores", "attribute_scores", "temporal_saliency", "spatial_saliency"),
    ]

    backbone_config: dict | PreTrainedConfig | None = None
    num_frames: int = 8
    use_temporal_transformer: bool = True
    temporal_num_layers: int = 6
    temporal_num_heads: int | None = None
    temporal_max_positions: int = 77
    temporal_layer_norm_eps: float | int = 1e-12
    use_spatial_interaction: bool = True
    use_temporal_interaction: bool = True
    spatial_fusion: Literal["mul", "residual", "softmax", "add", "none"] = "mul"
    spatial_floor: float | int = 1e-6
    saliency_temperature: float | int = 0.01
    patch_projection: Literal["clip", "linear"] = "clip"
    normalize_pooled: bool = True
    class_score_weight: float | int = 0.7
    freeze_text: bool = True
    loss_divergence: Literal["ce", "kl"] = "ce"
    loss_target: Literal["soft", "multi_hot", "one_hot"] = "soft"
    loss_target_gain: float | int = 10.0
    loss_mode: Literal["in_batch", "all_classes"] = "in_batch"
    attribute_loss_weight: float | int = 1.0
    class_chunk_size: int | None = None
    bike_compat: bool = False
    initializer_range: float | int = 0.02

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        if not 0 <= self.class_score_weight <= 1:
            raise ValueError(f"class_score_weight is a share between 0 and 1, got {self.class_score_weight}.")
        if self.saliency_temperature <= 0:
            raise ValueError(f"saliency_temperature must be positive, got {self.saliency_temperature}.")


__all__ = ["DASTIConfig"]
