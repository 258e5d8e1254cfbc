"""The picture of found segments: thumbnails along time, and below them a lane for each label."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .style import BLUE, INK, PALE_BLUE, SMALL, TITLE, name_rows, new_figure, plain_axes, save


if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hf_zsar.segments.annotations import VideoSegments

WIDTH = 14.0  # inches
THUMBNAILS = 12
MAX_LANES = 40
# A segment is drawn at least so wide, as a share of the picture: at 30 minutes a second would not be seen.
LEAST_WIDTH = 0.002


def draw_segments(path: str, found: VideoSegments, video: Any) -> None:
    """Write a PNG (or what the ending of `path` says).

    Args:
        video: where the thumbnails come from, in any form that can be read.

    Raises:
        ImportError: matplotlib is not installed.
        VideoReadError: the video cannot be read.
    """
    from hf_zsar.processing.video_reading import open_video

    with open_video(video) as reader:
        duration = found.duration or reader.duration
        clip = reader.read_at([(place + 0.5) * duration / THUMBNAILS for place in range(THUMBNAILS)], "keyframe")
    frames = clip.frames.numpy()
    labels = lanes(found)
    strip = min(2.5, WIDTH / THUMBNAILS * frames.shape[1] / frames.shape[2])
    chart = 0.32 * max(1, len(labels)) + 0.6
    figure = new_figure(WIDTH, strip + chart + 0.5)
    more = len({each["label"] for each in found.segments}) - len(labels)
    title = f"{os.path.basename(found.video.rstrip('/'))}   {len(found.segments)} segments"
    figure.suptitle(title + (f", {more} labels with less time left out" if more else ""), fontsize=TITLE, color=INK)
    above, below = figure.subplots(2, 1, height_ratios=[strip, chart], sharex=True)
    for place, frame in enumerate(frames):
        sides = (place * duration / THUMBNAILS, (place + 1) * duration / THUMBNAILS)
        above.imshow(frame, extent=(*sides, 0, 1), aspect="auto")
    above.set_axis_off()
    draw_lanes(below, found, labels, duration)
    save(figure, path)


def lanes(found: VideoSegments) -> list[str]:
    """The labels that have a lane, those that come first on top; of too many those with most time."""
    time: dict[str, float] = {}
    for each in found.segments:
        time[each["label"]] = time.get(each["label"], 0.0) + each["end"] - each["start"]
    kept = sorted(time, key=lambda label: -time[label])[:MAX_LANES]
    return [label for label in time if label in kept]


def draw_lanes(axes: Axes, found: VideoSegments, labels: list[str], duration: float) -> None:
    """A row for each label; a segment is a bar, darker where its score is higher."""
    from matplotlib.colors import to_rgba
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    least = LEAST_WIDTH * duration
    for row in range(len(labels)):
        axes.axhspan(row - 0.4, row + 0.4, color=PALE_BLUE, linewidth=0)
    for each in found.segments:
        if each["label"] in labels:
            width = max(least, each["end"] - each["start"])
            color = to_rgba(BLUE, 0.35 + 0.65 * min(1.0, max(0.0, each.get("score", 1.0))))
            axes.broken_barh([(each["start"], width)], (labels.index(each["label"]) - 0.4, 0.8), color=color)
    plain_axes(axes, "left", xlabel="time (darker: higher score)")
    name_rows(axes, labels)
    axes.set_xlim(0, duration)
    axes.xaxis.set_major_locator(MaxNLocator(12, steps=[1, 1.5, 3, 6, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds)))
    axes.tick_params(axis="x", labelsize=SMALL)


def clock(seconds: float) -> str:
    """`1:02:03`, or `2:03` below an hour."""
    whole = round(seconds)
    hours = f"{whole // 3600}:{whole // 60 % 60:02d}" if whole >= 3600 else str(whole // 60)
    return f"{hours}:{whole % 60:02d}"
