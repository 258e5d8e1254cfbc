"""Examples to model inputs: frames drawn and augmented, and each distinct text of the batch tokenized once.

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

from hf_zsar.modeling.candidates import Candidates
from hf_zsar.modeling.modeling_zsar import ZSARPreTrainedModel
from hf_zsar.processing.frame_sampling import get_sampler
from hf_zsar.processing.processing_zsar import ZSARProcessor
from hf_zsar.processing.video_reading import VideoReadError
from hf_zsar.processing.video_sources import check_clip, check_size

from .augmentation import ClipAugmentation
from .candidates import Example, class_number, listed
from .trainer_rules import listen


logger = logging.getLogger(__name__)

TextMode = Literal["per_sample", "distinct", "all"]


class VideoTextCollator:
    """Rows of [`with_candidates`] -> inputs of `model.forward`, loss included.

    Rows for evaluation are read as the processor reads a video and are judged against all their candidates. Rows for
    training are drawn at random, with what the method's loss contrasts them with. A plain row, `{"video", "label"}`
    with a class id, is one for training, of the classes `label_names`.

    Args:
        processor: of the method.
        label_names: the classes that training rows must have, in the order of their ids; default: any.
        text: `"per_sample"`, the text of each video's own class in one random template, repetitions kept (ActionCLIP,
            DA-STI); `"distinct"`, each class of the batch once (ResT); `"all"`, all classes (STDD).
        augmentation: of the frames in training; without it they are resized and cropped as in evaluation.
        sampling, sampling_options: a sampler of `SAMPLERS` for training; random ones draw anew each epoch. `None` is
            the processor's own.
        num_frames: per clip; `None` is the processor's own.
        seed: what randomness starts from; `None` is the seed of the `Trainer` that runs.
        on_error: `"raise"` on a video that cannot be read, or `"skip"` it with a warning that names it; in evaluation
            it always raises.

    A row may bring its frames as JPEG bytes (`{"frames": [...], "label"}`, see the frame cache) instead of a video.
    Its key for the random draws is its `index`, else its path, else its bytes. A `Trainer` says itself which epoch it
    is; in a loop of your own call `set_epoch`.
    """

    def __init__(
        self,
        processor: ZSARProcessor,
        label_names: Sequence[str] | None = None,
        *,
        text: TextMode = "distinct",
        augmentation: ClipAugmentation | None = None,
        sampling: str | None = "tsn_random",
        sampling_options: Mapping[str, Any] | None = None,
        num_frames: int | None = None,
        seed: int | None = None,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> None:
        if text not in ("per_sample", "distinct", "all"):
            raise ValueError(f"text must be per_sample, distinct or all, got {text!r}.")
        self.processor, self.text, self.augmentation = processor, text, augmentation
        self.label_names = None if label_names is None else tuple(label_names)
        self._plain_names = self.label_names  # what class ids of plain rows count in
        self._warned_labels: set[tuple[str, ...]] = set()
        self.video_options: dict[str, Any] = {
            "sampling": sampling,
            "sampling_options": None if sampling is None else dict(sampling_options or {}),
            "num_frames": num_frames,
        }
        self.seed, self.on_error = seed, on_error
        self._run = torch.zeros(2, dtype=torch.long)  # seed and epoch
        self._start()
        if self.label_names:
            self.tell(self.label_names)

    @classmethod
    def for_model(
        cls,
        model: ZSARPreTrainedModel,
        processor: ZSARProcessor,
        label_names: Sequence[str] | None = None,
        **options: Any,
    ) -> VideoTextCollator:
        """With the text that the method's loss contrasts, and the classes that it can be trained on. Plain rows, whose
        class ids may count in another order than a class head's, are taken only where `label_names` are given.

        Raises:
            ValueError: a class head was made for other classes than `label_names`.
        """
        own = model.training_classes
        if own is not None and label_names is not None:
            check_same(own, label_names, "the model's class head has")
        collator = cls(processor, label_names or own, **{"text": model.text_candidates, **options})
        if not label_names:
            collator._plain_names = None
        return collator

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_tokens"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()

    def _start(self) -> None:
        self._tokens: dict[tuple[str, ...], dict[str, torch.Tensor]] = {}
        if not self._run.is_shared():
            self._run.share_memory_()  # workers that live through epochs see it change
        listen(self)

    @property
    def run(self) -> tuple[int, int]:
        """Seed and epoch that draws are made from."""
        seed, epoch = self._run.tolist()
        return seed if self.seed is None else self.seed, epoch

    def set_epoch(self, epoch: int) -> None:
        """Draw other frames, crops and templates than in other epochs; workers that run already do so, too."""
        self._run[1] = epoch

    def set_run(self, seed: int, epoch: int) -> None:
        """As `set_epoch`; `seed` counts where the collator was made without one."""
        self._run[0], self._run[1] = seed, epoch

    def tell(self, names: tuple[str, ...]) -> None:
        """Warn, once, of what of these names does not reach the model. Batches, many and in many workers, do not."""
        if names not in self._warned_labels:
            self._warned_labels.add(names)
            self._tokens[names] = dict(self.processor.prepare_labels(list(names)))

    def __call__(self, rows: Sequence[Example | Mapping[str, Any]]) -> dict[str, Any]:
        """
        Returns:
            `pixel_values_videos [B, T, 3, H, W]` (evaluation of several views: `[B, V, T, 3, H, W]`), `labels [B]`,
            the classes as positions among the row's candidates, and `candidates`.

        Raises:
            VideoReadError: a video that cannot be read (`on_error="raise"`, or evaluation), or none of the batch can.
            ValueError: rows of different candidates, or of others than `label_names`.
            KeyError: a plain row without video or label.
        """
        examples = [row if isinstance(row, Example) else self._example(row) for row in rows]
        names, training = self._common(examples)
        clips, classes, generators = [], [], []
        for example in examples:
            generator = np.random.default_rng(self._entropy(example.row))
            try:
                clips.append(self._clip(example.row, generator) if training else self._views(example.row))
            except VideoReadError as error:
                if self.on_error == "raise" or not training:
                    raise
                logger.warning("skipped: %s", error)
                continue
            classes.append(example.label)
            generators.append(generator)
        if not clips:
            raise VideoReadError(f"none of the {len(examples)} videos of a batch can be read")
        candidates = self._contrasted(names, classes, generators) if training else Candidates(self._all(names), names)
        return {
            "pixel_values_videos": torch.stack(clips),
            "labels": torch.tensor(classes),
            "candidates": candidates,
        }

    def _example(self, row: Mapping[str, Any]) -> Example:
        if "video" not in row and "frames" not in row:
            raise KeyError(
                f"A row has {sorted(row)}, but neither 'video' nor 'frames'. Trainer drops the columns that a model's "
                "forward does not name: pass with_candidates(dataset), or set remove_unused_columns=False."
            )
        names = self._plain_names
        if names is None:
            raise ValueError(
                "A row does not say what it is judged against: pass with_candidates(dataset, training=True) for "
                "training and with_candidates(dataset) for evaluation."
            )
        if "label" not in row:
            raise KeyError(f"A row has {sorted(row)}, but no 'label'.")
        return Example(row, class_number(row["label"], len(names)), names, training=True)

    def _common(self, examples: Sequence[Example]) -> tuple[tuple[str, ...], bool]:
        """The candidates of all rows, and whether they are for training."""
        first = examples[0]
        for example in examples:
            if example.training != first.training:
                raise ValueError("A batch has rows for training and for evaluation: keep their data sets apart.")
            if example.candidates is not first.candidates:
                check_same(first.candidates, example.candidates, "another row of the batch has")
        if first.training and self.label_names is not None and first.candidates is not self.label_names:
            check_same(self.label_names, first.candidates, "the collator was made for")
        return first.candidates, first.training

    def _entropy(self, row: Mapping[str, Any]) -> list[int]:
        key = row.get("index")
        if key is None:
            key = int.from_bytes(hashlib.blake2b(content_key(row), digest_size=8).digest(), "little")
        return [*self.run, int(key)]

    def _clip(self, row: Mapping[str, Any], generator: np.random.Generator) -> torch.Tensor:
        """One view for training, drawn and augmented: `[T, 3, H, W]`."""
        processor: Any = self.processor.video_processor
        options = self.video_options
        video = row.get("video")
        if row.get("frames"):
            random = generator if options["sampling"] is not None else None
            video = cached_frames(row["frames"], options["num_frames"] or processor.num_frames, random)
            options = {"do_sample_frames": False}
        frames = processor.sample(video, generator=generator, num_views=1, **options).frames
        if self.augmentation is None:
            return processor.normalize(processor.resize_crop(frames, num_crops=1)[0])
        return processor.normalize(self.augmentation(frames, generator))

    def _views(self, row: Mapping[str, Any]) -> torch.Tensor:
        """What the processor makes of a video: `[T, 3, H, W]`, or `[V, T, 3, H, W]`.

        Raises:
            ValueError: the processor draws frames at random.
        """
        processor: Any = self.processor.video_processor
        num_frames = self.video_options["num_frames"]
        if row.get("frames"):
            pictures = cached_frames(row["frames"], num_frames or processor.num_frames)
            return processor(pictures, do_sample_frames=False)["pixel_values_videos"][0]
        if processor.fps is None and get_sampler(processor.sampling).is_random:
            raise ValueError(f"The processor's {processor.sampling!r} draws at random: evaluate with 'uniform'.")
        options = {} if num_frames is None else {"num_frames": num_frames}
        return processor(row["video"], **options)["pixel_values_videos"][0]

    def _all(self, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
        if names not in self._tokens:
            self._tokens[names] = dict(self.processor.prepare_labels(list(names), warn=False))
        return self._tokens[names]

    def _contrasted(
        self, names: tuple[str, ...], classes: Sequence[int], generators: Sequence[np.random.Generator]
    ) -> Candidates:
        if self.text == "all":
            return Candidates(self._all(names), label_ids=torch.arange(len(names)))
        wanted = list(classes) if self.text == "per_sample" else sorted(set(classes))
        chosen = [names[i] for i in wanted]
        templates = self.processor.prompt_templates
        if self.text == "per_sample" and len(templates) > 1:
            drawn = [templates[int(generator.integers(len(templates)))] for generator in generators]
            tokens = self.processor.prepare_label_each(chosen, drawn)
        else:
            tokens = self.processor.prepare_labels(chosen, warn=False)
        return Candidates(dict(tokens), label_ids=torch.tensor(wanted))


def check_same(expected: Sequence[str], found: Sequence[str], who: str) -> None:
    """
    Raises:
        ValueError: the classes differ in names or order.
    """
    if list(expected) != list(found):
        raise ValueError(
            f"The data set has the classes {listed(found)}, and {who} {listed(expected)}: the names or their order "
            "differ, so that a class id would mean another class. Make both of one list, with_candidates(..., names)."
        )


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
        VideoReadError: no frames, bytes that are not picture, or pictures beyond the limits of a video's.
    """
    if not len(frames):
        raise VideoReadError("a row has no cached frames")
    within = generator.random(num_frames) if generator is not None else 0.5
    places = (np.arange(num_frames) + within) * len(frames) / num_frames
    return [_picture(frames[int(place)], num_frames) for place in places]


def _picture(data: bytes, count: int) -> Image.Image:
    """One of `count` pictures of a clip."""
    try:
        # Of the formats that pillow reads, some start other programs.
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as picture:
            check_size("a cached frame", *picture.size)
            check_clip("cached frames", count, picture.size[::-1])
            return picture.convert("RGB")
    except VideoReadError:
        raise
    except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError) as error:
        raise VideoReadError(f"a cached frame cannot be read: {error}") from error


__all__ = ["VideoTextCollator", "cached_frames"]
