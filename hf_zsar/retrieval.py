"""Text-to-video retrieval: the features of many videos, ranked by any text."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .features.store import FeatureStore, Header, StoreError, VideoFile, check_identity
from .files import replacing_folder
from .modeling.modeling_zsar import LabelBank, VideoFeatures


if TYPE_CHECKING:
    from .modeling.modeling_zsar import ZSARPreTrainedModel


@dataclass(frozen=True)
class VideoIndex:
    """Features of N videos in memory, ready to be scored against any text. A store too large for that is scored by
    [`search_store`].

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

    def search(self, model: ZSARPreTrainedModel, bank: LabelBank, batch_size: int = 64) -> torch.Tensor:
        """Score every video against every text of a bank, each text by itself.

        Args:
            bank: the texts, `model.build_label_bank(processor, texts)`.
            batch_size: videos scored at once.

        Returns:
            Logits `[K, N]`, float32 on the CPU: comparable along a row (one text, all videos).

        Raises:
            ValueError: the features come from another model.
        """
        check_identity(model, self.fingerprint, "The index of videos")
        starts = range(0, len(self), batch_size)
        return _logits(model, bank, (self.features.select(slice(start, start + batch_size)) for start in starts))

    def save(self, folder: str | os.PathLike) -> None:
        """Write a feature store, whole or not at all; an older store of that name is replaced.

        Raises:
            OSError: it cannot be written, or something else has its name.
        """
        overwrite = os.path.isfile(os.path.join(folder, "features.json"))
        with replacing_folder(folder, overwrite) as temporary:
            store = FeatureStore.claim(temporary, Header({"identity": self.fingerprint}, {}))
            videos = [VideoFile(name, name) for name in self.videos]
            store.write([video.row for video in videos], self.features, videos)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> VideoIndex:
        """Read a feature store: what `hf-zsar embed --out` or [`~VideoIndex.save`] wrote.

        Raises:
            FileNotFoundError: no such folder.
            ValueError: the folder is not a store, or is damaged, or empty.
        """
        store = FeatureStore.open(folder)
        rows = store.rows
        if not rows:
            raise StoreError(f"{folder} holds no video.")
        return cls(tuple(row.id for row in rows), store.read(rows), store.header.model["identity"])


def search_store(
    store: FeatureStore, model: ZSARPreTrainedModel, bank: LabelBank, batch_size: int = 64
) -> torch.Tensor:
    """As [`VideoIndex.search`], for the rows of a store, which is read part by part."""
    store.check_model(model)
    return _logits(model, bank, (features for _, features in store.batches(batch_size)))


@torch.inference_mode()
def _logits(model: ZSARPreTrainedModel, bank: LabelBank, batches: Iterable[VideoFeatures]) -> torch.Tensor:
    # A method may score a label by its share among all that are asked for; here each is asked for by itself.
    texts = [bank.select([row]).to(model.device) for row in range(len(bank))]
    identity, parts = model.identity(), []
    for features in batches:
        features = features.to(model.device, model.dtype)
        parts.append(torch.cat([model.score(features, text, identity).float().cpu() for text in texts], dim=1))
    return torch.cat(parts).T if parts else torch.zeros(len(bank), 0)
