"""What a person should know about a description file: schema problems, gaps, texts that are too long."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hf_zsar.processing.action_graph import ActionGraph
from hf_zsar.processing.description_documents import read_description_file
from hf_zsar.processing.description_schemas import SCHEMAS, iter_problems
from hf_zsar.processing.descriptions import SCHEMA_IDS, DescriptionError, Descriptions


# The longest text of the CLIP text towers, start and end token included.
TOKEN_LIMIT = 77


@dataclass
class Review:
    """The findings: `errors` make a file unusable, `remarks` do not."""

    descriptions: Descriptions | None = None
    errors: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """One line about the content."""
        if self.descriptions is None:
            return "not usable"
        counts = [size_of(entry.value) for entry in self.descriptions.classes.values()]
        unit = "attributes" if self.descriptions.kind == "attributes" else "clauses"
        return (
            f"{len(counts)} classes, {min(counts)} to {max(counts)} {unit} each, mean {sum(counts) / len(counts):.1f}"
        )


def size_of(value: tuple[str, ...] | ActionGraph) -> int:
    """Number of attributes, or of clauses."""
    return len(value.clause_list()) if isinstance(value, ActionGraph) else len(value)


def review_file(
    path: str | os.PathLike,
    labels: Sequence[str] = (),
    kind: str | None = None,
    count_tokens: Callable[[str], int] | None = None,
) -> Review:
    """Check a file against its schema, against labels, and against the length that a text tower reads.

    Args:
        labels: classes that should be in it.
        kind: what it should be.
        count_tokens: length of a text in tokens, start and end included; without it lengths are not checked.

    Raises:
        DescriptionError: no such file, or not JSON.
    """
    data = read_description_file(path)
    try:
        descriptions = Descriptions.from_dict(data, kind, source=os.fspath(path))
        if kind:
            descriptions.require(kind)
    except DescriptionError as error:
        return Review(errors=str(error).splitlines())
    result = review(descriptions, labels, count_tokens)
    if data.get("schema") in SCHEMA_IDS.values():  # what loading repairs is worth a remark
        repaired = [f"repaired when loaded: {problem}" for problem in iter_problems(data, SCHEMAS[descriptions.kind])]
        result.remarks[:0] = repaired
    return result


def review(
    descriptions: Descriptions, labels: Sequence[str] = (), count_tokens: Callable[[str], int] | None = None
) -> Review:
    """The same for descriptions that are loaded already."""
    result = Review(descriptions)
    _compare_labels(result, descriptions, labels)
    _look_for_gaps(result, descriptions)
    if count_tokens is not None:
        _measure(result, descriptions, count_tokens)
    return result


def _compare_labels(review: Review, descriptions: Descriptions, labels: Sequence[str]) -> None:
    found: set[str] = set()
    for label in labels:
        try:
            key = descriptions.find(label)
        except DescriptionError as error:
            review.errors.append(str(error))
            continue
        if key is None:
            review.errors.append(f"no entry for the label {label!r}")
        else:
            found.add(key)
    extra = [key for key in descriptions if labels and key not in found]
    if extra:
        review.remarks.append(f"{len(extra)} entries that no label asks for: {_some(extra)}")


def _look_for_gaps(review: Review, descriptions: Descriptions) -> None:
    empty = [key for key, entry in descriptions.classes.items() if not size_of(entry.value)]
    if empty:
        review.remarks.append(f"{len(empty)} classes are known by their name alone: {_some(empty)}")
    if descriptions.kind == "attributes":
        wanted = descriptions.num_attributes
        short = [key for key, entry in descriptions.classes.items() if 0 < len(entry.value) < wanted]
        if short:
            review.remarks.append(f"{len(short)} classes have fewer than {wanted} attributes: {_some(short)}")


def _measure(review: Review, descriptions: Descriptions, count_tokens: Callable[[str], int]) -> None:
    long = [
        key
        for key, entry in descriptions.classes.items()
        if max((count_tokens(text) for text in _longest_texts(key, entry.value)), default=0) > TOKEN_LIMIT
    ]
    if long:
        review.remarks.append(
            f"{len(long)} classes have texts over {TOKEN_LIMIT} tokens, which get cut: {_some(long)}"
        )


def _longest_texts(key: str, value: tuple[str, ...] | ActionGraph) -> list[str]:
    if isinstance(value, ActionGraph):
        return [f"This is an example of {value.action}, {clause}." for clause in value.clause_list()]
    return ["This is a video about " + ", ".join(value)]


def _some(names: Sequence[str], limit: int = 8) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
