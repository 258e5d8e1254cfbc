"""One self-contained HTML file: the video, and beside it its segments, each of which seeks to its start."""

from __future__ import annotations

import base64
import html
import mimetypes
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hf_zsar.files import write_text
from hf_zsar.plots.style import COLORS, INK, ORANGE, PALE_BLUE, PALE_ORANGE

from .annotations import VideoSegments


EMBEDDED_BYTES = 32 * 2**20  # a larger video stays a file of its own

PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; media-src * file: data: blob:;
 style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<style>
body {{ font: 14px/1.4 system-ui, sans-serif; color: {ink}; margin: 1rem; display: grid; gap: 1rem;
  grid-template-columns: minmax(0, 3fr) minmax(14rem, 1fr); }}
h1 {{ font-size: 1.1rem; margin: 0; grid-column: 1 / -1; overflow-wrap: anywhere; }}
video {{ width: 100%; max-height: 60vh; background: #000; }}
.lane {{ display: grid; grid-template-columns: 11rem 1fr; gap: .5rem; align-items: center; margin-top: 3px; }}
.lane b {{ font-weight: 500; text-align: right; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }}
.track {{ position: relative; height: 1.3rem; background: {pale_blue}; }}
.track button {{ position: absolute; top: 0; height: 100%; min-width: 3px; padding: 0; border: 0; cursor: pointer; }}
.now {{ position: absolute; top: 0; bottom: 0; width: 1px; background: {orange}; pointer-events: none; }}
ol {{ margin: 0; padding: 0; list-style: none; max-height: 85vh; overflow: auto; }}
li button {{ width: 100%; text-align: left; font: inherit; border: 0; border-bottom: 1px solid {pale_blue};
  background: none; padding: .35rem; cursor: pointer; }}
li button:hover, li button.on {{ background: {pale_orange}; }}
</style>
<h1>{title}</h1>
<div><video controls preload="metadata" src="{source}"></video>
<p id="unplayable" hidden>This browser cannot play {title}.</p>
{lanes}</div>
<ol>{rows}</ol>
<script>
const video = document.querySelector("video");
const all = [...document.querySelectorAll("[data-start]")];
for (const each of all) each.addEventListener("click", () => {{ video.currentTime = Number(each.dataset.start); }});
video.addEventListener("error", () => {{ document.getElementById("unplayable").hidden = false; }});
video.addEventListener("timeupdate", () => {{
  const now = video.currentTime;
  for (const each of all) each.classList.toggle("on", each.dataset.start <= now && now < each.dataset.end);
  for (const line of document.querySelectorAll(".now")) line.style.left = 100 * now / {duration} + "%";
}});
</script></html>
"""


def segments_page(found: VideoSegments, source: str) -> str:
    """The page.

    Args:
        source: address of the video for the browser, absolute or relative to the page.

    Raises:
        ValueError: the length of the video is not known, and there are no segments to tell it.
    """
    duration = found.duration or max((each["end"] for each in found.segments), default=0.0)
    if duration <= 0:
        raise ValueError(f"{found.video}: a page needs the length of the video, or segments.")
    labels = list(dict.fromkeys(each["label"] for each in found.segments))
    lanes = "\n".join(_lane(found, label, COLORS[place % len(COLORS)], duration) for place, label in enumerate(labels))
    rows = "\n".join(_row(each) for each in found.segments)
    title = html.escape(os.path.basename(found.video.rstrip("/")) or found.video)
    return PAGE.format(
        title=title,
        source=html.escape(source),
        lanes=lanes,
        rows=rows or "<li>nothing found</li>",
        duration=f"{duration:.3f}",
        ink=INK,
        orange=ORANGE,
        pale_blue=PALE_BLUE,
        pale_orange=PALE_ORANGE,
    )


def _data(each: Mapping[str, Any]) -> str:
    return f'data-start="{each["start"]:.3f}" data-end="{each["end"]:.3f}"'


def _lane(found: VideoSegments, label: str, color: str, duration: float) -> str:
    name = html.escape(label)
    bars = "".join(
        f'<button {_data(each)} title="{name}, {_clock(each["start"])} to {_clock(each["end"])}" '
        f'style="left:{100 * each["start"] / duration:.3f}%;'
        f"width:{100 * (each['end'] - each['start']) / duration:.3f}%;background:{color};"
        f'opacity:{0.35 + 0.65 * min(1.0, max(0.0, each.get("score", 1.0))):.2f}"></button>'
        for each in found.segments
        if each["label"] == label
    )
    return f'<div class="lane"><b title="{name}">{name}</b><div class="track">{bars}<i class="now"></i></div></div>'


def _row(each: Mapping[str, Any]) -> str:
    score = f" <small>{each['score']:.2f}</small>" if "score" in each else ""
    times = f"{_clock(each['start'])} to {_clock(each['end'])}"
    return f"<li><button {_data(each)}><small>{times}</small> {html.escape(each['label'])}{score}</button></li>"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"


def save_page(path: str | os.PathLike, found: VideoSegments, video: str) -> None:
    """Write the page, whole or not at all. A video of up to `EMBEDDED_BYTES` is part of the file; a larger one is
    named relative to it, so that both may move together.

    Args:
        video: path or http(s) address.
    """
    if "://" not in video:
        video = _embedded(video) if os.path.getsize(video) <= EMBEDDED_BYTES else _beside(video, Path(path).resolve())
    write_text(path, segments_page(found, video))


def _embedded(video: str) -> str:
    kind = mimetypes.guess_type(video)[0] or "video/mp4"
    return f"data:{kind};base64,{base64.b64encode(Path(video).read_bytes()).decode()}"


def _beside(video: str, page: Path) -> str:
    try:
        return quote(os.path.relpath(video, page.parent).replace(os.sep, "/"))
    except ValueError:  # on another drive
        return Path(video).resolve().as_uri()
