"""Videos found by texts as one page: pictures of the stretches, and a player that a click takes to them."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from PIL import Image

from hf_zsar.features.sources import readable
from hf_zsar.features.store import VideoFile
from hf_zsar.processing.urls import is_url
from hf_zsar.processing.video_reading import VideoReadError, open_video


if TYPE_CHECKING:
    from hf_zsar.features.shards import Row

SIDE = 240  # pixels of a picture


def found_page(results: Mapping[str, Sequence[tuple[Row, float]]], folder: Path, time_limit: float = 20.0) -> str:
    """An HTML page that needs no other file but the videos, which it names.

    Args:
        results: text -> rows and scores, best first.
        folder: where the page will lie: videos of this machine are named from there.
        time_limit: seconds for a picture; a video that takes longer has none.
    """
    from hf_zsar.features.reading import ReadAhead

    rows = {row.id: row for found in results.values() for row, _ in found}
    pictures: dict[str, str] = {}
    for row, parts in ReadAhead(lambda row: [thumbnail(row)], workers=2, ahead=4, limit=time_limit)(rows.values()):
        try:
            pictures[row.id] = next(parts)
        except VideoReadError:
            pictures[row.id] = ""
    sections = []
    for text, found in results.items():
        cards = [_card(row, score, pictures[row.id], folder) for row, score in found]
        sections.append(f"<h2>{html.escape(text)}</h2><div class=found>{''.join(cards)}</div>")
    return _PAGE.replace("SECTIONS", "".join(sections))


def thumbnail(row: Row) -> str:
    """A JPEG in the middle of a row, as a data URL.

    Raises:
        VideoReadError: the video cannot be read.
    """
    with open_video(readable(VideoFile(row.id, row.source))) as reader:
        start, end = (row.start, row.end) if row.start is not None and row.end is not None else (0.0, reader.duration)
        frame = reader.read_at([(start + end) / 2]).frames[0]
    picture = Image.fromarray(frame.numpy())
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _card(row: Row, score: float, picture: str, folder: Path) -> str:
    start = row.start or 0.0
    stretch = "" if row.start is None else f"{clock(row.start)} - {clock(row.end)}"
    end = "" if row.end is None else f",{row.end:.3f}"
    address = html.escape(f"{address_of(row.source, folder)}#t={start:.3f}{end}", quote=True)
    image = f'<img alt="" src="{picture}">' if picture else "<span class=none>no picture</span>"
    return (
        f'<a class=card href="{address}" data-start="{start:.3f}">{image}'
        f"<b>{html.escape(os.path.basename(row.source))}</b> {stretch}<br><small>{score:.3f}</small></a>"
    )


def address_of(source: str, folder: Path) -> str:
    """What a page in `folder` calls a video: web addresses as they are, files from there."""
    if is_url(source):
        return source if source.lower().startswith(("http://", "https://", "file://")) else ""
    return quote(os.path.relpath(os.path.abspath(source), folder.resolve()))


def clock(seconds: Any) -> str:
    """`75.25` -> `1:15.2`."""
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Videos found by text</title>
<style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 0 auto; max-width: 1100px; padding: 0 16px 32px; color: #222 }
#player { position: sticky; top: 0; background: #fff; padding: 8px 0; z-index: 1 }
video { display: block; width: 100%; max-height: 45vh; background: #111 }
.found { display: flex; flex-wrap: wrap; gap: 12px }
.card { width: 240px; color: inherit; text-decoration: none; overflow-wrap: anywhere }
.card img, .none { display: flex; width: 240px; height: 150px; object-fit: cover; background: #ddd }
.none { align-items: center; justify-content: center; color: #666 }
.card:hover, .card:focus, .card.now { outline: 3px solid #2463eb; outline-offset: 2px }
</style>
</head>
<body>
<h1>Videos found by text</h1>
<div id="player" hidden><video controls muted playsinline></video><span></span></div>
SECTIONS
<script>
const box = document.getElementById("player"), video = box.querySelector("video");
let file = "";
for (const card of document.querySelectorAll(".card")) card.addEventListener("click", event => {
  event.preventDefault();
  for (const other of document.querySelectorAll(".now")) other.classList.remove("now");
  card.classList.add("now");
  box.hidden = false;
  const start = Number(card.dataset.start), address = card.href.split("#")[0];
  const seek = () => { video.currentTime = start; video.play().catch(() => {}); };
  if (address !== file) {
    file = address;
    video.src = address;
    video.addEventListener("loadedmetadata", seek, { once: true });
  } else seek();
});
</script>
</body>
</html>
"""
