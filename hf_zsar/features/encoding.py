"""Videos -> features in the store: decoded by threads, encoded in fixed batches, shared out over processes.

The list of videos is cut into batches once, before anything is looked up, and a batch is encoded as a whole by one
process and lies in one shard. So the numbers do not depend on how many processes there are, nor on where a killed run
stopped. A shard is written as soon as it is large or old enough: that is all that a kill can cost.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from hf_zsar.modeling.modeling_zsar import VideoFeatures, ZSARPreTrainedModel
from hf_zsar.processing.frame_sampling import get_sampler
from hf_zsar.processing.processing_zsar import ZSARProcessor
from hf_zsar.processing.video_sources import VideoReadError, VideoReadWarning

from .processes import Processes
from .reading import ReadAhead
from .shards import Row
from .sources import readable
from .store import FeatureStore, Header, VideoFile, shown
from .writing import Progress, ShardWriter, Step


@dataclass(frozen=True)
class EncodingOptions:
    """How videos are read and encoded.

    Args:
        video_options: overrides of the video processor: `num_frames`, `num_views`, `num_crops`, `sampling`...
        window, stride: seconds; a row for each stretch of a video instead of one for all of it.
        batch_size: videos per forward pass.
        num_workers: decoding threads.
        time_limit: seconds after which a video that gives nothing, or no further window, is given up; None: never.
        dtype: `"float16"` or `"float32"` in the store; None: as the model gives it.
        pooled: keep `video_embeds` alone, which not every method can score with.
        progress: show a bar on a terminal, else a line now and then.
        say: told of every video that cannot be read, or only in part.
    """

    video_options: Mapping[str, Any] = field(default_factory=dict)
    window: float | None = None
    stride: float | None = None
    batch_size: int = 8
    num_workers: int = 2
    time_limit: float | None = None
    dtype: str | None = None
    pooled: bool = False
    progress: bool = False
    say: Callable[[str], None] | None = None


def feature_header(
    model: ZSARPreTrainedModel,
    processor: ZSARProcessor,
    options: EncodingOptions,
    name: str | None = None,
    revision: str | None = None,
) -> Header:
    """All that a feature depends on besides the video.

    Args:
        name, revision: of the model, for people; by default what it was loaded from.

    Raises:
        ValueError: a sampler that draws frames at random: another run would see other frames.
    """
    settings = {**processor.video_processor.to_dict(), **options.video_options}
    if settings["fps"] is None and get_sampler(settings["sampling"]).is_random:
        raise ValueError(f"sampling {settings['sampling']!r} draws frames at random: choose 'uniform' or another.")
    encoding: dict[str, Any] = {"video": settings, "dtype": str(model.dtype).removeprefix("torch.")}
    if options.window is not None:
        encoding |= {"window": options.window, "stride": options.stride or options.window}
    if options.dtype is not None:
        encoding["stored_as"] = options.dtype
    needed = () if options.pooled else model.score_inputs
    if needed is not None:
        encoding["keeps"] = ["video_embeds", *needed]
    name = str(name or getattr(model.config, "_name_or_path", "") or type(model).__name__)
    about = {
        # A folder's place on one machine means nothing on another.
        "id": shown(Path(name).name if Path(name).is_dir() else name),
        "revision": revision or getattr(model.config, "_commit_hash", None),
        "model_type": model.config.model_type,
        "identity": str(model.identity()),
    }
    return Header(about, json.loads(json.dumps(encoding, default=str)))


def open_store(folder: Any, header: Header, processes: Processes) -> FeatureStore:
    """The store to write to, on every process; errors as [`FeatureStore.claim`]."""

    def claim() -> None:
        FeatureStore.claim(folder, header)

    processes.from_main(claim)
    return FeatureStore.open(folder)


def batches_of(videos: Sequence[VideoFile], batch_size: int) -> list[Sequence[VideoFile]]:
    """The videos as they are encoded together, in order."""
    return [videos[start : start + batch_size] for start in range(0, len(videos), batch_size)]


def missing_batches(videos: Sequence[VideoFile], store: FeatureStore, batch_size: int) -> list[list[VideoFile]]:
    """Of each batch the videos that the store lacks; batches without any are left out."""
    batches = ([video for video in batch if video not in store] for batch in batches_of(videos, batch_size))
    return [batch for batch in batches if batch]


def encode_videos(
    model: ZSARPreTrainedModel,
    processor: ZSARProcessor,
    videos: Sequence[VideoFile],
    store: FeatureStore,
    options: EncodingOptions,
    processes: Processes | None = None,
) -> dict[str, str]:
    """Encode the videos that the store lacks; afterwards it holds every video that can be read, on every process.

    A video that cannot be read in time, or whose features are not finite, does not stop the others. It is noted in the
    store, and tried again by the next run.

    Returns:
        id of a video -> what is wrong with it.

    Raises:
        OSError: a shard cannot be written.
    """
    processes = processes or Processes()
    # Looked up once and told to all: another process may be writing already when this one looks.
    pending = processes.from_main(lambda: missing_batches(videos, store, options.batch_size))
    todo = processes.share(pending, [sum(video.size for video in batch) for batch in pending])
    encoder = VideoEncoder(model, processor, options, store.holds)
    progress = Progress(sum(map(len, todo)), options.progress and processes.is_main, options.say)
    with read_warnings() as notes, ShardWriter(store, options.say, progress) as writer:
        for step in encoder.steps(todo, notes):
            writer.add(step)
    broken = processes.gather(writer.broken)
    store.refresh()
    return dict(broken)


class Notes:
    """What was wrong with videos that could be read in part, as warnings said it."""

    def __init__(self, caught: list[warnings.WarningMessage]) -> None:
        self._caught = caught

    def take(self, source: str) -> tuple[str, ...]:
        """The notes of a video: the text of a warning begins with its source."""
        found = []
        for warning in list(self._caught):
            text = shown(str(warning.message))
            if issubclass(warning.category, VideoReadWarning) and text.startswith(f"{source}: "):
                self._caught.remove(warning)
                found.append(text.removeprefix(f"{source}: "))
        return tuple(found)


@contextmanager
def read_warnings() -> Iterator[Notes]:
    """Collect the warnings of partly readable videos, from the decoding threads too; others are shown after."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", VideoReadWarning)
        yield Notes(caught)
    for other in caught:
        if not issubclass(other.category, VideoReadWarning):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)


class VideoEncoder:
    """Batches of videos -> rows and features.

    Args:
        holds: whether a row is there already, so that a stretch need not be encoded.
    """

    def __init__(
        self,
        model: ZSARPreTrainedModel,
        processor: ZSARProcessor,
        options: EncodingOptions,
        holds: Callable[[Row], bool] | None = None,
    ) -> None:
        self.model, self.read, self.options, self.holds = model, processor.video_processor, options, holds

    def steps(self, batches: Sequence[Sequence[VideoFile]], notes: Notes) -> Iterator[Step]:
        """A step for each batch, or for as many stretches of a video."""
        options = self.options
        ahead = options.num_workers + (options.batch_size if options.window is None else 0)
        reading = ReadAhead(self.parts, options.num_workers, ahead, options.time_limit)
        with closing(reading(video for batch in batches for video in batch)) as videos:
            for step in self._whole(batches, videos) if options.window is None else self._stretches(videos):
                rows = [replace(row, warnings=notes.take(row.source) + row.warnings) for row in step.rows]
                yield replace(step, rows=rows)

    def parts(self, video: VideoFile) -> Iterator[tuple[Row, torch.Tensor]]:
        """What there is to encode of a video: all of it, `[1, ...]`, or its windows."""
        options = self.options
        if options.window is None:
            inputs = self.read(readable(video), return_tensors="pt", **options.video_options)
            yield video.row, inputs["pixel_values_videos"]
            return
        windows = self.read.iter_windows(readable(video), options.window, options.stride, **options.video_options)
        for start, end, frames in windows:
            row = video.row.stretch(start, end)
            if self.holds is None or not self.holds(row):
                yield row, frames[None]

    def _whole(self, batches: Sequence[Sequence[VideoFile]], videos: Iterable[Any]) -> Iterator[Step]:
        videos = iter(videos)
        for batch in batches:
            good, failed = [], []
            for _ in batch:
                video, parts = next(videos)
                try:
                    good += [(video, pixels) for _, pixels in parts]
                except VideoReadError as error:
                    failed.append((video, told(video, error)))
            yield from self._encoded(good, failed)

    def _encoded(
        self, batch: Sequence[tuple[VideoFile, torch.Tensor]], failed: Sequence[tuple[VideoFile, str]] = ()
    ) -> Iterator[Step]:
        """One step for a batch; where a video in it gives NaN or infinity, one for each of the others."""
        videos = [video for video, _ in batch]
        try:
            features = self.encode([pixels for _, pixels in batch])
        except FloatingPointError as error:
            if len(batch) == 1:
                yield Step(failed=[*failed, (videos[0], told(videos[0], error))])
                return
            yield Step(failed=failed)
            for each in batch:
                yield from self._encoded([each])
            return
        yield Step([video.row for video in videos], features, [video.row for video in videos], failed)

    def _stretches(self, videos: Iterable[Any]) -> Iterator[Step]:
        """Batches of one video's windows."""
        for video, parts in videos:
            rows: list[Row] = []
            pixels: list[torch.Tensor] = []
            try:
                for row, frames in parts:
                    # The last rows of a video wait for the word that it is whole, to go with them.
                    if len(rows) == self.options.batch_size:
                        yield Step(rows, self.encode(pixels))
                        rows, pixels = [], []
                    rows.append(row)
                    pixels.append(frames)
                last = self.encode(pixels)
            except (VideoReadError, FloatingPointError) as error:
                yield Step(failed=[(video, told(video, error))])
            else:
                yield Step(rows, last, [video.row])

    def encode(self, pixel_values: Sequence[torch.Tensor]) -> VideoFeatures | None:
        """What the store keeps of a batch; None of an empty one.

        Raises:
            FloatingPointError: features that are not finite, or beyond the numbers that are stored.
        """
        if not pixel_values:
            return None
        features = encode_batch(self.model, pixel_values)
        needed = () if self.options.pooled else self.model.score_inputs
        kept = features.keys() if needed is None else {"video_embeds", *needed} & features.keys()
        dtype = getattr(torch, self.options.dtype) if self.options.dtype else None
        stored = VideoFeatures(**{name: features[name].to(dtype or features[name].dtype) for name in kept})
        if dtype == torch.float16 and not all(bool(tensor.isfinite().all()) for tensor in stored.values()):
            raise FloatingPointError("features beyond what float16 holds: store them as float32.")
        return stored


def told(video: VideoFile, error: Exception) -> str:
    """What is wrong with a video, with its name: not everything that is raised has it."""
    name, reason = shown(video.row.source), str(error)
    return reason if reason.startswith(name) else f"{name}: {reason}"


@torch.inference_mode()
def encode_batch(model: ZSARPreTrainedModel, pixel_values: Sequence[torch.Tensor]) -> VideoFeatures:
    """Features of one batch, on the CPU, in the number type that the model gives.

    Raises:
        ValueError: videos that give different numbers of frames.
        FloatingPointError: features that are not finite.
    """
    shapes = sorted({tuple(each.shape[1:]) for each in pixel_values})
    if len(shapes) > 1:
        raise ValueError(f"The videos give frames of different shapes {shapes}: fix num_frames and crop_size.")
    batch = torch.cat(list(pixel_values)).to(model.device, model.dtype)
    return model.encode_videos(batch).to("cpu")
