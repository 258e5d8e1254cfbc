"""Videos -> features in the store: decoded by threads, encoded in fixed batches, shared out over processes.

The list of videos is cut into batches once, before anything is looked up, and a batch is encoded as a whole by one
process and lies in one shard. So the numbers do not depend on how many processes there are, nor on where a killed run
stopped. A shard is written as soon as it is large or old enough: that is all that a kill can cost.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hf_zsar.modeling.modeling_zsar import VideoFeatures, ZSARPreTrainedModel
from hf_zsar.processing.frame_sampling import get_sampler
from hf_zsar.processing.prefetching import prefetch
from hf_zsar.processing.processing_zsar import ZSARProcessor
from hf_zsar.processing.video_sources import VideoReadError, VideoReadWarning

from .processes import Processes
from .shards import Row
from .store import FeatureStore, Header, VideoFile, shown


# A shard ends with the batch that reaches one of these: rows, bytes, seconds since the last one.
SHARD_ROWS, SHARD_BYTES, SHARD_SECONDS = 512, 64 * 2**20, 20.0

Encoded = tuple[list[Row], "VideoFeatures | None", list[VideoFile]]


@dataclass(frozen=True)
class EncodingOptions:
    """How videos are read and encoded.

    Args:
        video_options: overrides of the video processor: `num_frames`, `num_views`, `num_crops`, `sampling`...
        window, stride: seconds; a row for each stretch of a video instead of one for all of it.
        batch_size: videos per forward pass.
        num_workers: decoding threads.
        progress: show a bar on a terminal.
        say: told of every video that cannot be read, or only in part.
    """

    video_options: Mapping[str, Any]
    window: float | None = None
    stride: float | None = None
    batch_size: int = 8
    num_workers: int = 2
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
    name = str(name or getattr(model.config, "_name_or_path", "") or type(model).__name__)
    about = {
        # A folder's place on one machine means nothing on another.
        "id": shown(Path(name).name if Path(name).is_dir() else name),
        "revision": revision or getattr(model.config, "_commit_hash", None),
        "model_type": model.config.model_type,
        "identity": str(model.identity()),
    }
    return Header(about, json.loads(json.dumps(encoding, default=str)))


def open_store(folder: str | os.PathLike, header: Header, processes: Processes) -> FeatureStore:
    """The store to write to, on every process; errors as [`FeatureStore.claim`]."""

    def claim() -> None:
        FeatureStore.claim(folder, header)

    processes.from_main(claim)
    return FeatureStore.open(folder)


def batches_of(videos: Sequence[VideoFile], batch_size: int) -> list[Sequence[VideoFile]]:
    """The videos as they are encoded together, in order."""
    return [videos[start : start + batch_size] for start in range(0, len(videos), batch_size)]


def encode_videos(
    model: ZSARPreTrainedModel,
    processor: ZSARProcessor,
    videos: Sequence[VideoFile],
    store: FeatureStore,
    options: EncodingOptions,
    processes: Processes | None = None,
) -> dict[str, str]:
    """Encode the videos that the store lacks; afterwards it holds every video that can be read, on every process.

    A video that cannot be read, or whose features are not finite, does not stop the others. It is noted in the store,
    and tried again by the next run.

    Returns:
        id of a video -> what is wrong with it.

    Raises:
        OSError: a shard cannot be written.
    """
    processes = processes or Processes()
    batches = batches_of(videos, options.batch_size)
    # Looked up once and told to all: another process may be writing already when this one looks.
    pending = processes.from_main(
        lambda: [number for number, batch in enumerate(batches) if any(video not in store for video in batch)]
    )
    todo = [[video for video in batches[number] if video not in store] for number in processes.share(pending)]
    encoder = _Encoder(model, processor, store, options)
    steps = encoder.whole(todo) if options.window is None else encoder.stretches(todo)
    encoder.run(steps, sum(map(len, todo)), options.progress and processes.is_main)
    broken = processes.gather(encoder.broken)
    store.refresh()
    return dict(broken)


class _Encoder:
    """One process's share: reads, encodes, and writes shards as they fill."""

    def __init__(
        self, model: ZSARPreTrainedModel, processor: ZSARProcessor, store: FeatureStore, options: EncodingOptions
    ) -> None:
        self.model, self.read, self.store, self.options = model, processor.video_processor, store, options
        self.broken: list[tuple[str, str]] = []
        self.messages: list[str] = []
        self._rows: list[Row] = []
        self._parts: list[VideoFeatures] = []
        self._complete: list[VideoFile] = []
        self._since = time.monotonic()

    def run(self, steps: Iterator[Encoded], total: int, progress: bool) -> None:
        """Take the steps to the end; what is finished is written also when one of them fails."""
        from tqdm import tqdm

        with (
            self._warnings() as caught,
            tqdm(total=total, unit="video", desc="encoding", disable=None if progress else True, leave=False) as bar,
        ):
            try:
                for rows, features, complete in steps:
                    self._take_messages(caught)
                    self._add(rows, features, complete)
                    bar.update(len(complete))
            except BaseException:
                with suppress(OSError):  # the first error is the one to tell
                    self._flush()
                raise
            self._flush()

    def whole(self, batches: Sequence[Sequence[VideoFile]]) -> Iterator[Encoded]:
        """A row a video, batch by batch; some are read ahead."""

        def pixels(video: VideoFile) -> torch.Tensor | VideoReadError:
            try:
                inputs = self.read(video.source, return_tensors="pt", **self.options.video_options)
            except VideoReadError as error:
                return error
            return inputs["pixel_values_videos"]

        decoded = prefetch(pixels, (video for batch in batches for video in batch), self.options.num_workers)
        for batch in batches:
            good = []
            for video, value in zip(batch, decoded, strict=False):
                if isinstance(value, VideoReadError):
                    self._give_up(video, value)
                else:
                    good.append((video, value))
            yield from self._encoded(good)

    def _encoded(self, batch: Sequence[tuple[VideoFile, torch.Tensor]]) -> Iterator[Encoded]:
        """One step for a batch; where a video in it gives NaN or infinity, one for each of the others."""
        videos = [video for video, _ in batch]
        try:
            features = encode_batch(self.model, [value for _, value in batch]) if batch else None
        except FloatingPointError as error:
            if len(batch) == 1:
                self._give_up(videos[0], error)
            else:
                for each in batch:
                    yield from self._encoded([each])
            return
        yield [video.row for video in videos], features, videos

    def stretches(self, batches: Iterable[Iterable[VideoFile]]) -> Iterator[Encoded]:
        """A row a window, in batches of one video's."""
        for video in (video for batch in batches for video in batch):
            rows: list[Row] = []
            pixels: list[torch.Tensor] = []
            try:
                for start, end, frames in self._windows(video):
                    # The last rows of a video wait for the word that it is whole, to go with them.
                    if len(rows) == self.options.batch_size:
                        yield rows, encode_batch(self.model, pixels), []
                        rows, pixels = [], []
                    row = video.row.stretch(start, end)
                    if not self.store.holds(row):
                        rows.append(row)
                        pixels.append(frames[None])
                last = encode_batch(self.model, pixels) if rows else None
            except (VideoReadError, FloatingPointError) as error:
                self._give_up(video, error)
            else:
                yield rows, last, [video]

    def _windows(self, video: VideoFile) -> Iterator[tuple[float, float, torch.Tensor]]:
        return self.read.iter_windows(
            video.source, self.options.window, self.options.stride, **self.options.video_options
        )

    def _give_up(self, video: VideoFile, error: VideoReadError | FloatingPointError) -> None:
        # What a model says does not name the video.
        reason = str(error) if isinstance(error, VideoReadError) else f"{shown(video.row.source)}: {error}"
        self.broken.append((video.id, reason))
        self.store.add_error(video, reason)
        if self.options.say is not None:
            self.options.say(f"error: {reason}")

    def _add(self, rows: list[Row], features: VideoFeatures | None, complete: list[VideoFile]) -> None:
        if features is not None:
            self._rows += rows
            self._parts.append(features)
        self._complete += complete
        size = sum(tensor.nbytes for part in self._parts for tensor in part.values())
        old = time.monotonic() - self._since > SHARD_SECONDS
        if old or len(self._rows) >= SHARD_ROWS or size >= SHARD_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._since = time.monotonic()
        if self._rows:
            rows = [replace(row, warnings=self._notes(row.source)) for row in self._rows]
            self.store.write(rows, VideoFeatures.cat(self._parts), self._complete)
            done = tuple(f"{video.row.source}: " for video in self._complete)
            self.messages = [text for text in self.messages if not text.startswith(done)]
        self._rows, self._parts, self._complete = [], [], []

    @contextmanager
    def _warnings(self) -> Iterator[list[warnings.WarningMessage]]:
        """Collect the warnings of partly readable videos, from the decoding threads too; others are shown after."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", VideoReadWarning)
            yield caught
        for other in caught:
            if not issubclass(other.category, VideoReadWarning):
                warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)

    def _take_messages(self, caught: list[warnings.WarningMessage]) -> None:
        mine = [warning for warning in caught if issubclass(warning.category, VideoReadWarning)]
        caught[:] = [warning for warning in caught if warning not in mine]
        self.messages += [shown(str(warning.message)) for warning in mine]
        if self.options.say is not None:
            for warning in mine:
                self.options.say(f"warning: {warning.message}")

    def _notes(self, source: str) -> tuple[str, ...]:
        """What was wrong with a video: a warning's text begins with its source."""
        return tuple(text.removeprefix(f"{source}: ") for text in self.messages if text.startswith(f"{source}: "))


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
