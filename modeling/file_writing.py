"""Files that are whole or not there: written under a temporary name, forced to the disk, then renamed.

What is being written lies in a hidden folder beside its target. That folder holds a lock, which the kernel frees when
its process ends, however it ends: so the next writer tells what dead processes left from what living ones are writing,
and removes the former.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError


try:
    import fcntl
except ImportError:  # Windows: what a killed process left stays there
    fcntl = None  # type: ignore[assignment]

TEMPORARY = ".hf-zsar-"
_LOCK = f"{TEMPORARY}lock"
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A name to write a file under. It becomes `path` when the body ends well; else it is removed, and a file that was
    there stays as it was. A link is followed; an old file's mode is kept.

    Raises:
        OSError: nothing can be written there: no folder, no right, no space; a folder or device of that name.
    """
    target = file_target(path)
    with workplace(target.parent, path) as work:
        temporary = work / target.name
        yield temporary
        settle(work, temporary, target)
        os.replace(temporary, target)
        sync(target.parent)


def file_target(path: str | os.PathLike) -> Path:
    """Where a file called `path` is written: its links followed.

    Raises:
        OSError: there is no folder to write it into, or something that is not a file has its name.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder", os.fspath(path))
    if not target.is_file() and os.path.lexists(target):
        raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
    if not target.parent.is_dir():
        missing = target.parent if os.path.islink(path) else Path(path).parent
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {str(missing)!r}", os.fspath(path))
    return target


@contextmanager
def workplace(folder: str | os.PathLike, target: str | os.PathLike | None = None) -> Iterator[Path]:
    """A new hidden folder inside `folder`, gone at the end. What dead processes left in `folder` goes first.

    Args:
        target: what errors of writing name, instead of the temporary file.

    Raises:
        OSError: every error of writing, also where a library raises another type.
    """
    target = os.fspath(folder if target is None else target)
    try:
        remove_leftovers(folder)
        work, handle = _new_folder(folder)
    except OSError as error:
        raise OSError(error.errno, error.strerror, target) from error
    try:
        yield work
    except (OSError, RuntimeError, SafetensorError) as error:
        number = _write_error(error, work)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), target) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(handle)


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Delete what `workplace` made in a folder for processes that have ended since."""
    for rest in Path(folder).glob(f"{TEMPORARY}*"):
        with suppress(OSError):  # somebody else's, or gone by now
            if rest.is_symlink() or not rest.is_dir() or rest.stat().st_uid != _user():
                continue
            handle = os.open(rest / _LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
            try:
                if lock(handle):
                    shutil.rmtree(rest, ignore_errors=True)
            finally:
                os.close(handle)


def settle(work: Path, file: Path, target: Path | None = None) -> None:
    """Give a finished file the mode of the one it replaces, else that of any new file, and force it to the disk."""
    # The lock was made by a plain `open`, so its mode tells the umask, which cannot be read without being set.
    like = target if target is not None and target.exists() else work / _LOCK
    file.chmod(like.stat().st_mode & 0o777)
    sync(file)


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    if os.name == "nt" and path.is_dir():  # cannot be opened there
        return
    handle = os.open(path, os.O_RDWR if path.is_file() and os.access(path, os.W_OK) else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _new_folder(folder: str | os.PathLike) -> tuple[Path, int]:
    while True:
        work = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=folder))
        try:
            handle = os.open(work / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # taken for left over before it was locked
            continue
        except OSError:
            shutil.rmtree(work, ignore_errors=True)
            raise
        if lock(handle) is not False and (work / _LOCK).exists():
            return work, handle
        os.close(handle)


def lock(handle: int, wait: bool = False) -> bool | None:
    """Whether the lock of an open file is ours now; None where the file system has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _user() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else 0


def _write_error(error: Exception, work: Path) -> int | None:
    """The error number of a failed write in `work`; None of any other error."""
    text = str(error)
    if isinstance(error, OSError):
        inside = error.filename is not None and os.fspath(work) in os.fsdecode(error.filename)
        return error.errno if error.errno in _DISK or (inside and error.errno) else None
    if isinstance(error, SafetensorError):
        found = re.search(r"serializing.*\(os error (\d+)\)", text)
        return int(found[1]) if found else None
    return errno.EIO if "inline_container" in text or "PytorchStreamWriter" in text else None  # of torch.save
