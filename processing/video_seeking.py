"""Decoding only what is needed: the frames at given times, bit for bit as a decode from the first packet gives them.

Two ways. *Sequential* decodes everything in order and is right by definition. *Sparse* reads packets ahead to learn
which frame is wanted, jumps forward when a key frame lies between here and there, and lets the decoder skip pictures
that nothing refers to. Sparse is used only where it is provably exact, and gives way to sequential as soon as anything
is not as expected: see [`sparse_access`] and [`NotExact`].
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import av

from .video_container import MediaFile
from .video_packets import opens_decoding


Timed = tuple[int, "av.VideoFrame"]

# Containers in which the time of a packet is the time of its frame.
TIMED_CONTAINERS = {"mov", "matroska", "mpegts", "flv"}
# Codecs whose key frames reset the decoder; h264 and hevc mark theirs less strictly and are looked into.
KEYED_CODECS = {"vp8", "vp9", "av1", "libdav1d", "mpeg1video", "mpeg2video", "mpeg4", "h264", "hevc"}
# Without an index of key frames a jump is a guess, worth it only over a longer distance.
BLIND_JUMP_SECONDS = 5.0
# Opening a file once more, in a thread of its own, pays from about so many decoded pixels on; with fewer, waking
# threads (torch wakes its own right after) costs as much as it saves.
SPLIT_PIXELS = 8_000_000
# A key frame takes several times the work of another.
SPLIT_KEYS, SPLIT_KEY_PIXELS = 4, 3_000_000


class NotExact(Exception):
    """Sparse decoding met something that it cannot prove to be exact."""


def sparse_access(media: MediaFile) -> bool:
    """Whether sparse decoding may be tried on this file."""
    codec = media.codec
    intra_only = getattr(codec.codec, "intra_only", False)
    if (
        media.damage
        or media.clock_jumps
        or not media.source.seekable
        or not (intra_only or codec.name in KEYED_CODECS)
    ):
        return False
    if media.format == "avi":
        # AVI counts packets, which is the time of the frame only if no frame is reordered.
        return intra_only or (codec.name == "mpeg4" and not codec.has_b_frames)
    return media.format in TIMED_CONTAINERS


def skips_exactly(media: MediaFile) -> bool:
    """Whether unwanted pictures may be left undecoded: H.264 says of each picture if it is ever referred to."""
    return media.codec.name == "h264" and media.format in ("mov", "matroska")


def frames_at(media: MediaFile, targets: Iterable[int]) -> Iterator[Timed]:
    """For each target (ticks, ascending) the last frame not after it, else the first frame.

    Targets are taken one at a time, so they may come from an endless generator.
    """
    pending: deque[int] = deque()
    source = iter(targets)

    def noted() -> Iterator[int]:
        for target in source:
            pending.append(target)
            yield target

    if sparse_access(media):
        try:
            for timed in SparseDecoder(media).frames_at(noted()):
                pending.popleft()
                yield timed
            return
        except NotExact:
            pass
    rest = list(pending)
    media.rewind()
    yield from sequential_at(media.frames(), (target for part in (rest, source) for target in part))


def sequential_at(frames: Iterator[Timed], targets: Iterable[int], last_length: int | None = None) -> Iterator[Timed]:
    """`frames_at` by going through all `frames` in order; nothing when there are none.

    The last frame answers all targets after it. With `last_length`, in ticks, it is shown for so long only, and a
    target behind that ends everything: the way of live sources, of which nobody knew where they would end.
    """
    current = next(frames, None)
    if current is None:
        return
    ahead = next(frames, None)
    for target in targets:
        while ahead is not None and ahead[0] <= target:
            current, ahead = ahead, next(frames, None)
        if last_length is not None and ahead is None and target >= current[0] + last_length:
            return
        yield current


class SparseDecoder:
    """`frames_at` by planning on packets. Every frame it gives was matched to its packet by time."""

    def __init__(self, media: MediaFile) -> None:
        self.media = media
        self._skips = skips_exactly(media)
        self._skipping: bool | None = None
        self._reordering = media.format != "avi"
        self._packets: Iterator[av.Packet] = iter(())
        self._held: deque[av.Packet] = deque()  # read, not yet decoded
        self._best: int | None = None  # time of the last frame read that is not after the target
        self._later: list[int] = []  # times of the frames read that are after it
        self._wanted: deque[int] = deque()  # times of frames to give, not yet decoded
        self._ready: dict[int, av.VideoFrame] = {}
        self._position: int | None = None  # decoding time of the last packet read; None: not started
        self._start = 0  # when the key frame is shown that decoding started from; earlier frames may lack something
        self._delay = 0  # largest distance from decoding to showing a key frame
        self._at_end = False

    def frames_at(self, targets: Iterable[int]) -> Iterator[Timed]:
        for target in targets:
            if self._should_jump(target):
                yield from self._finish()
                self._jump(target)
            self._wanted.append(self._read_ahead(target))
            yield from self._matched()
        yield from self._finish()

    # Where to read ---------------------------------------------------------------------------------------------------

    def _should_jump(self, target: int) -> bool:
        """Whether a key frame lies between what was read and `target`."""
        if self._position is None:
            return True
        if self._at_end:
            return False
        entries, far = self.media.index, BLIND_JUMP_SECONDS / self.media.time_base
        if not len(entries) or entries[len(entries) - 1].timestamp < target - far:
            return target - self._position > far  # there is no index, or it does not reach so far yet
        # The index of an mp4 holds decoding times, the target is a presentation time.
        entry = entries.search_timestamp(target - self._delay, backward=True, any_frame=False)
        return entry >= 0 and entries[entry].timestamp > self._position

    def _jump(self, target: int) -> None:
        """Continue at the last key frame that is shown at or before `target` and that decoding can start from."""
        for packet in self._key_packets(target):
            if packet.pts is not None and packet.pts <= target and opens_decoding(self.media, packet):
                self._held.clear()
                self._later.clear()
                self._ready.clear()
                self._best, self._start = None, packet.pts
                self._delay = max(self._delay, packet.pts - (packet.dts if packet.dts is not None else packet.pts))
                self._take(packet, target)
                return
        raise NotExact("no key frame to start from")

    def _key_packets(self, target: int) -> Iterator[av.Packet]:
        """Key frame packets at earlier and earlier places, the last at the start of the file, the file behind each."""
        media = self.media
        if media.untouched and not self._worth_seeking(target):
            yield from self._next_key_packet()
        back = 1 if len(media.index) else round(1 / media.time_base)
        place, start = target, media.stream.start_time or 0
        while place > start and media.seek(place):
            for packet in self._next_key_packet():
                place = min(place, packet.pts if packet.pts is not None else place)
                yield packet
            place, back = place - back, 2 * back
        media.rewind()
        yield from self._next_key_packet()

    def _next_key_packet(self) -> Iterator[av.Packet]:
        self._packets = self.media.packets()
        packet = next((packet for packet in self._packets if packet.is_keyframe), None)
        if packet is not None:
            yield packet

    def _worth_seeking(self, target: int) -> bool:
        """Whether a file that was just opened has a key frame nearer to `target` than its first."""
        entries, start = self.media.index, self.media.stream.start_time or 0
        if len(entries) > 1 and entries.search_timestamp(target, backward=True, any_frame=False) > 0:
            return True
        if len(entries) > 1 and entries[len(entries) - 1].timestamp >= target:
            return False
        # Matroska reads its index at the first seek, fragmented mp4 piece by piece, and some containers have none.
        return target - start > BLIND_JUMP_SECONDS / self.media.time_base

    # What to decode --------------------------------------------------------------------------------------------------

    def _read_ahead(self, target: int) -> int:
        """Read until no later packet can be shown at `target`; the time of the frame that is."""
        self._best = max((time for time in self._later if time <= target), default=self._best)
        self._later = [time for time in self._later if time > target]
        while not self._at_end and (self._best is None or self._position is None or self._position <= target):
            packet = next(self._packets, None)
            if packet is None:
                self._at_end = True
                break
            self._take(packet, target)
            self._release()
        if self._best is None:
            raise NotExact("no frame at or before the time asked for")
        self._release()
        while self._held and self._held[0].pts == self._best:
            self._feed(self._held.popleft(), skip=False)
        return self._best

    def _take(self, packet: av.Packet, target: int) -> None:
        shown, decoded = packet.pts, packet.dts
        if self.media.clock_jumps:
            raise NotExact("the clock jumps")
        if shown is None or (decoded is not None and decoded > shown):
            raise NotExact("packets without proper times")
        if shown > target:
            self._later.append(shown)
        elif not packet.is_discard and (self._best is None or shown > self._best):
            self._best = shown
        if decoded is not None:
            self._position = decoded
        elif self._position is None:
            self._position = shown
        self._held.append(packet)

    def _release(self) -> None:
        """Decode held packets up to the one that may be wanted. Those shown before it can be skipped, now that it is
        known to come after them; those shown later may be wanted next."""
        best, held = self._best, self._held
        while held and (time := held[0].pts) != best:
            self._feed(held.popleft(), skip=best is not None and time is not None and time < best)

    def _feed(self, packet: av.Packet | None, skip: bool) -> None:
        media = self.media
        if self._skips and skip != self._skipping:
            media.codec.skip_frame = "NONREF" if skip else "DEFAULT"
            self._skipping = skip
        for frame in media.decode(packet):
            if not self._reordering and frame.pict_type == av.video.frame.PictureType.B:
                raise NotExact("reordered frames in a container without their times")
            time = frame.pts
            if time is None or time < self._start:
                continue
            if frame.is_corrupt:
                raise NotExact("a damaged picture, which is concealed best by those before it")
            if not self._wanted or time >= self._wanted[0]:
                self._ready[time] = frame
        if media.damage:
            raise NotExact("damaged data")

    def _matched(self) -> Iterator[Timed]:
        while self._wanted and self._wanted[0] in self._ready:
            time = self._wanted.popleft()
            yield time, self._ready[time]
            self._ready = {key: frame for key, frame in self._ready.items() if key >= time}

    def _finish(self) -> Iterator[Timed]:
        """Get out of the decoder what is still in it."""
        if self._wanted:
            self._feed(None, skip=False)
            yield from self._matched()
        if self._wanted:
            raise NotExact("a packet gave no frame")


# Several decoders ----------------------------------------------------------------------------------------------------


def split_targets(media: MediaFile, targets: Sequence[int], parts: int) -> list[Sequence[int]]:
    """Ascending targets in up to `parts` runs of about equal decoding work that need no frame in common; one run where
    the work is small or the key frames are unknown."""
    entries, step = media.index, media.frame_step
    if parts < 2 or len(targets) < 2 or not len(entries) or not sparse_access(media):
        return [targets]
    # Of each run that starts at a key frame of its own: the first target, and the frames to decode.
    runs: list[tuple[int, int]] = []
    last_key = None
    for number, target in enumerate(targets):
        key = entries.search_timestamp(target, backward=True, any_frame=False)
        frames = max(0, target - entries[max(key, 0)].timestamp) // step + 1
        if key != last_key:
            runs.append((number, frames))
            last_key = key
        else:
            runs[-1] = (runs[-1][0], frames)
    total = sum(frames for _, frames in runs)
    if total * media.codec.width * media.codec.height < SPLIT_PIXELS:
        return [targets]
    cuts, done = [0], 0
    for first, frames in runs:
        if first and len(cuts) < parts and done + frames / 2 >= total * len(cuts) / parts:
            cuts.append(first)
        done += frames
    return [targets[start:end] for start, end in zip(cuts, [*cuts[1:], len(targets)], strict=True)]


def split_key_targets(media: MediaFile, targets: Sequence[int]) -> list[Sequence[int]]:
    """Ascending targets, in two runs where so many key frames, which need no other, are worth two decoders."""
    entries = media.index
    if media.thread_count < 2 or not len(entries):
        return [targets]
    keys = {entries.search_timestamp(target, backward=True, any_frame=False) for target in targets}
    if len(keys) < SPLIT_KEYS or len(keys) * media.codec.width * media.codec.height < SPLIT_KEY_PIXELS:
        return [targets]
    return [targets[: len(targets) // 2], targets[len(targets) // 2 :]]


# Key frames only -----------------------------------------------------------------------------------------------------


def key_frames_near(media: MediaFile, targets: Iterable[int]) -> Iterator[Timed] | None:
    """For each target the key frame nearest to it; None where the container lists no key frames, or only one.

    Every key frame is decoded alone.
    """
    entries = media.index
    if not sparse_access(media):
        return None
    if media.format == "matroska" and len(entries) < 2:
        media.seek(0)  # the index is read at the first seek
    if not len(entries) or entries.search_timestamp(entries[0].timestamp + 1, backward=False, any_frame=False) < 0:
        return None
    return _key_frames(media, targets)


def _key_frames(media: MediaFile, targets: Iterable[int]) -> Iterator[Timed]:
    media.codec.skip_frame = "DEFAULT"
    packets: dict[int, Any] = {}  # with a time, all of them
    last: Timed | None = None
    for target in targets:
        around = {place: packets.get(place) or _key_packet(media, place) for place in _entries_around(media, target)}
        packets = {place: packet for place, packet in around.items() if packet is not None}
        if not packets:
            raise NotExact("the index of key frames leads nowhere")
        nearest = min(packets.values(), key=lambda packet: abs(packet.pts - target))
        if last is None or last[0] != nearest.pts:
            frames = [*media.decode(nearest), *media.decode(None)]
            media.codec.flush_buffers()
            if not frames or frames[0].pts != nearest.pts:
                raise NotExact("a key frame gave no picture")
            last = nearest.pts, frames[0]
        yield last


def _entries_around(media: MediaFile, target: int) -> set[int]:
    """Index entries of the key frames next to `target`: two before it, since an entry may hold the time of decoding,
    which is earlier than that of showing, and one behind."""
    entries = media.index
    before = entries.search_timestamp(target, backward=True, any_frame=False)
    behind = entries.search_timestamp(target, backward=False, any_frame=False)
    found = {before, behind}
    if before >= 0:
        found.add(entries.search_timestamp(entries[before].timestamp - 1, backward=True, any_frame=False))
    return {place for place in found if place >= 0}


def _key_packet(media: MediaFile, place: int) -> av.Packet | None:
    """The packet of index entry `place`. Seeking goes by the time of showing, some frames after that of decoding."""
    listed = media.index[place].timestamp
    for frames_later in (0, 2, 4, 16):
        if not media.seek(listed + frames_later * media.frame_step):
            return None
        packet = next(media.packets(), None)
        if packet is not None and packet.pts is not None and packet.is_keyframe and packet.pts >= listed:
            return packet
    return None
