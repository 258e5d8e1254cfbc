"""The rigorous training set: which training classes are too close to a test class (card of ResT, S6).

E2E's rule (arXiv 2003.01455, code): a training class is dropped when the cosine distance of its name to any test class
falls below 0.05. Names are embedded by whatever callable is given; without one, classes whose names are the same words
are dropped, which is weaker.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from hf_zsar.files import write_json
from hf_zsar.processing.prompts import clean_label


logger = logging.getLogger(__name__)

# Names -> one row per name.
ClassEmbedder = Callable[[list[str]], np.ndarray]

THRESHOLD = 0.05


@dataclass(frozen=True)
class Overlap:
    """What the filter decided.

    Args:
        kept: training classes in their order: the `seen_class_names` of a rigorous model.
        dropped: training class -> (closest test class, cosine distance).
        rule: how it was decided, for the record.
    """

    kept: tuple[str, ...]
    dropped: Mapping[str, tuple[str, float]]
    rule: str

    def save(self, path: str | os.PathLike) -> None:
        """Write a JSON file, whole or not at all."""
        write_json(path, asdict(self))


def filter_overlap(
    train_classes: Sequence[str],
    test_classes: Sequence[str],
    embed: ClassEmbedder | None = None,
    threshold: float = THRESHOLD,
) -> Overlap:
    """Drop the training classes that are too close to a test class; what is dropped is logged.

    Args:
        train_classes, test_classes: names in any published spelling; they are cleaned and lower-cased first.
        embed: cleaned names -> vectors `[N, D]`, one per name, any scale. `None` compares words instead.
        threshold: cosine distance; a class at exactly the threshold stays.

    Raises:
        ValueError: no classes, or an embedder that gives another number of rows.
    """
    if not train_classes or not test_classes:
        raise ValueError("Both class lists need at least one name.")
    if embed is None:
        distance = np.array([[float(_words(seen) != _words(test)) for test in test_classes] for seen in train_classes])
        rule = "same words"
    else:
        distance = 1 - _unit(embed, train_classes) @ _unit(embed, test_classes).T
        rule = f"cosine distance below {threshold:g}"
    closest = distance.argmin(axis=1)
    dropped = {
        name: (test_classes[closest[row]], round(float(distance[row, closest[row]]), 6))
        for row, name in enumerate(train_classes)
        if distance[row, closest[row]] < threshold
    }
    for name, (test, value) in dropped.items():
        logger.info("dropped %r: %.4f from %r", name, value, test)
    return Overlap(tuple(name for name in train_classes if name not in dropped), dropped, rule)


def mean_word_embedder(vectors: Mapping[str, np.ndarray]) -> ClassEmbedder:
    """E2E's embedding of a class: the mean of its words' unit vectors.

    Words without a vector are left out; a name of which no word has one gets a vector far from all (zeros).
    """
    dim = len(next(iter(vectors.values())))

    def embed(names: list[str]) -> np.ndarray:
        rows = []
        for name in names:
            known = [vectors[word] for word in name.split() if word in vectors]
            if not known:
                logger.warning("no word of %r has a vector", name)
            rows.append(np.mean([v / np.linalg.norm(v) for v in known], axis=0) if known else np.zeros(dim))
        return np.stack(rows)

    return embed


def read_word_vectors(path: str | os.PathLike, words: set[str] | None = None) -> dict[str, np.ndarray]:
    """Vectors in the text format of word2vec and GloVe: a word and its numbers a line, an optional header line.

    Args:
        words: read only these.

    Raises:
        ValueError: a line that is none, with its number.
    """
    vectors: dict[str, np.ndarray] = {}
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            word, *numbers = line.rstrip().split(" ")
            if number == 1 and len(numbers) == 1:
                continue  # word2vec's header: number of words, size
            if words is not None and word not in words:
                continue
            try:
                vectors[word] = np.array([float(value) for value in numbers], dtype=np.float32)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: expected a word and its numbers.") from error
            if len(vectors[word]) != len(next(iter(vectors.values()))) or not numbers:
                raise ValueError(f"{path}, line {number}: {len(numbers)} numbers, other lines have more or fewer.")
    if not vectors:
        raise ValueError(f"{path} has no vector for any of the words asked for.")
    return vectors


def _words(name: str) -> list[str]:
    return sorted(clean_label(name).lower().split())


def _unit(embed: ClassEmbedder, names: Sequence[str]) -> np.ndarray:
    rows = np.asarray(embed([clean_label(name).lower() for name in names]), dtype=np.float64)
    if rows.ndim != 2 or len(rows) != len(names):
        raise ValueError(f"The embedder gave an array of shape {rows.shape} for {len(names)} names.")
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
