"""What `hf-zsar embed` can be pointed at, as a list of videos, and how a worker gets at each of them.

====================================  ===============================================================================
files, folders, patterns, URLs        as everywhere
`.json`, `.jsonl`, `.csv`, `.tsv`     manifests and tables with `file` (or `video`, `path`) and `label`
`.txt`                                a path or URL a line; blank lines and those that start with `#` do not count
`.parquet`                            a table with a column `video`, `url`, `path`, `file` or `source`
`.tar`                                a webdataset shard: each video in it
`s3://...`, `gs://...`, `memory://`   what fsspec opens: a file, a folder (it ends in `/`) or a pattern
`datasets://OWNER/NAME[/SPLIT]`       a data set of the Hub (`datasets:///FOLDER/SPLIT`: of this machine)
====================================  ===============================================================================

A video is named by one string, which says where it is to every machine that can reach it.
"""

from __future__ import annotations

import functools
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hf_zsar.clips.folders import has_video_suffix, is_junk
from hf_zsar.clips.lists import is_text, locate, read_list
from hf_zsar.clips.tables import read_lines
from hf_zsar.errors import sentence
from hf_zsar.modeling.modeling_zsar import fingerprint_of
from hf_zsar.processing.urls import is_url, redacted
from hf_zsar.processing.video_archives import ARCHIVES, SCHEME, STORES
from hf_zsar.processing.video_sources import VideoReadError

from .store import VideoFile, file_signature


_DATASET = "datasets://"
_COLUMNS = ("video", "url", "path", "file", "source", "mp4", "webm", "avi", "mkv", "mov")


class SourceError(ValueError):
    """A source that names no videos."""


def video_files(arguments: Sequence[str], plain: Callable[[Sequence[str]], list[str]]) -> list[VideoFile]:
    """The videos of sources, in order, each once.

    Args:
        plain: files, folders, patterns and http(s) URLs -> paths.

    Raises:
        SourceError: a list, shard or data set that names no video, or cannot be read.
    """
    found: dict[str, VideoFile] = {}
    for argument in arguments:
        kind = next((kind for kind, is_one in _KINDS.items() if is_one(argument)), None)
        videos = [_file(path) for path in plain([argument])] if kind is None else _named(argument, kind)
        for video in videos:
            found.setdefault(video.id, video)
    return list(found.values())


def readable(video: VideoFile) -> Any:
    """What a video processor reads of a video.

    Raises:
        VideoReadError: it cannot be had.
    """
    source = video.source
    try:
        if video.span is not None:
            return {"path": source, "bytes": _slice(source.partition("::")[2], *video.span)}
        if source.startswith(_DATASET):
            name, _, number = source.removeprefix(_DATASET).rpartition("/")
            dataset, column = _dataset(name)
            value = dataset[int(number)][column]
            value = {"bytes": value} if isinstance(value, bytes) else value
            return {"path": source, "bytes": value["bytes"]} if value.get("bytes") else value
    except Exception as error:  # every file system has its own, with no base in common
        raise VideoReadError(f"{redacted(source)}: {sentence(error)}") from error
    return {"path": source} if _is_remote(source) else source


def _named(argument: str, kind: Callable[[str], Iterator[VideoFile]]) -> list[VideoFile]:
    try:
        videos = list(kind(argument))
    except Exception as error:  # of file systems, `datasets` and Arrow, which have no base in common
        reason = redacted(sentence(error))
        raise SourceError(f"{redacted(argument)} cannot be read as a source of videos: {reason}") from error
    if not videos:
        raise SourceError(f"{redacted(argument)} names no video.")
    return videos


def _file(path: str) -> VideoFile:
    return VideoFile(path, path, file_signature(path))


def _of_text(path: str) -> Iterator[VideoFile]:
    for line in map(str.strip, read_lines(path)):
        if line and not line.startswith("#"):
            yield _file(line if is_url(line) else locate(Path(path).parent, line))


def _of_list(path: str) -> Iterator[VideoFile]:
    for file in read_list(Path(path), Path(path).parent)[0]:
        yield _file(file.path)


def _of_parquet(path: str) -> Iterator[VideoFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        texts = [name for name in _COLUMNS if name in schema.names and pa.types.is_string(schema.field(name).type)]
        if not texts:
            raise SourceError(f"no column of texts among {', '.join(_COLUMNS)}; for videos in shards: {_DATASET}")
        for batch in file.iter_batches(columns=texts[:1]):
            for name in batch.column(0).to_pylist():
                if name:
                    yield _file(name if is_url(name) else locate(Path(path).parent, name))


def _of_tar(path: str) -> Iterator[VideoFile]:
    """Videos in a shard, which are read by their places in it."""
    whole = _signature(path)
    with _opened(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            if member.isfile() and has_video_suffix(member.name) and is_text(member.name):
                name, span = f"tar://{member.name}::{path}", (member.offset_data, member.size)
                yield VideoFile(name, name, f"{member.size}-{fingerprint_of(whole, str(span))[:16]}", span)


def _of_store(url: str) -> Iterator[VideoFile]:
    """What fsspec finds behind a URL. One that names a single file is a video whether or not it is there now."""
    import fsspec

    if not url.endswith("/") and "*" not in url:
        yield VideoFile(url, url, _signature_there(url))
        return
    files, path = fsspec.core.url_to_fs(url)
    for name, info in sorted((files.find if url.endswith("/") else files.glob)(path, detail=True).items()):
        inside = name.removeprefix(path.partition("*")[0]).split("/")
        if has_video_suffix(name) and not any(is_junk(part) for part in inside if part):
            address = files.unstrip_protocol(name)
            yield VideoFile(address, address, f"{info.get('size') or 0}-{files.ukey(name)[:16]}")


def _signature_there(url: str) -> str:
    try:
        return _signature(url)
    except Exception:  # noqa: BLE001 - said when the video is read
        return ""


def _of_dataset(url: str) -> Iterator[VideoFile]:
    name = url.removeprefix(_DATASET)
    name = name if _has_split(name) else f"{name}/train"
    for number in range(len(_dataset(name)[0])):
        yield VideoFile(f"{_DATASET}{name}/{number}", f"{_DATASET}{name}/{number}")


def _has_split(name: str) -> bool:
    return not os.path.isdir(name) if name.startswith("/") else name.count("/") > 1


@functools.lru_cache(maxsize=8)
def _dataset(name: str) -> tuple[Any, str]:
    """A data set with its videos undecoded, and the column that they are in."""
    from datasets import Video, load_dataset

    path, _, split = name.rpartition("/")
    dataset = load_dataset(path, split=split)
    columns = [name for name, kind in dataset.features.items() if isinstance(kind, Video)]
    columns += [name for name in _COLUMNS if name in dataset.features]
    if not columns:
        raise SourceError(f"no column of videos among {', '.join(dataset.features)}.")
    if isinstance(dataset.features[columns[0]], Video):
        dataset = dataset.cast_column(columns[0], Video(decode=False))
    return dataset, columns[0]


def _is_remote(source: str) -> bool:
    """Whether fsspec opens it."""
    scheme = SCHEME.match(source)
    return scheme is not None and scheme[1].lower() in {*ARCHIVES, *STORES}


def _opened(path: str) -> Any:
    import fsspec

    return fsspec.open(path, "rb").open() if is_url(path) else open(path, "rb")


def _signature(path: str) -> str:
    import fsspec

    if not is_url(path):
        return file_signature(path)
    files, inner = fsspec.core.url_to_fs(path)
    return f"{files.info(inner).get('size') or 0}-{files.ukey(inner)[:16]}"


def _slice(path: str, start: int, size: int) -> bytes:
    with _opened(path) as file:
        file.seek(start)
        return file.read(size)


def _ends(*suffixes: str) -> Callable[[str], bool]:
    return lambda argument: argument.lower().endswith(suffixes) and (is_url(argument) or os.path.isfile(argument))


_KINDS: dict[Callable[[str], Iterator[VideoFile]], Callable[[str], bool]] = {
    _of_dataset: lambda argument: argument.startswith(_DATASET),
    _of_tar: _ends(".tar"),
    _of_text: _ends(".txt"),
    _of_list: _ends(".json", ".jsonl", ".csv", ".tsv"),
    _of_parquet: _ends(".parquet"),
    _of_store: _is_remote,
}
