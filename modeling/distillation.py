"""The teacher of STDD, a frozen image tower that frame embeddings are kept close to. Exports with code do without."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModel, PreTrainedModel

from .distributed import gather_with_grad
from .encoder import ADAPTERS
from .encoder_towers import TowerEncoder
from .outputs import VideoFeatures
from .tensor_shapes import normalize, split_views


def make_teacher(
    student: TowerEncoder, encoder: str | PreTrainedModel | None, load_kwargs: dict[str, Any]
) -> TowerEncoder:
    """An independent copy of an image tower, in evaluation mode and without gradients; see `STDDModel.set_teacher`."""
    if isinstance(encoder, str):
        encoder = AutoModel.from_pretrained(encoder, **load_kwargs)
    teacher = student
    if encoder is not None:
        adapter: Any = ADAPTERS[encoder.config.model_type]()
        teacher = adapter.__new__(adapter)  # around the modules that there are
        nn.Module.__init__(teacher)
        teacher.model = encoder
    if teacher.dim != student.dim:
        raise ValueError(f"The teacher embeds frames in {teacher.dim} dimensions, the student in {student.dim}.")
    text_side = [getattr(teacher.model, prefix.removesuffix(".")) for prefix in teacher.roles["text"]]
    image_side = copy.deepcopy(teacher, {id(module): None for module in text_side})  # the memo leaves these out
    return image_side.requires_grad_(False).eval()


@torch.no_grad()
def teacher_frame_embeds(teacher: TowerEncoder, pixel_values_videos: torch.Tensor) -> torch.Tensor:
    """The teacher's embeddings of every frame by itself, `[B, V, T, D]`, unit norm, float32."""
    clips, batch, views = split_views(pixel_values_videos)
    embeds, _ = teacher.to(clips.device).encode_frames(clips.flatten(0, 1))
    return normalize(embeds.float()).view(batch, views, clips.shape[1], -1)


def distillation_loss(student: torch.Tensor, correction: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """1 - the mean cosine of corrected student and teacher embeddings `[..., D]`; a scalar, float32."""
    return 1 - F.cosine_similarity(student.float() + correction.float(), teacher.float(), dim=-1).mean()


def distillation(model: Any, features: VideoFeatures, pixel_values_videos: torch.Tensor) -> torch.Tensor:
    """The distillation loss of an [`STDDModel`] with a teacher (card of STDD, S9)."""
    teacher, projector = teacher_frame_embeds(model.teacher, pixel_values_videos), model.distill_projector
    if model.gathers_loss:
        teacher = gather_with_grad(teacher)  # the features are gathered already
    student = normalize(features.frame_embeds.float()).to(projector[0].weight.dtype)
    return distillation_loss(student, model.config.distill_alpha * projector(student), teacher)
