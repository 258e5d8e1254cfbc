"""The name of a codec that no decoder is known for. FFmpeg names only those that it knows; the file names all."""

from __future__ import annotations

import re

from .video_bytes import read_bytes
from .video_sources import MediaSource


# Where each container says how its video is coded. In an mp4 the description (stsd) follows the kind
# of the track, in a Windows Media file a picture header follows the identifier of video.
NAMES = {
    "mov": re.compile(rb"hdlr.{8}vide.*?stsd.{12}(.{4})", re.DOTALL),
    "matroska": re.compile(rb"\x86[\x81-\xbf](V_[\w/.-]+)"),
    "avi": re.compile(rb"strh.{4}vids.*?strf.{20}(.{4})", re.DOTALL),
    "asf": re.compile(rb"\xc0\xef\x19\xbc\x4d\x5b\xcf\x11\xa8\xfd\x00\x80\x5f\x5c\x44\x2b.{65}(.{4})", re.DOTALL),
}
# Headers stand at either end of a file.
ENDS = 2**22


def codec_name(container: str, source: MediaSource) -> str | None:
    """How the file calls its video codec: a fourcc or an identifier; None where it does not say."""
    pattern = NAMES.get(container)
    if pattern is None or not source.seekable:
        return None
    for part in (read_bytes(source, 0, ENDS), read_bytes(source, -ENDS, ENDS)):
        if found := pattern.search(part):
            return "".join(chr(byte) if 32 < byte < 127 else f"\\x{byte:02x}" for byte in found[1])
    return None
