"""Sources that never end: cameras and network streams, read frame by frame, opened again when they drop.

No file name or URL alone opens them: a camera shows a room and a stream may lie anywhere in a network, so both need
`allow=True`.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np

from hf_zsar.processing.urls import redacted
from hf_zsar.processing.video_sources import VideoReadError, check_size


# Seconds before a dropped source is opened again: the first wait, and the longest.
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
# Latencies remembered.
MEASURED = 1000
SCHEMES = ("tcp://", "rtsp://", "rtsps://", "rtmp://", "rtmps://", "srt://", "udp://", "rtp://")
DEVICES = {"/dev/video": "v4l2", "video=": "dshow", "avfoundation:": "avfoundation"}


@dataclass
class Latency:
    """How many seconds pass from a frame to what is made of it; the last `MEASURED` of them."""

    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=MEASURED))

    def quantile(self, share: float) -> float:
        """The latency below which a share of them lies; NaN before there is any."""
        return float(np.quantile(self.seconds, share)) if self.seconds else float("nan")


def is_live_address(source: Any) -> bool:
    """Whether this names a camera or a stream that FFmpeg opens by itself."""
    return isinstance(source, str) and source.lower().startswith((*SCHEMES, *DEVICES))


def live_source(
    source: Any, *, allow: bool = False, timeout: float = 10.0, say: Callable[[str], None] | None = None
) -> Any:
    """A source for `pipe.segments(..., live=True)`: cameras and streams as frames with times, others as they are.

    Args:
        source: `rtsp://...` and the like, `/dev/video0` (Linux), `video=NAME` (Windows) or `avfoundation:0` (macOS).
        allow: open cameras, and streams wherever they are, also in private networks.
        timeout: seconds without a frame after which a stream counts as dropped.
        say: told when the source drops and when it is back.

    Raises:
        VideoReadError: a camera or stream without `allow`.
    """
    if not is_live_address(source):
        return source
    if not allow:
        raise VideoReadError(
            f"{redacted(source)}: a camera or a stream, which are opened only where that is allowed: "
            "live_source(..., allow=True), or hf-zsar find --live --allow-devices."
        )
    return LiveSource(redacted(source), lambda: _opened(source, timeout), say=say)


def _opened(source: str, timeout: float) -> Iterator[av.VideoFrame]:
    """Open a source with FFmpeg and give its pictures; ends when it drops."""
    kind = next((kind for start, kind in DEVICES.items() if source.startswith(start)), None)
    name = source.removeprefix("avfoundation:")
    options = {"rtsp_transport": "tcp"} if source.lower().startswith("rtsp") else {}
    with av.open(name, format=kind, options=options, timeout=timeout) as container:
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"  # threads by frame would keep some frames back
        check_size(redacted(source), stream.width, stream.height)
        yield from container.decode(stream)


class _Newest:
    """The newest pictures of a source, each with when it came, filled by a thread and taken by another."""

    def __init__(self, open: Callable[[], Iterator[Any]], size: int, clock: Callable[[], float]) -> None:
        self.lost = 0
        self._items: deque[tuple[float, Any]] = deque(maxlen=size)
        self._changed = threading.Condition()
        self._closed = False
        self._ended: list[Exception | None] = []
        threading.Thread(target=self._fill, args=(open, clock), daemon=True).start()

    def _fill(self, open: Callable[[], Iterator[Any]], clock: Callable[[], float]) -> None:
        error: Exception | None = None
        try:
            for picture in open():
                with self._changed:
                    self.lost += len(self._items) == self._items.maxlen
                    self._items.append((clock(), picture))
                    self._changed.notify()
                    if self._closed:
                        break
        except Exception as raised:  # noqa: BLE001 - it is raised where the pictures are taken
            error = raised
        with self._changed:
            self._ended.append(error)
            self._changed.notify()

    def close(self) -> None:
        """Let the thread end with its next picture."""
        self._closed = True

    def __iter__(self) -> Iterator[tuple[float, Any]]:
        while True:
            with self._changed:
                while not self._items and not self._ended:
                    self._changed.wait()
                if not self._items:
                    if self._ended[0] is not None:
                        raise self._ended[0]
                    return
                item = self._items.popleft()
            yield item


class LiveSource:
    """Pictures of a source that may drop and return, by the clock of this machine.

    A thread takes the pictures as they come. While those before them are looked at, the newest `buffer` wait and
    older ones are lost, so that neither memory nor delay grows. When the source drops, it is opened again, first soon,
    then ever later; time goes on meanwhile, so what was lost is a gap and nothing else.

    Args:
        name: what messages call it.
        open: opens the source; gives its pictures (arrays `[H, W, 3]` or PyAV frames), and ends or raises `OSError`
            (as FFmpeg's errors are) when it drops.
        most: how often in a row it is opened in vain before that is an error; `None`: forever.
        buffer: pictures.

    Attributes:
        drops: how often it dropped.
        lost: pictures that were too many.
        latency: from a picture to the answer about it.
    """

    def __init__(
        self,
        name: str,
        open: Callable[[], Iterator[Any]],
        *,
        most: int | None = None,
        buffer: int = 32,
        say: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name, self.open, self.most, self.buffer = name, open, most, buffer
        self.clock, self.sleep, self.say = clock, sleep, say or (lambda text: None)
        self.drops = self.lost = 0
        self.latency = Latency()
        self._start: float | None = None

    def answered(self, seconds: float) -> None:
        """Note that there is an answer about the time `seconds` now."""
        self.latency.seconds.append(self.clock() - (self._start or 0.0) - seconds)

    def pieces(self) -> Iterator[tuple[float, Iterator[tuple[float, np.ndarray]]]]:
        """What came without a drop: when it began, in seconds, and its pictures with their times from then on.

        Raises:
            VideoReadError: it was opened `most` times in a row without a picture.
        """
        failures = 0
        while True:
            newest, reason = _Newest(self.open, self.buffer, self.clock), ["it ended"]
            try:
                pictures = self._until_drop(newest, reason)
                if (first := next(pictures, None)) is not None:
                    if failures:
                        self.say(f"{self.name}: back")
                    failures = 0
                    begun = first[0]
                    self._start = begun if self._start is None else self._start
                    rest = itertools.chain([first], pictures)
                    yield begun - self._start, ((when - begun, as_array(picture)) for when, picture in rest)
            finally:
                newest.close()
                self.lost += newest.lost
            self.drops += failures == 0
            failures += 1
            if self.most is not None and failures > self.most:
                raise VideoReadError(f"{self.name}: opened {self.most} times without a picture: {reason[-1]}.")
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(failures - 1, 16))
            self.say(f"{self.name}: {reason[-1]}; again in {wait:g} s")
            self.sleep(wait)

    def _until_drop(self, newest: _Newest, reason: list[str]) -> Iterator[tuple[float, Any]]:
        try:
            yield from newest
        except OSError as error:
            reason.append(redacted(str(error)) or type(error).__name__)


def as_array(picture: Any) -> np.ndarray:
    """A picture `[H, W, 3]`, uint8."""
    return picture.to_ndarray(format="rgb24") if isinstance(picture, av.VideoFrame) else picture
