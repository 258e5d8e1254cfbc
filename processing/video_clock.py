"""A clock that runs on where the one of the video starts anew or jumps.

Recordings that were joined byte by byte start their clock anew in every part; capture hardware, editing and broken
muxers make it jump. The parts are then shown one after the other, in the order in which the file holds them.
"""

from __future__ import annotations

from .limits import limits


# Containers that are cut and joined as bytes, and whose clock therefore may start anew anywhere.
JOINABLE = {"mpegts", "mpeg", "flv"}
# Seconds between two pictures that no such container leaves without the clock having jumped; FFmpeg's own threshold.
JOINABLE_GAP = 10.0
# Seconds by which the clock may step back, between key frames, before it counts as started anew.
STEP_BACK = 0.5
# Frames by which pictures are put out of order at most, and decoding times with them where they are worked out.
REORDER_DEPTH = 16
# Beyond this, sums of times leave the integers of FFmpeg.
HUGE = 2**60


class Clock:
    """What to add to the times of packets, so that they run on.

    Args:
        second: clock ticks in a second; all times are in ticks.
        container: FFmpeg's name, which decides how long pictures may lie apart.

    Attributes:
        jumps: how often the clock started anew or jumped.
        skipped: ticks that jumps forward would have left without a picture.
    """

    def __init__(self, second: float, container: str = "") -> None:
        gap = limits().clock_gap
        self.jumps, self.skipped = 0, 0.0
        self._longest = second * (min(JOINABLE_GAP, gap) if container in JOINABLE else gap)
        self._back = second * STEP_BACK
        self.lose()

    def lose(self) -> None:
        """Forget what came before: the next packet lies somewhere else in the file."""
        self._shift = self._former = 0
        self._decoded: int | None = None
        self._latest: int | None = None
        self._end = 0.0

    def place(self, shown: int, decoded: int | None, length: float, is_key: bool) -> tuple[int, int | None]:
        """When the picture of the next packet, in the order of the file, is shown and decoded on the mended clock.

        Args:
            shown, decoded: the same as the container says it; `decoded` may be unknown.
            length: ticks for which the picture is shown.
            is_key: whether it is a key frame: all that was decoded before it is shown before it.
        """
        if decoded is not None and abs(shown - decoded) > self._longest:
            self.jumps += 1
            shown = decoded
        jump = self._jump(shown, decoded, length, is_key)
        if jump:
            self.jumps += 1
            self._shift, self._former = self._shift + jump, self._shift
        shown += self._shift
        if self._latest is None or shown > self._latest:
            self._latest, self._end = shown, shown + min(length, self._longest)
        if decoded is not None:
            self._decoded = decoded = decoded + self._shift
        return shown, decoded

    def _jump(self, shown: int, decoded: int | None, length: float, is_key: bool) -> int:
        """By how much the times from here on miss what follows the packets before; 0 where they just follow."""
        if self._latest is None:
            return -shown if abs(shown) > HUGE else 0
        shown += self._shift
        if decoded is None or self._decoded is None:
            ahead = max(0.0, shown - self._end)
        else:
            ahead = decoded + self._shift - self._decoded
        slack = max(self._back, REORDER_DEPTH * length)
        # A single wrong time: afterwards the clock is back where it was before it.
        back = self._former - self._shift
        fits = back and (self._latest if is_key else self._end - slack) < shown + back < self._end + slack
        anew = is_key and shown < self._latest - length / 2
        if anew or abs(ahead) > slack and (fits or ahead < 0 or ahead > self._longest):
            self.skipped += max(0.0, shown - self._end)
            return back if fits else round(self._end) - shown
        return 0
