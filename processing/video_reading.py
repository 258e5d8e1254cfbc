"""Reading frames of a video at given times, whatever form the video comes in: [`open_video`].

Exact by default: a frame equals, bit for bit, what a decode of the whole file gives at that time, although only a
part of the file is read (see `video_seeking`). Pictures come as a viewer sees them: turned as the metadata says and
with square pixels. Interlaced pictures stay woven, an alpha channel is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .limits import limits
from .optional_parts import needed, part
from .video_plain import PlainReader
from .video_reader import ArrayReader, VideoClip, VideoInfo, VideoReader, VideoWindow
from .video_sources import (
    MediaSource,
    VideoReadError,
    VideoReadWarning,
    as_frames,
    is_url,
    media_source,
    source_name,
)


def open_video(
    source: Any,
    *,
    timeout: float = 10.0,
    max_bytes: int | None = None,
    allow_private_urls: bool = False,
    thread_count: int | None = None,
    fps: float | None = None,
    live: bool = False,
    as_stored: bool = False,
) -> VideoReader:
    """Open a video for reading frames.

    Args:
        source: path, http(s) URL, bytes, binary file object (read from its start), `{"path", "bytes"}` (a row of
            `datasets`, whose path may be `hf://...` or `zip://member::...`), array or tensor `[T, H, W, 3]` or
            `[T, 3, H, W]` (uint8, or float in 0..1), list of PIL pictures, open torchcodec `VideoDecoder`, iterator of
            pictures or of (seconds, picture) pairs.
        timeout: seconds without progress after which a download is given up. All of it may take the limit
            `download_seconds`. Proxies of the environment are not used (see `video_download`).
        max_bytes: a download beyond that is given up; default: the limit `download_bytes`.
        allow_private_urls: let URLs lead to private, loopback and link-local addresses.
        thread_count: codec threads; default: one per core up to 4, and 1 in worker processes.
        fps: frame rate of frames that come without one (arrays, lists, iterators).
        live: read a URL as it comes, without a size limit, for `windows()` and `iter_frames()` only.
        as_stored: hand out pictures on the stored pixel grid: not turned, pixels not made square.

    Raises:
        VideoReadError: the message names the source and what is wrong with it.
    """
    if isinstance(source, VideoReader):
        return source

    def further(name: str) -> Any:
        return needed(name, f"what reads {source_name(source)}", VideoReadError)

    media: MediaSource | None
    if is_url(source) and live:
        body = further("video_download").open_stream(source, timeout, allow_private_urls)
        media = MediaSource(body.name, file=body, on_close=[body.close])
    elif is_url(source):
        media = further("video_download").download(source, timeout, max_bytes, allow_private_urls)
    elif isinstance(source, Mapping) and source.get("bytes") is None and is_url(source.get("path")):
        media = further("video_archives").fetch(source["path"], timeout, max_bytes, allow_private_urls)
    else:
        media = media_source(source)
    if media is not None and media.seekable:
        files = part("video_reader_files")
        return files.open_file(media, thread_count, as_stored) if files else PlainReader(media)
    if media is not None:
        streams = further("video_reader_streams")
        return streams.StreamReader(media, max_bytes or limits().download_bytes, thread_count, as_stored)
    if callable(getattr(source, "get_frames_played_at", None)):
        return further("video_decoders").DecoderReader(source)
    if isinstance(source, Iterator):
        return further("video_reader_streams").IteratorReader(source, fps)
    frames = as_frames(source)
    if frames is None:
        raise VideoReadError(f"{source_name(source)}: not a form of video that can be read ({type(source).__name__}).")
    return ArrayReader(frames, source_name(source), fps)


__all__ = ["VideoClip", "VideoInfo", "VideoReadError", "VideoReadWarning", "VideoReader", "VideoWindow", "open_video"]
