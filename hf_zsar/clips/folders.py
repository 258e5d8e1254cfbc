"""What a video file is, and which videos a folder holds: the one answer for every command, training and evaluation.

A video is a regular file with a suffix of `VIDEO_SUFFIXES` that is not hidden. Links to folders are followed, loops
are not. What systems and tools leave among a person's own files is passed over; what looks like a video and cannot be
one (a link that leads nowhere, a pipe) is left out with a warning.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

from hf_zsar.printing import printable


logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .asf .avi .dv .f4v .flv .gif .m2t .m2ts .m2v .m4v .mkv .mov .mp4 .mpe .mpeg .mpg .mts .mxf .ogm .ogv "
    ".qt .ts .vob .webm .wmv .y4m".split()
)

# Left by archives of macOS, Synology and QNAP, Windows, file systems and Python; compared without case.
_JUNK = frozenset(
    "__macosx @eadir @recycle #recycle #snapshot $recycle.bin recycler lost+found __pycache__".split()
    + ["system volume information"]
)


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is hidden (`._clip.mp4`, `.ipynb_checkpoints`) or litter (`@eaDir`)."""
    return name.startswith(".") or name.casefold() in _JUNK


def has_video_suffix(name: str | os.PathLike) -> bool:
    """Whether a name ends as a video's; case does not matter."""
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def find_videos(folder: str | os.PathLike) -> list[str]:
    """All videos below a folder, each folder entered once, in a fixed order.

    A folder that is reached both directly and by a link gives its videos under its own name.

    Raises:
        OSError: no such folder, or it cannot be listed.
    """
    found: list[str] = []
    unusable: list[str] = []
    entered: set[str] = set()
    folders, links = [os.fspath(folder)], list[str]()
    while folders or links:
        here = folders.pop() if folders else links.pop()
        real = os.path.realpath(here)
        if real in entered:
            continue
        entered.add(real)
        for entry in _entries(here, required=here == os.fspath(folder)):
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.is_symlink() and os.path.isdir(entry.path):
                links += [] if _leads_upwards(entry.path) else [entry.path]
            elif has_video_suffix(entry.name):
                (found if os.path.isfile(entry.path) else unusable).append(entry.path)
    if unusable:
        warn(f"{os.fspath(folder)}: left out, as they lead nowhere or are not regular files", unusable)
    return sorted(found, key=lambda path: path.split(os.sep))


def subfolders(folder: str | os.PathLike) -> list[str]:
    """Names of the folders and linked folders in a folder, sorted, without junk and loops.

    Raises:
        OSError: no such folder, or it cannot be listed.
    """
    entries = _entries(os.fspath(folder), required=True)
    return sorted(each.name for each in entries if os.path.isdir(each.path) and not _leads_upwards(each.path))


def _entries(folder: str, required: bool) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            # Sorted, so that of two links to one folder always the same is taken.
            return sorted((e for e in entries if not is_junk(e.name)), key=lambda entry: entry.name, reverse=True)
    except OSError as error:
        if required:
            raise
        warn(f"left out, as it cannot be listed ({error.strerror})", [folder])
        return []


def _leads_upwards(path: str) -> bool:
    """Whether a folder is a link to one that holds the link itself."""
    if not os.path.islink(path):
        return False
    target, place = os.path.realpath(path), os.path.realpath(os.path.dirname(path) or ".")
    return os.path.splitdrive(target)[0] == os.path.splitdrive(place)[0] and (
        os.path.commonpath([target, place]) == target
    )


def warn(what: str, names: Iterable[str], shown: int = 3) -> None:
    """Log a warning that counts names and shows the first few, whatever bytes are in them."""
    names = sorted(names)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    logger.warning("%s: %s%s", what, ", ".join(printable(name) for name in names[:shown]), more)
