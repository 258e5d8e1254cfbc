"""A model that reads a number out of a clip's color, and data sets of such clips in the official layouts.

A clip is one plain color that stands for a number 0..215; label k of a list has the number k; the logit of a label is
minus the distance of the two numbers. So what the model answers to a clip is known before any code has run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from transformers import PreTrainedConfig

from hf_zsar.modeling.modeling_zsar import LabelBank, VideoFeatures, ZSARPreTrainedModel, split_views
from hf_zsar.processing.video_processing_zsar import ZSARVideoProcessor


LEVELS = 6
STEP = 43  # gray levels between two digits: far more than compression moves them
FIRST = 20


def write_clip(path: Path, number: int, frames: int = 3, size: int = 32) -> Path:
    """A clip in the color of `number`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digits = [number // LEVELS**2, number // LEVELS % LEVELS, number % LEVELS]
    picture = np.broadcast_to(np.array([FIRST + STEP * d for d in digits], dtype=np.uint8), (size, size, 3))
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for _ in range(frames):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        output.mux(stream.encode(None))
    return path


class ColorConfig(PreTrainedConfig):
    model_type = "color"


class ColorModel(ZSARPreTrainedModel):
    """See the module. `on_batch` is called before every batch."""

    config_class = ColorConfig

    def __init__(self, config: ColorConfig, on_batch: Callable[[], None] | None = None) -> None:
        super().__init__(config)
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.on_batch = on_batch
        self.batches: list[int] = []
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        pass

    def encode_videos(self, pixel_values_videos: torch.Tensor, **kwargs: Any) -> VideoFeatures:
        if self.on_batch is not None:
            self.on_batch()
        self.batches.append(len(pixel_values_videos))
        color = split_views(pixel_values_videos)[0].flatten(3).mean(-1)  # [B * V, T, 3]
        digits = ((255 * color - FIRST) / STEP).round()
        numbers = (digits @ torch.tensor([LEVELS**2, LEVELS, 1.0])).view(len(pixel_values_videos), -1, digits.shape[1])
        return VideoFeatures(video_embeds=numbers.mean((1, 2))[:, None], frame_embeds=numbers[..., None])

    def encode_labels(self, input_ids: torch.Tensor, labels: Sequence[str] | None = None, **inputs: Any) -> LabelBank:
        return self.make_bank(labels, {"text_embeds": input_ids.float()[:, None]}, [input_ids])

    def compute_scores(self, features: VideoFeatures, bank: LabelBank) -> dict[str, torch.Tensor]:
        return {"logits_per_video": -(features.video_embeds - bank["text_embeds"].T).abs() * self.weight}


class ColorProcessor:
    """Labels to their numbers; videos as every processor reads them, without normalization."""

    prompt_templates = ("{}",)
    clean_labels = False
    descriptions: Numbers | None = None  # the saved ones
    descriptions_kind = None

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self.numbers = dict(numbers)
        self.video_processor = ZSARVideoProcessor(
            num_frames=2, size=16, crop_size=16, do_normalize=False, resample="bilinear"
        )

    def check_labels(self, labels: Sequence[str]) -> list[str]:
        return list(labels)

    def read_descriptions(self, descriptions: Any) -> Any:
        return self.descriptions if descriptions is None else descriptions

    def prepare_labels(self, labels: Sequence[str], **options: Any) -> dict[str, torch.Tensor]:
        numbers = {**self.numbers, **(self.read_descriptions(options.get("descriptions")) or {})}
        return {"input_ids": torch.tensor([numbers[label] for label in labels])}


class Numbers(dict[str, int]):
    """Descriptions of labels: other numbers than theirs."""

    fingerprint = "numbers"


def color_pair(
    classes: Sequence[str], on_batch: Callable[[], None] | None = None
) -> tuple[ColorModel, ColorProcessor]:
    """Model and processor for a class list: label k has the number k."""
    model = ColorModel(ColorConfig(), on_batch).eval()
    return model, ColorProcessor({name: k for k, name in enumerate(classes)})


def without_clock(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record without what changes from run to run: equal runs give equal values."""
    return {key: value for key, value in record.items() if key not in ("created", "seconds")}
