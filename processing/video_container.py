"""One open video file: its stream, its packets and its frames in the order of presentation (PyAV).

Times in here are integers in ticks of the stream's clock (`time_base` seconds each), as the container stores them.
"""

from __future__ import annotations

import heapq
import multiprocessing
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from .limits import hold_to, limits
from .video_bytes import read_bytes
from .video_clock import REORDER_DEPTH, Clock
from .video_codecs import codec_name
from .video_pictures import READ_ERRORS, most_pixels, open_container, orientation, oriented, reason, square_size
from .video_sources import MediaSource, VideoReadError, check_size


# Containers that store no presentation times: their readers guess, and with B-frames guess wrong.
GUESSED_CLOCKS = {"avi", "m4v", "mpegvideo", "h261", "h263", "h264", "hevc", "vc1", "obu"}
# How files start whose header lists all streams: what is asked of their decoders holds from the first look on.
LISTED_FIRST = (b"\x1aE\xdf\xa3", b"RIFF", b"\x89PNG")
INDEXED = {"mov", "matroska", "avi", "flv"}
# Codecs whose pictures have parts that decode side by side; in small pictures that costs more than it saves.
SLICED = {"h264", "hevc", "vp9", "av1", "libdav1d", "mpeg1video", "mpeg2video", "prores", "dnxhd", "ffv1"}
SLICED_PIXELS = 640 * 360
# FFmpeg's number for colors that nobody described.
UNSPECIFIED = 2
FRAME_THREADED = {"h264", "hevc", "vp8", "vp9"}


def default_threads() -> int:
    """Codec threads: one per core up to 4, but 1 in a worker process or thread, where other videos keep cores busy."""
    in_worker = (
        multiprocessing.parent_process() is not None or threading.current_thread() is not threading.main_thread()
    )
    return 1 if in_worker else max(1, min(4, os.cpu_count() or 1))


class MediaFile:
    """An open container and the first real video stream in it.

    Decoding goes on slice threads. Frame threads are faster, but can deadlock when a decoder is left with work in it:
    see [`MediaFile.frame_threads`].

    Raises:
        VideoReadError: not a video, or no video stream.
    """

    def __init__(self, source: MediaSource, thread_count: int | None = None) -> None:
        self.source = source
        self.name = source.name
        self.thread_count = default_threads() if thread_count is None else thread_count
        self.damage: list[str] = []
        self.remarks: list[str] = []  # what else a user should know
        self.clock_jumps = 0
        self.steady = False  # whether all packets were seen, and the clock does not jump
        self.place = 0  # where in the file the last packet ends that was read
        self._decoded_pixels, self._most_decoded = 0, limits().decoded_pixels
        self._reformatter = VideoReformatter()
        self._open()

    def _open(self, plain: bool = False) -> None:
        # Looking at a file, FFmpeg decodes a first picture, which costs more than all the rest and, where the headers
        # say how frames are reordered, tells nothing new.
        head = self._head()
        quick = not plain and head[4:] == b"ftyp"
        options = most_pixels() if head.startswith(LISTED_FIRST) or head[4:] == b"ftyp" else {}
        self._open_container({**options, "skip_frame": "all"} if quick else options)
        if quick and not self._reordering_is_known():
            self.container.close()
            self._rewind_source()
            self._open_container(options)
        self.codec.thread_type = "SLICE"
        self.header_size = self.codec.height, self.codec.width
        try:
            check_size(self.name, self.codec.width, self.codec.height)
            if 0 < self.container.size < len(self.index):  # a few bytes can claim millions, each of which costs memory
                raise VideoReadError(f"{self.name}: damaged, its index lists more frames than it has bytes.")
        except VideoReadError:
            self.container.close()
            raise
        self.codec.options = most_pixels()
        pixels = self.codec.width * self.codec.height
        self._slices = self.thread_count if pixels >= SLICED_PIXELS else 1
        self.codec.thread_count = self._slices if self.codec.name in SLICED else 1
        self.time_base: Fraction = self.stream.time_base
        self.untouched = True
        self.last_shown: int | None = None  # time of the last frame, once all frames were decoded
        rate = self.stream.guessed_rate or self.stream.average_rate
        # Ticks of one frame at the declared rate; 1 when no rate is declared.
        self.frame_length = float(1 / (rate * self.time_base)) if rate else 1.0
        self._clock = Clock(float(1 / self.time_base), self.format)
        self._geometry: tuple[int, int, bool, int, int, tuple[bool, bool, bool]] | None = None
        self._has_frame_threads = False

    def _open_container(self, options: dict[str, str]) -> None:
        # Options for streams go to mp4 only, which lists its streams first; others crash older PyAV.
        self.container = open_container(self.source, options)
        try:
            self.stream = self._video_stream()
        except VideoReadError:
            self.container.close()
            raise
        self.codec = self.stream.codec_context

    def _head(self) -> bytes:
        """The first bytes of the file; none of a stream."""
        if not self.source.seekable:
            return b""
        try:
            self._rewind_source()
            return read_bytes(self.source, 0, 8)
        except (OSError, ValueError) as error:
            raise VideoReadError(f"{self.name}: cannot be read ({reason(error)}).") from error

    def _rewind_source(self) -> None:
        if self.source.file is not None:
            self.source.file.seek(0)

    def _reordering_is_known(self) -> bool:
        """Whether the headers alone told the decoder how many frames to hold back."""
        return self.codec.name == "hevc" or (self.codec.name == "h264" and bool(self.codec.has_b_frames))

    def _video_stream(self) -> Any:
        pictures = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
        streams = [stream for stream in self.container.streams.video if not stream.disposition & pictures]
        for stream in streams:
            if stream.codec_context is not None and stream.time_base:
                if stream is not streams[0]:
                    self.remark(f"{self._without_decoder(streams[0])}; another video stream is read")
                return stream
        if streams:
            raise VideoReadError(f"{self.name}: {self._without_decoder(streams[0])}.")
        raise VideoReadError(f"{self.name}: no video stream ({self._other_streams()}).")

    def _without_decoder(self, stream: Any) -> str:
        return (
            f"no decoder for its video codec, {codec_name(self.format, self.source) or 'which FFmpeg does not know'}"
        )

    def _other_streams(self) -> str:
        """What a file without a video holds instead."""
        kinds = sorted({stream.type for stream in self.container.streams if stream.type != "video"})
        covers = ["a cover picture"] if self.container.streams.video else []
        return " and ".join([f"{kind} only" if kinds == ["audio"] else kind for kind in kinds] + covers) or "nothing"

    @property
    def format(self) -> str:
        """FFmpeg's first name of the container: `mov`, `matroska`, `avi`, ..."""
        return self.container.format.name.split(",")[0]

    @property
    def index(self) -> Any:
        """Entries of the container's index, as far as it is known; empty where it does not tell key frames apart.

        FFmpeg grows it while reading: the whole index is there at once in AVI and plain mp4, from the first seek on in
        Matroska, piece by piece in fragmented mp4.
        """
        return self.stream.index_entries if self.format in INDEXED else ()

    @property
    def guessed_clock(self) -> bool:
        """Whether the container stores no presentation times."""
        return self.format in GUESSED_CLOCKS

    def close(self) -> None:
        self.container.close()

    def rewind(self) -> None:
        """Back to the first packet, with a fresh decoder; for sources that can be read twice."""
        if self.untouched:
            return
        self.container.close()
        self._rewind_source()
        self._open(plain=True)

    def packets(self) -> Iterator[av.Packet]:
        """Packets of the stream from here on, in decoding order; a read error ends them and is noted as damage."""
        self.untouched = False
        try:
            for packet in self.container.demux(self.stream):
                if packet.size:
                    if not self.steady:
                        self._watch(packet)
                    yield packet
        except READ_ERRORS as error:
            self.note(f"reading stops early ({reason(error)})")

    def _watch(self, packet: av.Packet) -> None:
        """Let the times of packets run on where the container's clock jumps."""
        self.place = max(self.place, (packet.pos or 0) + packet.size)
        shown, decoded = packet.pts, packet.dts
        given = decoded if shown is None else shown
        if given is None:
            return
        times = self._clock.place(given, decoded, self.length_of(packet), packet.is_keyframe)
        if times != (given, decoded):
            self.clock_jumps = max(self.clock_jumps, self._clock.jumps)
            packet.pts = None if shown is None else times[0]
            packet.dts = times[1]

    def decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        """Frames that come out when `packet` goes in (None: the rest); an undecodable packet is noted as damage."""
        try:
            frames = self.codec.decode(packet)
            for frame in frames:
                self._decoded_pixels += frame.width * frame.height
        except av.EOFError:
            return []
        except READ_ERRORS as error:
            self.note(f"undecodable data ({reason(error)})")
            return []
        if self._decoded_pixels > self._most_decoded and self.source.seekable:  # a stream may never end
            hold_to("decoded_pixels", self._decoded_pixels, f"{self.name}: too much to decode", VideoReadError)
        return frames

    @contextmanager
    def frame_threads(self) -> Iterator[None]:
        """Decode on frame threads inside the block, where the codec has them; behind it no thread has work left."""
        codec = self.codec
        if not self._has_frame_threads:
            if self.thread_count == 1 or codec.is_open or codec.name not in FRAME_THREADED:
                yield
                return
            codec.thread_type, codec.thread_count = "FRAME", self.thread_count
            self._has_frame_threads = True
        try:
            yield
        finally:
            # The file may have been opened anew meanwhile; both decoders are emptied.
            for each in {id(codec): codec, id(self.codec): self.codec}.values():
                drain(each)

    def leave_frame_threads(self) -> None:
        """Go back to slice threads, for decoding that may stop anywhere."""
        if self._has_frame_threads:
            self.rewind()

    def remark(self, what: str) -> None:
        """Remember something that the user should know, though nothing is broken, once."""
        if what not in self.remarks:
            self.remarks.append(what)

    def remark_jumps(self) -> None:
        """Tell how often the clock jumped on the way here from the start of the file."""
        if self._clock.jumps:
            closed = float(self._clock.skipped * self.time_base)
            gaps = f", gaps of {closed:,.0f} s closed" if closed >= 1 else ""
            times = "once" if self._clock.jumps == 1 else f"{self._clock.jumps} times"
            self.remark(f"the clock starts anew or jumps {times}; the parts are shown one after the other{gaps}")

    def note(self, damage: str) -> None:
        """Remember something wrong with the file, once."""
        if damage not in self.damage:
            self.damage.append(damage)

    def learn_from(self, other: MediaFile) -> None:
        """Take over what another decoder of the same file found wrong with it."""
        for each in other.damage:
            self.note(each)
        for each in other.remarks:
            self.remark(each)
        self.clock_jumps = max(self.clock_jumps, other.clock_jumps)

    def frames(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Every frame from here on with its time in ticks, times never falling.

        Decoders put out frames in the order of presentation. Where the container's clock is a guess, times may come in
        another order; they are sorted then, so that the k-th frame has the k-th time.
        """
        depth = REORDER_DEPTH if self.guessed_clock else 0
        waiting: list[av.VideoFrame] = []
        times: list[int] = []
        last: int | None = None
        for frame in self._raw_frames():
            time = frame.pts
            if time is None:
                time = 0 if last is None else last + self.frame_step
            elif not depth and last is not None:
                time = max(time, last)
            last = time
            waiting.append(frame)
            heapq.heappush(times, time)
            if len(waiting) > depth:
                yield heapq.heappop(times), waiting.pop(0)
        for frame in waiting:
            yield heapq.heappop(times), frame
        self.last_shown = last

    def _raw_frames(self) -> Iterator[av.VideoFrame]:
        for packet in self.packets():
            yield from self.decode(packet)
        yield from self.decode(None)

    def seek(self, ticks: int) -> bool:
        """Go to the last key frame not after `ticks`, as far as the container knows; False when it cannot."""
        self.untouched = False
        self._clock.lose()
        try:
            self.container.seek(ticks, stream=self.stream, backward=True)
        except READ_ERRORS:
            return False
        return True

    @property
    def frame_step(self) -> int:
        """`frame_length` in whole ticks, at least 1."""
        return max(1, round(self.frame_length))

    def length_of(self, packet: av.Packet) -> float:
        """Ticks for which a packet's frame is shown. Coarse clocks cut lengths off; then the declared rate tells."""
        length = self.frame_length
        return length if not packet.duration or abs(packet.duration - length) < 1 else packet.duration

    def shape(self, frame: av.VideoFrame, as_stored: bool = False) -> tuple[int, int]:
        """Height and width of `pixels(frame)`."""
        width, height, turn = self._seen(frame, as_stored)
        return (width, height) if turn[0] else (height, width)

    def pixels(
        self, frame: av.VideoFrame, as_stored: bool = False, shape: tuple[int, int] | None = None
    ) -> np.ndarray:
        """uint8 RGB `[H, W, 3]` as a viewer sees it: square pixels, turned as the metadata says, alpha dropped.

        Interlaced frames stay woven. `as_stored` leaves the pixel grid as it is coded. `shape` is the height and width
        of the video's first picture, to which all are scaled.
        """
        if frame.is_corrupt:
            self.note("damaged pictures were concealed by the decoder")
        width, height, turn = self._seen(frame, as_stored)
        if shape is not None and shape != ((width, height) if turn[0] else (height, width)):
            self.remark(
                f"the picture size changes on the way, to {frame.width}x{frame.height}; "
                f"all pictures are scaled to the size of the first, {shape[1]}x{shape[0]}"
            )
            height, width = shape[::-1] if turn[0] else shape
        try:
            picture = self._converted(frame, width, height)
        except READ_ERRORS as error:
            self.remark(f"its colors cannot be converted ({reason(error)}) and are taken for ordinary ones")
            frame.colorspace = frame.color_primaries = frame.color_trc = UNSPECIFIED
            try:
                picture = self._converted(frame, width, height)
            except READ_ERRORS as error:
                raise VideoReadError(f"{self.name}: its pictures cannot be converted ({reason(error)}).") from error
        return oriented(picture, *turn)

    def _converted(self, frame: av.VideoFrame, width: int, height: int) -> np.ndarray:
        same = (width, height) == (frame.width, frame.height)
        scaling = None if same else Interpolation.BICUBIC
        picture = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation=scaling, threads=self._slices
        )
        return picture.to_ndarray()

    def _seen(self, frame: av.VideoFrame, as_stored: bool) -> tuple[int, int, tuple[bool, bool, bool]]:
        """Width and height with square pixels, and `orientation`, both of which hold for all frames of a size."""
        known = self._geometry
        if known is None or known[:3] != (frame.width, frame.height, as_stored):
            check_size(self.name, frame.width, frame.height)
            size, turn = (frame.width, frame.height), (False, False, False)
            if not as_stored:
                # The container's word on the shape of a pixel, else the codec's, which it has after a first frame.
                aspect = self.stream.sample_aspect_ratio or self.codec.sample_aspect_ratio
                size, turn = square_size(*size, aspect), orientation(frame)
            known = self._geometry = (frame.width, frame.height, as_stored, *size, turn)
        return known[3:]


def drain(codec: Any) -> None:
    """Take out all that a decoder still holds, so that its threads rest, and make it ready for another start."""
    if codec.is_open:
        with suppress(*READ_ERRORS):
            codec.decode(None)
        codec.flush_buffers()
