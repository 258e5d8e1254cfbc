"""A sparse cache of frames: a few candidate frames of every video as JPEG, in Parquet shards.

Epochs after the first read like a dump of all frames as JPEG, at a small part of its size. Training draws its frames
out of the candidates, one from each of as many equal segments as it wants frames.
"""

from __future__ import annotations

import glob
import io
import logging
import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from hf_zsar.files import is_empty, remove_leftovers, replacing, write_json
from hf_zsar.processing.text_files import read_json
from hf_zsar.processing.video_reading import VideoReadError, open_video
from hf_zsar.processing.video_transforms import channels_first, resize

from .datasets import VideoDatasetError


if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

INDEX = "frame-cache.json"
FORMAT = "hf_zsar/frame-cache/1"


def build_frame_cache(
    dataset: Dataset,
    folder: str | os.PathLike,
    *,
    num_frames: int = 32,
    short_side: int = 256,
    quality: int = 90,
    shard_size: int = 512,
    workers: int = 0,
    on_error: str = "raise",
) -> list[str]:
    """Write the cache of a data set of `load_video_dataset`; `load_video_dataset(folder)` opens it.

    A second call goes on where a killed one stopped; each shard is whole or not there.

    Args:
        dataset: with `video`, `label` and `index`.
        num_frames: candidates of a video, at the centers of as many equal segments.
        short_side: of a frame in pixels; smaller ones stay as they are.
        quality: of the JPEGs.
        shard_size: videos in a shard.
        workers: processes that decode; 0 is this one.
        on_error: `"raise"`, or `"skip"` a video that cannot be read, with a warning.

    Returns:
        what was skipped, one message each.

    Raises:
        VideoReadError: a video that cannot be read (`on_error="raise"`).
        VideoDatasetError: the folder holds the cache of something else.
    """
    folder = Path(folder)
    settings = {"num_frames": num_frames, "short_side": short_side, "quality": quality, "shard_size": shard_size}
    paths = [row["video"]["path"] for row in dataset.select_columns(["video"])]
    _claim(folder, {"format": FORMAT, **settings, "labels": dataset.features["label"].names, "videos": paths})
    skipped: list[str] = []
    starts = range(0, len(dataset), shard_size)
    for number, start in enumerate(tqdm(starts, unit="shard", disable=None)):
        shard = folder / f"frames-{number:05d}.parquet"
        if shard.exists():
            continue
        rows = [dataset[i] for i in range(start, min(start + shard_size, len(dataset)))]
        results = _decode_all(rows, (num_frames, short_side, quality), workers)
        good = []
        for row, result in zip(rows, results, strict=True):
            if isinstance(result, str):
                if on_error == "raise":
                    raise VideoReadError(result)
                logger.warning("skipped: %s", result)
                skipped.append(result)
            else:
                good.append({"frames": result, "label": row["label"], "index": row["index"]})
        _write(good, dataset.features["label"], shard)
    return skipped


def _claim(folder: Path, index: dict[str, Any]) -> None:
    path = folder / INDEX
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        if read_json(path) != index:
            raise VideoDatasetError(f"{folder} is the cache of other videos or settings: choose another folder.")
    elif not is_empty(folder):
        raise VideoDatasetError(f"{folder} is not empty and no frame cache: choose another folder.")
    else:
        write_json(path, index, indent=None)
    remove_leftovers(folder)


def _decode_all(rows: Sequence[dict[str, Any]], settings: tuple[int, int, int], workers: int) -> list[Any]:
    if not workers:
        return [candidate_frames(row["video"], *settings) for row in rows]
    with ProcessPoolExecutor(workers, initializer=_end_with_parent) as pool:
        return list(pool.map(candidate_frames, [row["video"] for row in rows], *([s] * len(rows) for s in settings)))


def _end_with_parent() -> None:
    """A worker whose parent is killed would wait for work for ever."""

    def wait() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def candidate_frames(video: dict[str, Any], num_frames: int, short_side: int, quality: int) -> list[bytes] | str:
    """JPEGs of evenly spread frames of one video, or the message that says why there are none."""
    try:
        with open_video(video) as reader:
            total = len(reader.timestamps)
            wanted = np.unique(((np.arange(num_frames) + 0.5) * total / num_frames).astype(int))
            frames = channels_first(reader.read_indices(wanted).frames)
    except VideoReadError as error:
        return str(error)
    if min(frames.shape[-2:]) > short_side:
        frames = resize(frames, {"shortest_edge": short_side}, "bicubic", True)
    return [_jpeg(frame.permute(1, 2, 0).numpy(), quality) for frame in frames]


def _jpeg(frame: np.ndarray, quality: int) -> bytes:
    data = io.BytesIO()
    Image.fromarray(frame).save(data, "JPEG", quality=quality)
    return data.getvalue()


def _write(rows: list[dict[str, Any]], label: Any, shard: Path) -> None:
    from datasets import Dataset, Features, Value
    from datasets import List as ListOf

    features = Features({"frames": ListOf(Value("binary")), "label": label, "index": Value("int64")})
    columns = {name: [row[name] for row in rows] for name in features}
    with replacing(shard) as temporary:
        Dataset.from_dict(columns, features=features).to_parquet(temporary)


def is_frame_cache(folder: Path) -> bool:
    """Whether a folder is a cache of `build_frame_cache`."""
    return (folder / INDEX).is_file()


def load_frame_cache(folder: Path, streaming: bool = False) -> Any:
    """A cache as a data set of `frames` (JPEG bytes), `label` and `index`.

    Raises:
        VideoDatasetError: a cache that was not written to its end.
    """
    from datasets import load_dataset

    index = read_json(folder / INDEX)
    try:
        wanted = -(-len(index["videos"]) // int(index["shard_size"]))
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise VideoDatasetError(f"{folder / INDEX} is not an index of a frame cache: make the cache again.") from error
    shards = sorted(str(path) for path in folder.glob("frames-*.parquet"))
    if len(shards) != wanted:
        raise VideoDatasetError(
            f"{folder} has {len(shards)} of {wanted} shards: run hf-zsar cache again to finish it."
        )
    data_files = {"train": [glob.escape(shard) for shard in shards]}  # `datasets` takes names for patterns
    return load_dataset("parquet", data_files=data_files, split="train", streaming=streaming)
