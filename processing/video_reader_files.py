"""Reading frames of an encoded video that can be read more than once: a file, bytes, a seekable file object."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import torch

from .limits import limits
from .video_bytes import again
from .video_container import MediaFile
from .video_pictures import orientation
from .video_reader import FLOAT_SLACK, TimedFrame, VideoClip, VideoInfo, VideoReader, copy_picture
from .video_seeking import NotExact, Timed, frames_at, key_frames_near, split_key_targets, split_targets
from .video_sources import MediaSource, VideoReadError, VideoReadWarning, check_clip
from .video_timeline import Timeline, read_through, read_timeline


class MediaReader(VideoReader):
    """What reading an open file and reading a stream have in common: clock, pictures and warnings."""

    def __init__(self, media: MediaFile, as_stored: bool) -> None:
        self.name = media.name
        self._media = media
        self._as_stored = as_stored
        self._said: set[str] = set()
        self._shape: tuple[int, int, int] | None = None  # of the first picture, once one is known
        self._timeline: Timeline

    def close(self) -> None:
        self._media.close()
        self._media.source.close()

    @property
    def duration(self) -> float:
        return self._seconds(self._timeline.end)

    @property
    def fps(self) -> float:
        return 1 / (self._timeline.step * float(self._media.time_base))

    @property
    def clock_tick(self) -> float:
        return min(float(self._media.time_base), 1e-3)

    def _info(self) -> VideoInfo:
        height, width, rotation = self._shape or (0, 0, 0)  # as of frames without times
        return VideoInfo(
            name=self.name,
            duration=self.duration,
            fps=self.fps,
            num_frames=self._timeline.count,
            width=width,
            height=height,
            rotation=rotation,
            codec=self._media.codec.name,
            container=self._media.format,
            exact=self._timeline.exact,
        )

    def _shown(self, frames: Iterable[Timed], media: MediaFile | None = None) -> Iterator[TimedFrame]:
        """Each frame with its picture; one that comes several times in a row is converted once."""
        media = media or self._media
        last, picture = None, None
        for tick, frame in frames:
            if picture is None or last != tick:
                if self._shape is None:
                    self._shape = self._first_shape(media, frame)
                last, picture = tick, media.pixels(frame, self._as_stored, self._shape[:2])
            yield TimedFrame(self._seconds(tick), self._timeline.index_of(tick), picture)

    def _first_shape(self, media: MediaFile, frame: av.VideoFrame) -> tuple[int, int, int]:
        """Height, width and rotation of the video's first picture, `frame` being the first that was asked for."""
        return *media.shape(frame, self._as_stored), rotation_of(frame)

    def _seconds(self, tick: float) -> float:
        base = self._media.time_base
        return (tick - self._timeline.first) * base.numerator / base.denominator

    def _tick(self, seconds: float) -> int:
        if not math.isfinite(seconds):
            raise VideoReadError(f"{self.name}: {seconds} is not a time.")
        base = self._media.time_base
        ticks = seconds * base.denominator / base.numerator
        slack = min(FLOAT_SLACK * base.denominator / base.numerator, self._timeline.step / 4)
        return self._timeline.first + max(0, int(ticks + slack))

    def _nothing(self) -> VideoReadError:
        why = "; ".join(self._media.damage) or "no data"
        if 0 in self._media.header_size:  # FFmpeg hides the size of pictures that it was told to refuse
            why += f"; pictures may be larger than picture_pixels allows, {limits().picture_pixels:,}"
        return VideoReadError(f"{self.name}: no frame can be decoded ({why}).")

    def _warn(self) -> None:
        media = self._media
        news = [each for each in (*media.damage, *media.remarks) if each not in self._said]
        if news:
            self._said.update(news)
            rest = " The readable frames are used." if media.damage else ""
            warnings.warn(f"{self.name}: {'; '.join(news)}.{rest}", VideoReadWarning, stacklevel=3)


class FileReader(MediaReader):
    """Frames of an encoded video that can be read more than once."""

    def __init__(self, media: MediaFile, as_stored: bool = False) -> None:
        super().__init__(media, as_stored)
        self._timeline = read_timeline(media)

    @property
    def info(self) -> VideoInfo:
        if self._shape is None:
            self._media.rewind()
            first = next(self._media.frames(), None)
            if first is None:
                raise self._nothing()
            next(self._shown([first]))
        return self._info()

    @property
    def timestamps(self) -> np.ndarray:
        if self._timeline.times is None:
            self._timeline = read_through(self._media)
        base, times = self._media.time_base, np.asarray(self._timeline.times)
        return np.asarray((times - self._timeline.first) * base.numerator / base.denominator)

    def read_at(self, timestamps: Sequence[float], mode: str = "exact") -> VideoClip:
        if mode not in ("exact", "keyframe"):
            raise ValueError(f"mode must be exact or keyframe, got {mode!r}.")
        ticks = [self._tick(float(time)) for time in timestamps]
        wanted = sorted(set(ticks))
        pictures = PictureStack(self.name, wanted)
        if mode == "exact" or not self._read_key_frames(pictures):
            self._read_exactly(pictures)
        if not pictures.shown:
            raise self._nothing()
        self._correct_timeline()
        self._warn()
        return pictures.clip(ticks, self.info)

    def _read_key_frames(self, pictures: PictureStack) -> bool:
        """False, with whatever was put, where the file does not lend itself to it."""
        try:
            return self._side_by_side(pictures, split_key_targets(self._media, pictures.ticks), self._key_frames)
        except NotExact:
            return False

    def _read_exactly(self, pictures: PictureStack) -> None:
        parts = split_targets(self._media, pictures.ticks, self._media.thread_count)
        self._side_by_side(pictures, parts, self._exact_frames)

    def _side_by_side(self, pictures: PictureStack, parts: Sequence[Sequence[int]], read: Callable[..., bool]) -> bool:
        """Read groups of pictures that do not depend on each other with a decoder each."""
        media, threads = self._media, self._media.thread_count
        if len(parts) == 1 or again(media.source) is None:
            return read(media, pictures.ticks, pictures)

        def aside(part: Sequence[int]) -> tuple[bool, MediaFile]:
            other = MediaFile(again(media.source) or media.source, threads // len(parts))
            other.steady = media.steady
            try:
                return read(other, part, pictures), other
            finally:
                other.close()

        with ThreadPoolExecutor(len(parts) - 1) as pool:
            others = [pool.submit(aside, part) for part in parts[1:]]
            done = read(media, parts[0], pictures)
            for other in others:
                also_done, other_media = other.result()
                done = done and also_done
                media.learn_from(other_media)
        return done

    def _key_frames(self, media: MediaFile, wanted: Sequence[int], pictures: PictureStack) -> bool:
        frames = key_frames_near(media, wanted)
        if frames is None:
            return False
        pictures.put(wanted, self._shown(frames, media))
        return True

    def _exact_frames(self, media: MediaFile, wanted: Sequence[int], pictures: PictureStack) -> bool:
        with media.frame_threads():
            pictures.put(wanted, self._shown(frames_at(media, wanted), media))
        return True

    def _first_shape(self, media: MediaFile, frame: av.VideoFrame) -> tuple[int, int, int]:
        beside = again(media.source)
        if beside is not None and (frame.height, frame.width) != media.header_size:
            # The size changes somewhere, or the header is wrong: the first picture itself decides.
            other = MediaFile(beside, 1)
            try:
                _, frame = next(other.frames(), (0, frame))
                return super()._first_shape(other, frame)
            finally:
                other.close()
        return super()._first_shape(media, frame)

    def _correct_timeline(self) -> None:
        """Give up a timeline that reading showed to be wrong: the clock jumps, or a damaged file ends earlier."""
        media = self._media
        if media.clock_jumps and self._timeline.times is None:
            self._timeline = read_through(media)
        if media.damage and media.last_shown is not None:
            # A frame before the first that is shown may be all that decodes.
            end = max(media.last_shown, self._timeline.first) + self._timeline.step
            if end < self._timeline.end:
                media.remark(f"the last {float((self._timeline.end - end) * media.time_base):,.2f} s do not decode")
                self._timeline = self._timeline.cut(end)

    def iter_frames(self) -> Iterator[tuple[float, torch.Tensor]]:
        self._media.rewind()
        frame = None
        for frame in self._shown(self._media.frames()):
            yield frame.seconds, torch.from_numpy(np.ascontiguousarray(frame.pixels))
        if frame is None:
            raise self._nothing()
        self._warn()

    def frames_at(self, times: Iterable[float]) -> Iterator[TimedFrame]:
        self._media.leave_frame_threads()
        frame = None
        ticks = (self._tick(time + self.clock_tick) for time in times)
        for frame in self._shown(frames_at(self._media, ticks)):
            yield frame
        if frame is None:
            raise self._nothing()
        self._warn()


class PictureStack:
    """The pictures of ascending ticks in one array, each put there as soon as it is decoded: memory that was just
    freed takes the next picture, while fresh memory costs more than converting it."""

    def __init__(self, name: str, ticks: Sequence[int]) -> None:
        self.name, self.ticks = name, ticks
        self.shown: dict[int, tuple[float, int]] = {}  # tick -> seconds and number of its frame
        self._places = {tick: place for place, tick in enumerate(ticks)}
        self._pixels: np.ndarray | None = None
        self._lock = threading.Lock()

    def put(self, ticks: Iterable[int], frames: Iterable[TimedFrame]) -> None:
        for tick, frame in zip(ticks, frames, strict=False):
            with self._lock:
                if self._pixels is None:
                    check_clip(self.name, len(self.ticks), frame.pixels.shape)
                    self._pixels = np.empty((len(self.ticks), *frame.pixels.shape), dtype=np.uint8)
            copy_picture(self.name, frame.pixels, self._pixels[self._places[tick]])
            self.shown[tick] = frame.seconds, frame.index

    def clip(self, ticks: Sequence[int], info: VideoInfo) -> VideoClip:
        """The pictures of `ticks`, in that order."""
        pixels = np.asarray(self._pixels)
        if ticks != self.ticks:
            pixels = pixels[[self._places[tick] for tick in ticks]]
        times, indices = zip(*(self.shown[tick] for tick in ticks), strict=True)
        return VideoClip(torch.from_numpy(pixels), list(times), list(indices), info)


def rotation_of(frame: av.VideoFrame) -> int:
    """Counter-clockwise degrees, 0 to 270, by which the metadata turns the picture."""
    swapped, mirrored, flipped = orientation(frame)
    if swapped:
        return 270 if mirrored else 90
    return 180 if mirrored and flipped else 0


def open_file(source: MediaSource, thread_count: int | None = None, as_stored: bool = False) -> FileReader:
    """A reader of `source`, which is closed if that fails.

    Raises:
        VideoReadError: not a video.
    """
    media = None
    try:
        media = MediaFile(source, thread_count)
        return FileReader(media, as_stored)
    except BaseException:
        if media is not None:
            media.close()
        source.close()
        raise
