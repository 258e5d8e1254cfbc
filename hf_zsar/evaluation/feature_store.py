"""Video features on disk: each video is decoded and encoded once, for all splits, label sets and later runs.

A store is a folder of safetensors shards. Its name is a digest of all that a feature depends on besides the video:
weights and configuration, frame sampling and preprocessing, number type. A video is known by its clip id and a
signature of its file, so a replaced file is encoded again. Shards are written under a temporary name and renamed, so a
killed run leaves whole shards only; the next run goes on from them.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hf_zsar.modeling.modeling_zsar import VideoFeatures

from .protocols import digest


FORMAT = "hf_zsar/features/1"
_SAMPLE = 16384


def file_signature(path: str | os.PathLike) -> str:
    """Size and a digest of the first, middle and last 16 KiB: notices a replaced file, cheap on a network disk."""
    size = os.path.getsize(path)
    found = hashlib.blake2b(digest_size=8)
    with open(path, "rb") as file:
        for start in sorted({0, max(0, size // 2 - _SAMPLE // 2), max(0, size - _SAMPLE)}):
            file.seek(start)
            found.update(file.read(_SAMPLE))
    return f"{size}-{found.hexdigest()}"


@dataclass(frozen=True)
class ClipFile:
    """A video to encode: the clip's id, its file, and the signature of that file."""

    clip: str
    path: str
    signature: str

    @property
    def key(self) -> str:
        """What the store knows the video by."""
        return f"{self.clip}\t{self.signature}"


class FeatureStore:
    """Features by clip, in one folder.

    Args:
        root: folder of all stores; this one is a sub-folder named by `settings`.
        settings: all that a feature depends on besides the video; JSON values.
        name: prefix of the folder, for people.

    Attributes:
        notes: file key -> what was wrong with a video of which only a part could be read.
    """

    def __init__(self, root: str | os.PathLike, settings: Mapping[str, Any], name: str = "features") -> None:
        self.settings = {"format": FORMAT, **settings}
        self.folder = Path(root) / f"{name}-{digest(self.settings)}"
        self.notes: dict[str, str] = {}
        self._rows: dict[str, tuple[Path, int]] = {}

    def open(self) -> FeatureStore:
        """Make the folder, remove what killed processes left, and read what is there. One process calls this."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()
        about = self.folder / "about.json"
        if not about.exists():
            temporary = self._temporary("about.json")
            temporary.write_text(
                json.dumps(self.settings, indent=1, ensure_ascii=False, default=str), encoding="utf-8"
            )
            os.replace(temporary, about)
        self.refresh()
        return self

    def refresh(self) -> None:
        """Read the shards' headers again. A shard that cannot be read is named in a warning and not used."""
        self._rows, self.notes = {}, {}
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                with safe_open(path, framework="pt") as shard:
                    about = shard.metadata() or {}
                keys, notes = json.loads(about["clips"]), json.loads(about["notes"])
            except (SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
                warnings.warn(f"{path} cannot be read ({error}); its videos are encoded again.", stacklevel=2)
                continue
            for row, key in enumerate(keys):
                self._rows.setdefault(key, (path, row))
            self.notes.update(notes)

    def __contains__(self, file: ClipFile) -> bool:
        return file.key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def write(
        self, files: Sequence[ClipFile], features: VideoFeatures, notes: Mapping[str, str] | None = None
    ) -> None:
        """Add the features of some videos (leading axis: the files in order) as one shard, atomically.

        `notes`: file key -> what was wrong with a video that was only partly readable.
        """
        keys = [file.key for file in files]
        path = self.folder / f"{digest(keys)}.safetensors"
        temporary = self._temporary(path.name)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in features.items()}
        # The bytes must be on the disk before the name is: a shard with a name is whole, whatever happens.
        about = {"format": FORMAT, "clips": json.dumps(keys), "notes": json.dumps(dict(notes or {}))}
        try:
            save_file(tensors, temporary, metadata=about)
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        self._rows.update({key: (path, row) for row, key in enumerate(keys)})
        self.notes.update(notes or {})

    def read(self, files: Sequence[ClipFile]) -> VideoFeatures:
        """The features of some videos, in order.

        Raises:
            KeyError: a video that is not in the store.
        """
        places = [self._rows[file.key] for file in files]
        columns: dict[str, list[torch.Tensor]] = {}
        opened: dict[Path, Any] = {}
        try:
            for path, row in places:
                if path not in opened:
                    opened[path] = safe_open(path, framework="pt").__enter__()
                for name in opened[path].keys():
                    columns.setdefault(name, []).append(opened[path].get_slice(name)[row : row + 1])
        finally:
            for shard in opened.values():
                shard.__exit__(None, None, None)
        return VideoFeatures(**{name: torch.cat(parts) for name, parts in columns.items()})

    def _temporary(self, name: str) -> Path:
        return self.folder / f".{name}.{socket.gethostname()}.{os.getpid()}.tmp"

    def _remove_leftovers(self) -> None:
        """Delete temporary files of processes of this machine that are gone."""
        for path in self.folder.glob(f".*.{socket.gethostname()}.*.tmp"):
            process = path.name.split(".")[-2]
            if process.isdigit() and not _is_alive(int(process)):
                path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
