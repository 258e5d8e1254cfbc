"""One open video file: its stream, its clock and its frames in the order of presentation (PyAV).

Times in here are integers in ticks of the stream's clock (`time_base` seconds each), as the container stores them.
"""

from __future__ import annotations

import heapq
import math
import multiprocessing
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
import torch
from av.video.reformatter import Interpolation

from .video_sources import MediaSource, VideoReadError


# Containers whose reader can be trusted with a hostile file: none of them opens other files or addresses, as playlists
# (HLS, DASH, concat) do.
FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,flv,asf,gif,ogg,mxf,h264,hevc,obu,ivf,vc1,rm,nut,wtv,dv,mjpeg,"
    "apng,webp_pipe,jpeg_pipe,png_pipe,yuv4mpegpipe,live_flv,m2v,mpegtsraw,h261,h263,av1,gxf,nsv,swf,3gp,webm,mp4"
)
# Containers that store no presentation times: their readers guess, and with B-frames guess wrong.
GUESSED_CLOCKS = {"avi", "m4v", "h264", "hevc", "mpegvideo", "h263", "h261", "vc1", "obu"}
REORDER_DEPTH = 16


def default_threads() -> int:
    """Codec threads: up to 4, but 1 inside a worker process, where there is one worker per core already."""
    in_worker = torch.utils.data.get_worker_info() is not None or multiprocessing.parent_process() is not None
    return 1 if in_worker else max(1, min(4, os.cpu_count() or 1))


class MediaFile:
    """An open container and the first real video stream in it.

    Raises:
        VideoReadError: not a video, nothing decodable, or no video stream.
    """

    def __init__(self, source: MediaSource, thread_count: int | None = None) -> None:
        self.source = source
        self.name = source.name
        self.thread_count = default_threads() if thread_count is None else thread_count
        self.damage: list[str] = []
        self._open()

    def _open(self) -> None:
        target = f"file:{self.source.path}" if self.source.path is not None else self.source.file
        try:
            self.container = av.open(
                target,
                options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
                metadata_errors="ignore",
            )
        except (av.FFmpegError, ValueError, OSError) as error:
            raise VideoReadError(f"{self.name}: not a readable video ({reason(error)}).") from error
        try:
            self.stream = self._video_stream()
        except VideoReadError:
            self.container.close()
            raise
        self.codec = self.stream.codec_context
        self.codec.thread_type = "SLICE"
        self.codec.thread_count = self.thread_count
        self.time_base: Fraction = self.stream.time_base

    def _video_stream(self) -> Any:
        pictures = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
        streams = [stream for stream in self.container.streams.video if not stream.disposition & pictures]
        streams = [stream for stream in streams if stream.codec_context is not None and stream.time_base]
        if not streams:
            raise VideoReadError(f"{self.name}: no video stream (audio only, or a cover picture).")
        for other in self.container.streams:
            if other.index != streams[0].index:
                other.discard = av.stream.Discard.all
        return streams[0]

    def close(self) -> None:
        self.container.close()

    def rewind(self) -> None:
        """Back to the first packet.

        Raises:
            VideoReadError: the source cannot be read twice.
        """
        if not self.source.seekable:
            raise VideoReadError(f"{self.name}: a stream that cannot be rewound; read it once with windows().")
        self.container.close()
        if self.source.file is not None:
            self.source.file.seek(0)
        self._open()

    def packets(self) -> Iterator[av.Packet]:
        """Packets of the stream from here on, in decoding order; a read error ends them and is noted as damage."""
        try:
            for packet in self.container.demux(self.stream):
                if packet.size:
                    yield packet
        except (av.FFmpegError, OSError) as error:
            self.damage.append(f"reading stops early ({reason(error)})")

    def decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        """Frames that come out when `packet` goes in (None: the rest); an undecodable packet is noted as damage."""
        try:
            return self.codec.decode(packet)
        except av.EOFError:
            return []
        except (av.FFmpegError, ValueError) as error:
            self.damage.append(f"undecodable data ({reason(error)})")
            return []

    def raw_frames(self) -> Iterator[av.VideoFrame]:
        """Every frame from here on, as the decoder orders them, until the end of the file."""
        for packet in self.packets():
            yield from self.decode(packet)
        yield from self.decode(None)

    def frames(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Every frame from here on with its time in ticks, times never falling.

        Decoders put out frames in the order of presentation. Where the container's clock is a guess, times may come in
        another order; they are sorted, so that the k-th frame has the k-th time.
        """
        depth = REORDER_DEPTH if self.container.format.name in GUESSED_CLOCKS else 0
        waiting: list[av.VideoFrame] = []
        times: list[int] = []
        last = None
        for frame in self.raw_frames():
            waiting.append(frame)
            heapq.heappush(times, self._time_of(frame, last))
            last = times[0] if last is None else max(last, self._time_of(frame, last))
            if len(waiting) > depth:
                yield heapq.heappop(times), waiting.pop(0)
        for frame in waiting:
            yield heapq.heappop(times), frame

    def _time_of(self, frame: av.VideoFrame, last: int | None) -> int:
        if frame.pts is not None:
            return frame.pts
        return 0 if last is None else last + self.frame_step

    @property
    def frame_step(self) -> int:
        """Ticks of one frame at the declared rate, at least 1."""
        rate = self.stream.average_rate or self.stream.guessed_rate
        return max(1, round(1 / (rate * self.time_base))) if rate else 1

    def pixels(self, frame: av.VideoFrame, as_stored: bool = False) -> np.ndarray:
        """`[H, W, 3]` uint8 RGB as a viewer sees it: square pixels, turned as the metadata says, alpha dropped."""
        if as_stored:
            return frame.to_ndarray(format="rgb24")
        width, height = square_size(frame.width, frame.height, self.stream.sample_aspect_ratio)
        if (width, height) == (frame.width, frame.height):
            picture = frame.to_ndarray(format="rgb24")
        else:
            picture = frame.reformat(width, height, "rgb24", interpolation=Interpolation.BICUBIC).to_ndarray()
        return np.rot90(picture, k=quarter_turns(frame.rotation)) if frame.rotation else picture


def reason(error: BaseException) -> str:
    """FFmpeg's words for an error, without the path that PyAV appends."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def square_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height with square pixels; no side shrinks. Ratios within 1 % of square are rounding, beyond 16 noise."""
    if not aspect or aspect <= 0 or abs(math.log(aspect)) < 0.01 or not Fraction(1, 16) <= aspect <= 16:
        return width, height
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


def quarter_turns(degrees: float) -> int:
    """Counter-clockwise quarter turns nearest to `degrees`."""
    return round(degrees / 90) % 4


__all__ = ["MediaFile", "default_threads", "quarter_turns", "reason", "square_size"]
