"""Rows of streamed data sets, whose video lies in an archive or a store: `zip://a.avi::hf://datasets/...`.

fsspec opens them. Such a row may come from anybody's data set, so only archives, and stores that this machine is set
up for, are opened; what comes over http is downloaded as a URL is, from public addresses only.
"""

from __future__ import annotations

import re

from .limits import limits
from .urls import redacted
from .video_download import download, spool
from .video_sources import MediaSource, VideoReadError, source_name


ARCHIVES = {"zip", "tar", "gzip", "bz2", "xz", "lz4", "zstd", "libarchive"}
STORES = {"hf", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "file", "local", "memory"}
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def fetch(url: str, timeout: float, max_bytes: int | None, allow_private: bool = False) -> MediaSource:
    """Copy what `url` leads to into a temporary file, which closing the source removes.

    Args:
        url: an address, or `archive://member::address`; see [`open_video`] for the others.

    Raises:
        VideoReadError: a protocol that is not opened, or whatever its file system says.
    """
    max_bytes = limits().download_bytes if max_bytes is None else max_bytes
    *members, place = url.split("::")
    name = source_name(url)
    for link in (*members, place):
        scheme = SCHEME.match(link)
        known = ARCHIVES if link in members else {*ARCHIVES, *STORES, "http", "https"}
        if (scheme and scheme[1].lower() not in known) or (link in members and not scheme):
            allowed = ", ".join(sorted(ARCHIVES))
            raise VideoReadError(f"{name}: {redacted(link)!r} is not opened; archives are {allowed}.")
    if not place.lower().startswith(("http://", "https://")):
        return _copy("::".join([*members, place]), name, max_bytes)
    archive = download(place, timeout, max_bytes, allow_private)
    if not members:
        return archive
    try:
        return _copy("::".join([*members, str(archive.path)]), name, max_bytes)
    finally:
        archive.close()


def _copy(url: str, name: str, max_bytes: int) -> MediaSource:
    import fsspec  # of huggingface_hub

    try:
        with fsspec.open(url, "rb") as file:
            return spool(file, name, max_bytes)
    except VideoReadError:
        raise
    except Exception as error:  # every file system has its own, with no base in common
        raise VideoReadError(f"{name}: cannot be opened ({type(error).__name__}: {redacted(str(error))}).") from error
