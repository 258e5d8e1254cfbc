"""Clips broken at random, read by a child process that is watched: what each led to, a crash and a hang included.

`python -m tests.processing.mutation 2000 --seed 0 --keep folder` prints the figures and keeps what was found.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.conftest import CLIPS_DIR, REPO_ROOT
from tests.processing.conftest import SYNTHETIC
from tests.videos import write_video


# Real clips beyond this say no more, and take longer.
MOST_BYTES = 1_500_000
HANG_SECONDS = 60.0
HEAD = 4096
# Sizes, counts and times that programs stumble over.
NUMBERS = [
    b"\0" * 4,
    b"\xff" * 4,
    b"\x7f" + b"\xff" * 3,
    b"\xff" * 3 + b"\x7f",
    b"\x80\0\0\0",
    b"\0\0\0\x01",
    b"\0" * 8,
]
ALLOWED = ("read", "read with a warning", "refused")


def mutated(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """`data` with one to three random faults; `other` is another clip, to take parts of."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        data = rng.choice(MUTATIONS)(bytearray(data), other, rng) or b"\0"
    return data


def _place(data: bytes, rng: random.Random) -> int:
    """Somewhere in `data`, half of the time where headers and indexes stand."""
    size = max(1, len(data))
    return rng.choice(
        [
            rng.randrange(size),
            rng.randrange(size),
            rng.randrange(min(size, HEAD)),
            size - 1 - rng.randrange(min(size, HEAD)),
        ]
    )


def _bytes(data: bytearray, other: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice([1, 4, 40, 400])):
        data[_place(data, rng)] = rng.randrange(256)
    return bytes(data)


def _bits(data: bytearray, other: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice([1, 2, 8])):
        data[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(data)


def _number(data: bytearray, other: bytes, rng: random.Random) -> bytes:
    place, number = _place(data, rng), rng.choice(NUMBERS)
    return bytes(data[:place] + number + data[place + len(number) :])


def _cut(data: bytearray, other: bytes, rng: random.Random) -> bytes:
    return bytes(data[: _place(data, rng)])


def _left_out(data: bytearray, other: bytes, rng: random.Random) -> bytes:
    place = _place(data, rng)
    return bytes(data[:place] + data[place + rng.choice([1, 4, 188, 5000]) :])


def _twice(data: bytearray, other: bytes, rng: random.Random) -> bytes:
    start, place, size = _place(data, rng), _place(data, rng), rng.choice([4, 188, 5000])
    return bytes(data[:place] + data[start : start + size] + data[place:])


def _blank(data: bytearray, other: bytes, rng: random.Random) -> bytes:
    place, size = _place(data, rng), rng.choice([8, 500, 20_000])
    return bytes(data[:place] + bytes(len(data[place : place + size])) + data[place + size :])


def _spliced(data: bytearray, other: bytes, rng: random.Random) -> bytes:
    return bytes(data[: _place(data, rng)]) + other[rng.randrange(max(1, len(other))) :]


def _joined(data: bytearray, other: bytes, rng: random.Random) -> bytes:
    return bytes(data) + rng.choice([bytes(data), other])


MUTATIONS: list[Callable[[bytearray, bytes, random.Random], bytes]] = [
    _bytes, _bytes, _bits, _number, _number, _cut, _left_out, _twice, _blank, _spliced, _joined,
]  # fmt: skip


def originals(folder: Path) -> list[Path]:
    """Clips to break: one of every synthetic kind, made in `folder`, and the real ones where there are some."""
    made = [write_video(folder / name, **options) for name, options in SYNTHETIC.items()]
    real = [path for path in (*CLIPS_DIR.glob("*.*"), *CLIPS_DIR.glob("hard/*.*")) if path.suffix != ".json"]
    return made + sorted(path for path in real if 0 < path.stat().st_size <= MOST_BYTES)


def broken_clips(count: int, seed: int, folder: Path, sources: Sequence[Path] = ()) -> Iterator[Path]:
    """Files in `folder`, one after the other; the number, the seed and the `sources` decide their content."""
    sources = sources or originals(folder)
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        source, other = rng.choice(sources), rng.choice(sources)
        path = folder / f"{seed}-{number}{source.suffix}"
        path.write_bytes(mutated(source.read_bytes(), other.read_bytes(), rng))
        yield path


# The child -----------------------------------------------------------------------------------------------------------


def read_in_every_way(path: str) -> str:
    """What the video processor and the readers make of a file."""
    import warnings

    from hf_zsar import VideoReadError, VideoReadWarning, ZSARVideoProcessor
    from hf_zsar.processing.video_reading import open_video
    from tests.processing.test_video_sources import BareFile

    data = Path(path).read_bytes()
    processor = ZSARVideoProcessor(num_frames=8)
    ways: list[Callable[[], Any]] = [
        lambda: processor(path)["pixel_values_videos"],
        lambda: processor(data, mode="keyframe")["pixel_values_videos"],
        lambda: processor(path, sampling="bike")["pixel_values_videos"],
        lambda: [part for _, part in zip(range(3), processor.iter_windows(BareFile(data), 0.5), strict=False)],
    ]

    def part() -> None:
        with open_video(path) as reader:
            for _ in zip(range(5), reader.windows(max(reader.duration / 9, 1e-3), num_frames=2), strict=False):
                pass
            for _ in zip(range(5), reader.iter_frames(), strict=False):
                pass

    outcomes = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for way in (*ways, part):
            try:
                way()
                outcomes.append("read")
            except VideoReadError:
                outcomes.append("refused")
            except BaseException as error:  # noqa: BLE001 - whatever else there is, is what is looked for
                return f"{type(error).__name__}: {error}"
    if "refused" in outcomes[:1]:
        return "refused"
    return "read with a warning" if any(issubclass(each.category, VideoReadWarning) for each in caught) else "read"


def child() -> None:
    """Answer each file named on standard input with a line of JSON: outcome and the largest memory so far."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    for line in sys.stdin:
        started = time.process_time()
        outcome = read_in_every_way(json.loads(line))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(json.dumps([outcome, memory, time.process_time() - started]), flush=True)


CHILD = [sys.executable, "-c", "from tests.processing.mutation import child; child()"]


class Watched:
    """A child process that answers line by line, started anew after a crash or a hang."""

    def __init__(self, command: Sequence[str] = tuple(CHILD), hang_seconds: float = HANG_SECONDS) -> None:
        self._command, self._hang_seconds = command, hang_seconds
        self._process: subprocess.Popen | None = None

    def ask(self, question: Any) -> tuple[str, int, float]:
        """Outcome, megabytes and seconds of processor time; outcome `crash ...` or `hang` where no answer comes."""
        if self._process is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self._process = subprocess.Popen(self._command, text=True, cwd=REPO_ROOT, **pipes)
        process = self._process
        process.stdin.write(json.dumps(question) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], self._hang_seconds)
        answer = process.stdout.readline() if ready else ""
        if answer:
            return tuple(json.loads(answer))
        self.close()
        return (f"crash (exit status {process.returncode})" if ready else "hang"), 0, self._hang_seconds

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def run(count: int, seed: int = 0, keep: Path | None = None, sources: Sequence[Path] = ()) -> dict[str, Any]:
    """Figures over `count` broken clips; those that led to something that is not allowed are copied to `keep`."""
    outcomes: collections.Counter[str] = collections.Counter()
    faults: list[str] = []
    most_memory, most_seconds, slowest = 0, 0.0, ""
    watched = Watched()
    with tempfile.TemporaryDirectory() as folder:
        watched.ask(str(write_video(Path(folder) / "first.mp4", 4)))  # imports are not hang
        for path in broken_clips(count, seed, Path(folder), sources):
            outcome, memory, seconds = watched.ask(str(path))
            most_memory = max(most_memory, memory)
            if seconds > most_seconds:
                most_seconds, slowest = seconds, path.name
            outcomes[outcome if outcome in ALLOWED else outcome.split(":")[0]] += 1
            if outcome not in ALLOWED:
                faults.append(f"{path.name}: {outcome}")
                if keep is not None:
                    (keep / path.name).write_bytes(path.read_bytes())
            path.unlink()
    watched.close()
    figures = {"clips": count, "seed": seed, "outcomes": dict(outcomes), "most MB": most_memory}
    return {**figures, "most seconds": round(most_seconds, 1), "slowest": slowest, "faults": faults}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.count, arguments.seed, arguments.keep), indent=1))


if __name__ == "__main__":
    main()
