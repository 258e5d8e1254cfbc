"""Data sets whose rows say what they are judged against, so that one collator serves all data sets of a `Trainer`."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset, IterableDataset

from hf_zsar.clips.datasets import VideoDatasetError


VIDEO_COLUMNS = ("video", "frames")
LABEL_COLUMNS = ("label", "labels")
_SHOWN = 40  # class names that a message lists at most


@dataclass(frozen=True, eq=False)
class Example:
    """A row of [`with_candidates`]. No mapping, because `Trainer` would take its parts for columns and drop them.

    Args:
        row: `video` (whatever the processor reads) or `frames` (JPEG bytes, see the frame cache), and perhaps `index`,
            the key of its random draws.
        label: position of its class in `candidates`.
        candidates: the names of the classes.
        training: whether frames, crops and templates are drawn at random, and the loss chooses its candidates.
    """

    row: Mapping[str, Any]
    label: int
    candidates: tuple[str, ...]
    training: bool


class _WithCandidates:
    def __init__(self, dataset: Any, rows: _RowMaker) -> None:
        self.dataset, self._rows = dataset, rows

    @property
    def candidates(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the predictions' columns."""
        return self._rows.candidates

    @property
    def training(self) -> bool:
        """Whether its rows are for training."""
        return self._rows.training


class CandidateRows(_WithCandidates, Dataset):
    """A data set with a length, each row an [`Example`]; made by [`with_candidates`]."""

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Example:
        return self._rows(self.dataset[int(index)])


class CandidateStream(_WithCandidates, IterableDataset):
    """A data set without a length, each row an [`Example`]; made by [`with_candidates`]."""

    def set_epoch(self, epoch: int) -> None:
        """Shuffle otherwise than in other epochs, where the data set shuffles."""
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[Example]:
        """
        Raises:
            VideoDatasetError: an evaluation in several processes, which would fill the last batches with videos that
                were counted already.
        """
        if not self.training and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise VideoDatasetError(
                "A data set without a length cannot be evaluated in several processes, where some of its videos would "
                "count twice: load it without streaming, or evaluate in one process."
            )
        return map(self._rows, self.dataset)


def with_candidates(
    dataset: Any, names: Sequence[str] | None = None, *, training: bool = False
) -> CandidateRows | CandidateStream:
    """A data set for `Trainer`: every row brings the classes that it is judged against.

    In evaluation each video is scored against all of `names`, so that data sets with seen, unseen and both kinds of
    classes can be measured by one `Trainer`. Its option `remove_unused_columns` may stay as it is.

    Args:
        dataset: a `datasets.Dataset` or `IterableDataset`, a list of rows, or any torch data set of such rows, with a
            column `video` (a path, bytes, or `Video`) or `frames` (of a frame cache) and a column `label` (or
            `labels`): `ClassLabel`, whole numbers or names.
        names: the candidates in order. Default: those of the `ClassLabel`, else, where labels are names, all that
            occur, sorted. Numbers of a `ClassLabel` count in its own names, others in `names`.
        training: for `train_dataset`: frames, crops and templates are drawn anew in each epoch.

    Raises:
        VideoDatasetError: a column is missing, the classes are not known, or the data set has a class that is not
            among them.
    """
    if isinstance(dataset, Mapping):
        raise VideoDatasetError(f"There are several data sets here, {sorted(dataset)}: pass one of them.")
    if isinstance(dataset, (CandidateRows, CandidateStream)):
        raise VideoDatasetError("This data set has candidates already: pass the one that it was made of.")
    streamed = isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__")
    dataset = _undecoded(dataset)
    own, present = None, []
    if columns := _columns(dataset):
        find_column(columns, VIDEO_COLUMNS, "video")
        label = find_column(columns, LABEL_COLUMNS, "label")
        own = getattr(columns[label], "names", None)
        present = _present(dataset, label)
        if own is None and names is None and present and all(isinstance(each, str) for each in present):
            names = sorted(present)
    candidates = own if names is None else names
    if candidates is None:
        raise VideoDatasetError("The data set does not say its classes: pass names=[...], the candidates in order.")
    rows = _RowMaker(_checked(candidates), own, training)
    for each in present:
        rows.position(each)
    return CandidateStream(dataset, rows) if streamed else CandidateRows(dataset, rows)


class _RowMaker:
    """A row of the data set -> [`Example`]. Sent to loader workers, so nothing but names."""

    def __init__(self, candidates: tuple[str, ...], own: Sequence[str] | None, training: bool) -> None:
        self.candidates, self.training = candidates, training
        self._own = tuple(own) if own is not None else None
        self._positions = {name: position for position, name in enumerate(candidates)}

    def __call__(self, row: Mapping[str, Any]) -> Example:
        video = find_column(row, VIDEO_COLUMNS, "video")
        label = find_column(row, LABEL_COLUMNS, "label")
        kept = {name: row[name] for name in (video, "index") if row.get(name) is not None}
        return Example(kept, self.position(row[label]), self.candidates, self.training)

    def position(self, label: Any) -> int:
        """Position of a label among the candidates.

        Raises:
            VideoDatasetError: it is not among them.
        """
        if isinstance(label, str):
            name: str | None = label
        else:
            number = class_number(label, len(self.candidates) if self._own is None else len(self._own))
            if self._own is None:
                return number
            name = self._own[number]
        if name not in self._positions:
            own = f" The data set's own classes are {listed(self._own)}." if self._own is not None else ""
            raise VideoDatasetError(
                f"The data set has videos of {name!r}, and the candidates are {listed(self.candidates)}.{own}"
            )
        return self._positions[name]


def class_number(label: Any, count: int) -> int:
    """A class id as a number below `count`.

    Raises:
        VideoDatasetError: it is none.
    """
    try:
        number = operator.index(label)
    except TypeError as error:
        raise VideoDatasetError(f"The label {label!r} is neither a class id nor a name.") from error
    if not 0 <= number < count:
        raise VideoDatasetError(f"The label {number} is not a class id: there are {count} classes, 0 to {count - 1}.")
    return number


def find_column(columns: Mapping[str, Any] | Sequence[str], choices: Sequence[str], what: str) -> str:
    """The first of `choices` that is a column.

    Raises:
        VideoDatasetError: none is.
    """
    for name in choices:
        if name in columns:
            return name
    raise VideoDatasetError(
        f"The data set has the columns {sorted(columns)}, and for the {what} none of {', '.join(choices)}: rename one "
        f'(dataset.rename_column(..., "{choices[0]}")).'
    )


def listed(names: Sequence[str]) -> str:
    """Class names for a message."""
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{names[:_SHOWN]}{more}"


def _checked(names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str) or not names or not all(isinstance(name, str) for name in names):
        raise VideoDatasetError(f"names must be a list of class names, got {names!r}.")
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise VideoDatasetError(f"names holds {listed(twice)} more than once.")
    return tuple(names)


def _columns(dataset: Any) -> Mapping[str, Any]:
    """Column -> its feature, or its value in the first row of a list; empty where only reading rows would tell."""
    if isinstance(dataset, (list, tuple)):
        return dataset[0] if dataset else {}
    return getattr(dataset, "features", None) or {}


def _present(dataset: Any, label: str) -> list[Any]:
    """The labels that occur, where that is known without reading videos."""
    if hasattr(dataset, "unique"):
        return dataset.unique(label)
    if isinstance(dataset, (list, tuple)):
        return list(dict.fromkeys(row[label] for row in dataset if label in row))
    return []


def _undecoded(dataset: Any) -> Any:
    """The data set with its videos as path or bytes: the workers' processor decodes the frames that it wants."""
    features = getattr(dataset, "features", None)
    for name, feature in (features or {}).items():
        if type(feature).__name__ == "Video" and getattr(feature, "decode", False):
            dataset = dataset.cast_column(name, type(feature)(decode=False))
    return dataset


__all__ = ["CandidateRows", "CandidateStream", "Example", "with_candidates"]
