"""A small reader for where the exact one is not there: exports with code carry this file instead.

It decodes a video from its start, picture by picture, up to the last that is wanted. Where headers, clock and packets
are in order, the frames are those that [`FileReader`] finds sooner.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import av
import numpy as np
import torch
from av.video.reformatter import Interpolation

from .limits import hold_to
from .video_pictures import READ_ERRORS, most_pixels, open_container, orientation, oriented, reason, square_size
from .video_reader import FLOAT_SLACK, TimedFrame, VideoClip, VideoInfo, VideoReader
from .video_sources import MediaSource, VideoReadError, VideoReadWarning, check_size


class PlainReader(VideoReader):
    """Frames of an encoded video that can be read more than once."""

    def __init__(self, source: MediaSource) -> None:
        self.name, self._source = source.name, source
        self._damage: dict[str, None] = {}
        self._size: tuple[int, int] | None = None  # of the first picture, as it is stored, with square pixels
        with self._opened() as (container, stream):
            packets = [packet for packet in self._packets(container, stream) if packet.size]
            times = (packet.dts if packet.pts is None else packet.pts for packet in packets)
            ticks = sorted(time for time in times if time is not None)
            if not ticks:
                raise self._nothing()
            base, rate = stream.time_base, stream.guessed_rate or stream.average_rate
            self._times = (np.array(ticks) - ticks[0]) * base.numerator / base.denominator
            duration = float(self._times[-1] + (1 / rate if rate else base))
            about = {"codec": stream.codec_context.name, "container": container.format.name.split(",")[0]}
        _, _, picture = next(self._numbered([0]), (0, 0, None))
        if picture is None:
            raise self._nothing()
        fps = len(ticks) / duration
        self._info = VideoInfo(self.name, duration, fps, len(ticks), picture.shape[1], picture.shape[0], **about)

    def close(self) -> None:
        self._source.close()

    @property
    def info(self) -> VideoInfo:
        return self._info

    @property
    def timestamps(self) -> np.ndarray:
        return self._times

    def read_at(self, timestamps: Sequence[float], mode: str = "exact") -> VideoClip:
        numbers = [self._number(float(time)) for time in timestamps]
        order = sorted(set(numbers))
        shown = dict(zip(order, self._numbered(order), strict=True))
        if self._damage:
            told = "; ".join(self._damage)
            warnings.warn(f"{self.name}: {told}. The readable frames are used.", VideoReadWarning, stacklevel=2)
        return self._clip([shown[number] for number in numbers])

    def iter_frames(self) -> Iterator[tuple[float, torch.Tensor]]:
        for seconds, _, picture in self._numbered(range(len(self._times))):
            yield seconds, torch.from_numpy(np.ascontiguousarray(picture))

    def frames_at(self, times: Iterable[float]) -> Iterator[TimedFrame]:
        return self._numbered(map(self._number, times))

    def _number(self, time: float) -> int:
        return max(0, int(np.searchsorted(self._times, time + FLOAT_SLACK, side="right")) - 1)

    def _nothing(self) -> VideoReadError:
        return VideoReadError(f"{self.name}: no frame can be decoded ({'; '.join(self._damage) or 'no data'}).")

    def _numbered(self, numbers: Iterable[int]) -> Iterator[TimedFrame]:
        """The frames of these ascending numbers; the last that decodes for those beyond it."""
        with self._opened() as (container, stream):
            frames = enumerate(self._frames(container, stream))
            here, frame, picture = -1, None, None
            for number in numbers:
                while here < number and (following := next(frames, None)) is not None:
                    (here, frame), picture = following, None
                if frame is None:
                    raise self._nothing()
                picture = self._picture(frame, stream) if picture is None else picture
                yield TimedFrame(float(self._times[here]), here, picture)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        if self._source.file is not None:
            self._source.file.seek(0)
        container = open_container(self._source)
        try:
            pictures = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
            streams = (each for each in container.streams.video if not each.disposition & pictures)
            stream = next((each for each in streams if each.codec_context is not None and each.time_base), None)
            if stream is None:
                raise VideoReadError(f"{self.name}: no video stream that can be decoded.")
            check_size(self.name, stream.codec_context.width, stream.codec_context.height)
            stream.codec_context.options = most_pixels()
            stream.codec_context.thread_type = "SLICE"
            yield container, stream
        finally:
            container.close()

    def _packets(self, container: Any, stream: Any) -> Iterator[av.Packet]:
        try:
            yield from container.demux(stream)
        except READ_ERRORS as error:
            self._damage[f"reading stops early ({reason(error)})"] = None

    def _frames(self, container: Any, stream: Any) -> Iterator[av.VideoFrame]:
        pixels = 0
        for packet in self._packets(container, stream):
            try:
                frames = stream.codec_context.decode(packet)
            except READ_ERRORS as error:
                self._damage[f"undecodable data ({reason(error)})"] = None
                continue
            pixels += sum(frame.width * frame.height for frame in frames)
            hold_to("decoded_pixels", pixels, f"{self.name}: too much to decode", VideoReadError)
            yield from frames

    def _picture(self, frame: av.VideoFrame, stream: Any) -> np.ndarray:
        """uint8 RGB `[H, W, 3]`, of the size of the first picture."""
        check_size(self.name, frame.width, frame.height)
        if self._size is None:
            aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
            self._size = square_size(frame.width, frame.height, aspect)
        scaling = None if self._size == (frame.width, frame.height) else Interpolation.BICUBIC
        try:
            picture = frame.reformat(*self._size, "rgb24", interpolation=scaling).to_ndarray()
        except READ_ERRORS as error:
            raise VideoReadError(f"{self.name}: its pictures cannot be converted ({reason(error)}).") from error
        return oriented(picture, *orientation(frame))
