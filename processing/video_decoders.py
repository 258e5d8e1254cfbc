"""Reading frames of a decoder that is open already (torchcodec's)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from .video_reader import FLOAT_SLACK, TimedFrame, VideoClip, VideoInfo, VideoReader
from .video_sources import VideoReadError, check_clip


class DecoderReader(VideoReader):
    """Frames of an open torchcodec `VideoDecoder`, or of anything with its `metadata` and `get_frames_played_at`."""

    def __init__(self, decoder: Any, name: str = "VideoDecoder") -> None:
        self.name = name
        self._decoder = decoder
        meta = decoder.metadata
        begin = getattr(meta, "begin_stream_seconds", None)
        end = getattr(meta, "end_stream_seconds", None)
        self._begin = float(begin or 0.0)
        length = float(end) - self._begin if end is not None else float(meta.duration_seconds)
        count = getattr(meta, "num_frames", None)
        fps = count / length if count and length > 0 else getattr(meta, "average_fps", None)
        self._info = VideoInfo(name, length, fps, count, meta.width, meta.height, codec=getattr(meta, "codec", None))

    @property
    def info(self) -> VideoInfo:
        return self._info

    @property
    def timestamps(self) -> np.ndarray:
        batch = self._call(self._decoder.get_frames_in_range, 0, self._info.num_frames)
        return np.asarray(batch.pts_seconds, dtype=np.float64) - self._begin

    def read_at(self, timestamps: Sequence[float], mode: str = "exact") -> VideoClip:
        last = self._begin + self._info.duration - 1e-4
        check_clip(self.name, len(timestamps), (self._info.height, self._info.width))
        seconds = [min(max(self._begin + float(time) + FLOAT_SLACK, self._begin), last) for time in timestamps]
        batch = self._call(self._decoder.get_frames_played_at, seconds)
        frames = batch.data if batch.data.shape[-1] == 3 else batch.data.permute(0, 2, 3, 1)
        times = [float(time) - self._begin for time in batch.pts_seconds]
        indices = [round(time * (self._info.fps or 1.0)) for time in times]
        return VideoClip(frames.cpu().contiguous(), times, indices, self._info)

    def read_indices(self, indices: Sequence[int]) -> VideoClip:
        check_clip(self.name, len(indices), (self._info.height, self._info.width))
        batch = self._call(self._decoder.get_frames_at, [int(index) for index in indices])
        frames = batch.data if batch.data.shape[-1] == 3 else batch.data.permute(0, 2, 3, 1)
        times = [float(time) - self._begin for time in batch.pts_seconds]
        return VideoClip(frames.cpu().contiguous(), times, [int(index) for index in indices], self._info)

    def iter_frames(self) -> Iterator[tuple[float, torch.Tensor]]:
        for index in range(self._info.num_frames or 0):
            clip = self.read_indices([index])
            yield clip.timestamps[0], clip.frames[0]

    def frames_at(self, times: Iterable[float]) -> Iterator[TimedFrame]:
        for time in times:
            clip = self.read_at([time])
            yield TimedFrame(clip.timestamps[0], clip.indices[0], clip.frames[0].numpy())

    def _call(self, method: Any, *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except (RuntimeError, IndexError, ValueError) as error:
            raise VideoReadError(f"{self.name}: the decoder failed ({error}).") from error
