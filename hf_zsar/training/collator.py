"""Examples to model inputs: frames drawn and augmented, and each distinct text of the batch tokenised once.

Everything random is drawn from (seed, epoch, example), so that a run is the same whatever the number of workers and
processes, and resuming repeats nothing.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from transformers import PreTrainedModel

from hf_zsar.modeling.modeling_zsar import LabelBank
from hf_zsar.processing.processing_zsar import ZSARProcessor
from hf_zsar.processing.video_reading import VideoReadError

from .augmentation import ClipAugmentation
from .optimization import method_of


logger = logging.getLogger(__name__)

TextMode = Literal["per_sample", "distinct", "all"]


class VideoTextCollator:
    """Batch of `{"video", "label"}` examples -> inputs of `model.forward`, loss included.

    Args:
        processor: of the method.
        label_names: name of every class id.
        text: `"per_sample"`, the text of each video's own class in one random template, repetitions kept (ActionCLIP,
            DA-STI); `"distinct"`, each class of the batch once (ResT); `"all"`, all classes as candidates.
        label_bank: a ready text side of all classes, in the order of `label_names`, instead of tokens (STDD).
        augmentation: of the frames; without it they are resized and cropped as in evaluation.
        sampling, sampling_options: a sampler of `SAMPLERS`; random ones draw anew each epoch. `None` is the
            processor's own.
        num_frames: per clip; `None` is the processor's own.
        seed: what randomness starts from; call `set_epoch` before each epoch.
        on_error: `"raise"` on a video that cannot be read, or `"skip"` it with a warning that names it.

    An example may bring its frames as JPEG bytes (`{"frames": [...], "label"}`, see the frame cache) instead of a
    video. Its key for the random draws is `example["index"]`, else the path, else the bytes.
    """

    def __init__(
        self,
        processor: ZSARProcessor,
        label_names: Sequence[str],
        *,
        text: TextMode = "distinct",
        label_bank: LabelBank | None = None,
        augmentation: ClipAugmentation | None = None,
        sampling: str | None = "tsn_random",
        sampling_options: Mapping[str, Any] | None = None,
        num_frames: int | None = None,
        seed: int = 0,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> None:
        if text not in ("per_sample", "distinct", "all"):
            raise ValueError(f"text must be per_sample, distinct or all, got {text!r}.")
        if label_bank is not None and len(label_bank) != len(label_names):
            raise ValueError(f"The label bank has {len(label_bank)} labels for {len(label_names)} classes.")
        self.processor, self.label_names, self.text = processor, list(label_names), text
        self.label_bank, self.augmentation = label_bank, augmentation
        self.video_options = {
            "sampling": sampling,
            "sampling_options": None if sampling is None else dict(sampling_options or {}),
            "num_frames": num_frames,
        }
        self.seed, self.epoch, self.on_error = seed, 0, on_error
        self._all_text = processor.prepare_labels(self.label_names) if text == "all" and label_bank is None else None

    @classmethod
    def for_model(
        cls, model: PreTrainedModel, processor: ZSARProcessor, label_names: Sequence[str], **options: Any
    ) -> VideoTextCollator:
        """With the text mode that the method's loss wants."""
        # STDD chooses among all training classes, as does DA-STI on request; ResT's class head does that by itself.
        over_all = method_of(model) == "stdd" or getattr(model.config, "loss_mode", None) == "all_classes"
        text: TextMode = "all" if over_all else "per_sample" if model.text_per_sample else "distinct"
        return cls(processor, label_names, **{"text": text, **options})

    def set_epoch(self, epoch: int) -> None:
        """Draw other frames, crops and templates than in other epochs."""
        self.epoch = epoch

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """
        Returns:
            `pixel_values_videos [B, T, 3, H, W]`, `labels [B]` (class ids), and `label_ids [K]` with the token tensors
            of those K candidates, or `label_bank`.

        Raises:
            VideoReadError: a video that cannot be read (`on_error="raise"`), or none of the batch can.
        """
        clips, classes, generators = [], [], []
        for example in examples:
            generator = np.random.default_rng(self._entropy(example))
            try:
                clips.append(self._clip(example, generator))
            except VideoReadError as error:
                if self.on_error == "raise":
                    raise
                logger.warning("skipped: %s", error)
                continue
            classes.append(int(example["label"]))
            generators.append(generator)
        if not clips:
            raise VideoReadError(f"none of the {len(examples)} videos of a batch can be read")
        labels = torch.tensor(classes)
        return {"pixel_values_videos": torch.stack(clips), "labels": labels, **self._text(classes, generators)}

    def _entropy(self, example: Mapping[str, Any]) -> list[int]:
        key = example.get("index")
        if key is None:
            key = int.from_bytes(hashlib.blake2b(content_key(example), digest_size=8).digest(), "little")
        return [self.seed, self.epoch, int(key)]

    def _clip(self, example: Mapping[str, Any], generator: np.random.Generator) -> torch.Tensor:
        processor, options = self.processor.video_processor, self.video_options
        if example.get("frames"):
            random = generator if options["sampling"] is not None else None
            video = cached_frames(example["frames"], options["num_frames"] or processor.num_frames, random)
            options = {"do_sample_frames": False}
        elif "video" in example:
            video = example["video"]
        else:
            raise KeyError(
                f"An example has {sorted(example)}, but neither 'video' nor 'frames': with Trainer, set "
                "remove_unused_columns=False in TrainingArguments."
            )
        frames = processor.sample(video, generator=generator, num_views=1, **options).frames
        if self.augmentation is None:
            return processor.normalize(processor.resize_crop(frames, num_crops=1)[0])
        return processor.normalize(self.augmentation(frames, generator))

    def _text(self, classes: Sequence[int], generators: Sequence[np.random.Generator]) -> dict[str, Any]:
        if self.label_bank is not None:
            return {"label_bank": self.label_bank, "label_ids": torch.arange(len(self.label_names))}
        if self.text == "all":
            return {**self._all_text, "label_ids": torch.arange(len(self.label_names))}
        wanted = list(classes) if self.text == "per_sample" else sorted(set(classes))
        names = [self.label_names[i] for i in wanted]
        templates = self.processor.prompt_templates
        if self.text == "per_sample" and len(templates) > 1:
            drawn = [templates[int(generator.integers(len(templates)))] for generator in generators]
            tokens = self.processor.prepare_label_each(names, drawn)
        else:
            tokens = self.processor.prepare_labels(names)
        return {**tokens, "label_ids": torch.tensor(wanted)}


def content_key(example: Mapping[str, Any]) -> bytes:
    """What tells an example without `index` from others: its path, else its bytes."""
    video = example.get("video")
    path = video.get("path") if isinstance(video, Mapping) else video
    if isinstance(path, (str, os.PathLike)):
        return os.fspath(path).encode()
    data = video.get("bytes") if isinstance(video, Mapping) else b"".join(example.get("frames") or ())
    return bytes(data or b"")


def cached_frames(
    frames: Sequence[bytes], num_frames: int, generator: np.random.Generator | None = None
) -> list[Image.Image]:
    """`num_frames` of the candidate frames of a cache, one from each of as many equal segments, decoded.

    Args:
        generator: draws the place in each segment; without it, the middle.

    Raises:
        VideoReadError: bytes that are no picture.
    """
    within = generator.random(num_frames) if generator is not None else 0.5
    places = (np.arange(num_frames) + within) * len(frames) / num_frames
    try:
        return [Image.open(io.BytesIO(frames[int(place)])).convert("RGB") for place in places]
    except OSError as error:
        raise VideoReadError(f"a cached frame cannot be read: {error}") from error


__all__ = ["VideoTextCollator", "cached_frames"]
