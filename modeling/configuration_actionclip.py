"""ActionCLIP configuration."""

# Without postponed annotations, which `@strict` cannot see through: it would check no field.

from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .configuration_dual_encoder import DualEncoderConfig


SIM_HEADERS = ("meanP", "Conv_1D", "LSTM", "Transf", "Transf_cls")
# Names in the paper and in old configuration files of the official repository.
SIM_HEADER_ALIASES = {
    "seqTransf": "Transf",
    "seqLSTM": "LSTM",
    "seqTransf_cls": "Transf_cls",
    "conv_1D": "Conv_1D",
    "MeanP": "meanP",
}


@strict
class ActionCLIPConfig(DualEncoderConfig):
    r"""
    Configuration of [`ActionCLIPModel`] (arXiv 2109.08472). The defaults are the official model: CLIP, then a
    transformer of six layers over the frames.

    Args:
        backbone_config: of the dual encoder, a [`CLIPConfig`] or its fields.
        num_frames: frames per view that the model was made for. Only `Transf_cls` and `joint_space_time` insist on it.
        sim_header: what turns frames into a video: `"meanP"` (mean, no weights), `"Conv_1D"`, `"LSTM"`, `"Transf"` or
            `"Transf_cls"`. The paper's names (`seqTransf`, ...) are understood.
        temporal_layers: transformer layers of `Transf` and `Transf_cls`.
        temporal_heads: attention heads of `Transf`; `None` is the width of the text tower / 64, the official rule.
        temporal_layer_norm_eps: of `Transf`: 1e-12 in the official code, 1e-5 in mmaction2.
        max_frame_positions: longest clip that `Transf` takes, in frames.
        conv1d_legacy_view: let `Conv_1D` mix channels and time as the official code does by accident, for comparison.
        temporal_shift: before each block of the image tower, move an eighth of the channels one frame forward and
            another eighth one frame backward.
        temporal_shift_div: one part in so many is shifted each way.
        joint_space_time: one sequence of all patches of all frames through the image tower, in our reading of the
            paper (the official code of it does not run). Needs `sim_header="meanP"`, which then has nothing to do.
        drop_path_rate: largest stochastic depth of both towers; it grows linearly with depth, and attention dropout
            with it.
        loss_type: `"kl"` (official) or `"ce"` (mmaction2).
        label_temperature: factor on the 0/1 similarity of labels before its softmax, `"kl"` only.
        eval_logit_scale: scale of the cosines in scores. The learned scale serves the loss alone.
    """

    model_type = "zsar_actionclip"
    sub_configs_defaults = {"backbone_config": SubConfigSpec(AutoConfig, model_type="clip")}

    backbone_config: dict | PreTrainedConfig | None = None
    num_frames: int = 8
    sim_header: str = "Transf"
    temporal_layers: int = 6
    temporal_heads: int | None = None
    temporal_layer_norm_eps: float | int = 1e-12
    max_frame_positions: int = 77
    conv1d_legacy_view: bool = False
    temporal_shift: bool = False
    temporal_shift_div: int = 8
    joint_space_time: bool = False
    drop_path_rate: float | int = 0.0
    loss_type: Literal["kl", "ce"] = "kl"
    label_temperature: float | int = 10.0
    eval_logit_scale: float | int = 100.0
    initializer_range: float | int = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        self.sim_header = SIM_HEADER_ALIASES.get(self.sim_header, self.sim_header)
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """Part of `@strict`-powered validation."""
        if self.sim_header not in SIM_HEADERS:
            raise ValueError(f"sim_header must be one of {SIM_HEADERS}, got {self.sim_header!r}.")
        if self.num_frames < 1:
            raise ValueError(f"num_frames must be at least 1, got {self.num_frames}.")
        if self.sim_header == "Transf" and self.num_frames > self.max_frame_positions:
            raise ValueError(f"num_frames={self.num_frames} exceeds max_frame_positions={self.max_frame_positions}.")
        if self.temporal_shift_div < 2:
            raise ValueError(f"temporal_shift_div must be at least 2, got {self.temporal_shift_div}.")
        if not 0 <= self.drop_path_rate < 1:
            raise ValueError(f"drop_path_rate must lie in [0, 1), got {self.drop_path_rate}.")
        if self.joint_space_time and (self.sim_header != "meanP" or self.temporal_shift):
            raise ValueError(
                "joint_space_time gives one embedding per video, so it needs sim_header='meanP' and no temporal_shift."
            )


__all__ = ["ActionCLIPConfig"]
