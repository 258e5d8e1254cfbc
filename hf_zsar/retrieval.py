"""Text-to-video retrieval: the features of many videos as one file, ranked by any text."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .files import replacing
from .modeling.modeling_zsar import LabelBank, ModelIdentity, VideoFeatures


if TYPE_CHECKING:
    from .modeling.modeling_zsar import ZSARPreTrainedModel

FORMAT = "hf_zsar/video-index/1"


@dataclass(frozen=True)
class VideoIndex:
    """Features of N videos, ready to be scored against any text.

    Args:
        videos: their N paths or names.
        features: what the model scores with; every tensor has the videos as its first axis.
        fingerprint: `str(model.identity())` of the model that made them.
    """

    videos: tuple[str, ...]
    features: VideoFeatures
    fingerprint: str

    def __post_init__(self) -> None:
        rows = len(self.features.video_embeds)
        if rows != len(self.videos):
            raise ValueError(f"{rows} rows of features for {len(self.videos)} videos: an index needs one row each.")

    def __len__(self) -> int:
        return len(self.videos)

    @torch.inference_mode()
    def search(self, model: ZSARPreTrainedModel, bank: LabelBank, batch_size: int = 64) -> torch.Tensor:
        """Score every video against every text of a bank.

        Args:
            bank: the texts, `model.encode_labels(**processor.prepare_labels(texts), labels=texts)`.
            batch_size: videos scored at once.

        Returns:
            Logits `[K, N]`, float32 on the CPU: comparable along a row (one text, all videos).

        Raises:
            ValueError: the features come from another model.
        """
        model.identity().check(ModelIdentity.parse(self.fingerprint), "The index of videos")
        device = model.device
        rows = []
        for start in range(0, len(self), batch_size):
            part = self.features.select(slice(start, start + batch_size)).to(device)
            rows.append(model.score(part, bank.to(device)).float().cpu())
        return torch.cat(rows).T

    def save(self, path: str | os.PathLike) -> None:
        """Write one safetensors file; the names are in its header. Replaces atomically."""
        metadata = {
            "format": FORMAT,
            "videos": json.dumps(self.videos, ensure_ascii=False),
            "weights": self.fingerprint,
        }
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.features.items()}
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)

    @classmethod
    def load(cls, path: str | os.PathLike) -> VideoIndex:
        """Read a file written by [`~VideoIndex.save`].

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file is no index of videos, or is damaged.
        """
        if not os.path.isfile(path):
            raise FileNotFoundError(f"There is no file {os.fspath(path)}.")
        try:
            with safe_open(os.fspath(path), framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except SafetensorError as error:
            raise ValueError(f"{os.fspath(path)} cannot be read as safetensors: {error}.") from error
        if metadata.get("format") != FORMAT:
            raise ValueError(f"{os.fspath(path)} is no index of videos (`hf-zsar embed` makes one).")
        return cls(tuple(json.loads(metadata["videos"])), VideoFeatures(**tensors), metadata["weights"])
