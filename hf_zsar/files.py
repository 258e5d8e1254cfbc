"""Files and folders that are whole or not there. Every writer of this package goes through here."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .modeling.file_writing import TEMPORARY, file_target, lock, remove_leftovers, replacing, settle, sync, workplace
from .printing import dump_json, without_nan


_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux


@contextmanager
def replacing_folder(path: str | os.PathLike, overwrite: bool = False) -> Iterator[Path]:
    """An empty folder to fill. It becomes `path` when the body ends well; else it is removed, and what was there stays
    as it was. Missing folders above `path` are made.

    Args:
        overwrite: replace a folder that holds something.

    Raises:
        OSError: nothing can be written there, or something is there already.
    """
    target = folder_target(path, overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    with workplace(target.parent, path) as work:
        temporary = work / target.name
        temporary.mkdir()
        yield temporary
        settle_folder(work, temporary)
        _put_in_place(temporary, target, overwrite)
        sync(target.parent)


def put_folder(finished: Path, path: str | os.PathLike) -> None:
    """Rename a finished folder to `path`, beside it, in place of what is there; errors as `replacing_folder`."""
    target = folder_target(path, overwrite=True)
    with workplace(target.parent, path) as work:
        settle_folder(work, finished)
        os.replace(finished, work / target.name)
        _put_in_place(work / target.name, target, overwrite=True)
        sync(target.parent)


@contextmanager
def filling_folder(folder: str | os.PathLike, last: str) -> Iterator[Path]:
    """An empty folder to fill. When the body ends well, its files move into `folder`, which may hold others.

    Args:
        last: name of the file that moves last: where it is, all are.

    Raises:
        OSError: nothing can be written there.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with workplace(folder) as work:
        temporary = work / "files"
        temporary.mkdir()
        yield temporary
        settle_folder(work, temporary)
        for file in sorted(temporary.iterdir(), key=lambda path: path.name == last):
            os.replace(file, folder / file.name)
        sync(folder)


def folder_target(path: str | os.PathLike, overwrite: bool = False) -> Path:
    """Where a folder called `path` is written: its links followed.

    Raises:
        OSError: something is there already, or it is a mount point, which no folder can be renamed to.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        if os.path.ismount(target):
            raise OSError(errno.EBUSY, "it is a mount point: name a folder inside it", os.fspath(path))
        if not overwrite and not is_empty(target):
            raise FileExistsError(errno.EEXIST, "it exists and is not empty", os.fspath(path))
    elif os.path.lexists(target):
        raise NotADirectoryError(errno.ENOTDIR, "it is not a folder", os.fspath(path))
    return target


def check_file(path: str | os.PathLike) -> None:
    """Raise what `replacing(path)` would, before any work is done."""
    with workplace(file_target(path).parent, path):
        pass


def check_folder(path: str | os.PathLike) -> None:
    """Raise what writing into the folder `path`, which may be made for that, would; nothing is left behind."""
    target = Path(os.path.realpath(path))
    nearest = next(each for each in (target, *target.parents) if os.path.lexists(each))
    if not nearest.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{nearest.name} is not a folder", os.fspath(path))
    with workplace(nearest, path):
        pass


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but what is being written into it, or was when its process died."""
    return all(path.name.startswith(TEMPORARY) for path in folder.iterdir())


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder for temporary files, gone at the end; where the process is killed, by the next call."""
    with workplace(tempfile.gettempdir()) as work:
        folder = work / "files"
        folder.mkdir()
        yield folder


def file_sha256(path: str | os.PathLike) -> str:
    """SHA-256 of what is in a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a UTF-8 file, whole or not at all; errors as `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any, indent: int | None = 1) -> None:
    """Write a JSON file, NaN as null, whole or not at all; errors as `replacing`."""
    write_text(path, dump_json(without_nan(value), indent=indent) + "\n")


def append_line(path: str | os.PathLike, line: str) -> None:
    """Add a line to a file, forced to the disk, also where several processes do. What a kill tore is cut off first.

    Raises:
        OSError: it cannot be written; the file stays as it was.
    """
    data = line.encode() + b"\n"
    with open(path, "ab+", buffering=0) as file:
        lock(file.fileno(), wait=True)
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        if end and file.read(1) != b"\n":
            file.seek(0)
            end = file.read().rfind(b"\n") + 1
        try:
            file.truncate(end)
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError as error:
            file.truncate(end)
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def settle_folder(work: Path, folder: Path) -> None:
    """As `settle`, for everything in a folder."""
    paths = [folder, *folder.rglob("*")]
    for path in reversed(paths):
        if path.is_dir():
            sync(path)
        elif not path.is_symlink():
            settle(work, path)


def remove_folder(folder: Path) -> None:
    """Delete a folder so that no part of it can be taken for the whole."""
    if folder.is_dir():
        with workplace(folder.parent) as work:
            os.replace(folder, work / folder.name)


def _put_in_place(folder: Path, target: Path, overwrite: bool) -> None:
    """Rename a finished folder. What it replaces moves to its old place, in one step where the system can."""
    if not target.is_dir():
        os.rename(folder, target)
    elif not overwrite or is_empty(target):
        remove_leftovers(target)
        target.rmdir()  # fails where another process was faster
        os.rename(folder, target)
    elif not _exchange(folder, target):
        aside = target.with_name(f"{target.name}.replaced")  # in sight: the only copy, should the next step fail
        os.rename(target, aside)
        os.rename(folder, target)
        shutil.rmtree(aside)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step; False where that is not possible."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    if rename is None:
        return False
    return rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0


__all__ = [
    "TEMPORARY",
    "append_line",
    "check_file",
    "check_folder",
    "file_target",
    "filling_folder",
    "folder_target",
    "is_empty",
    "put_folder",
    "remove_folder",
    "remove_leftovers",
    "replacing",
    "replacing_folder",
    "scratch_folder",
    "settle",
    "sync",
    "workplace",
    "write_json",
    "write_text",
]
