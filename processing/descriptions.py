"""What is known about labels beyond their names: a file per label set, made offline, read when prompts are built.

Two kinds: `"attributes"`, the keyword lists of DA-STI (arXiv 2510.27255; card of DA-STI, S1 and R5), and `"graph"`,
the action graphs of STDD (arXiv 2412.09895; card of STDD, S6). Making such files is `hf-zsar describe`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from .clauses import Clauses
from .optional_parts import part
from .prompts import class_key


logger = logging.getLogger(__name__)

KINDS = ("attributes", "graph")
SCHEMA_IDS = {"attributes": "hf_zsar/description-attributes/1", "graph": "hf_zsar/action-graph/1"}


class DescriptionError(ValueError):
    """Descriptions that cannot be used. The message says where, what is wrong and what to do."""


@dataclass(frozen=True)
class ClassDescription:
    """One class of a file: `value` is its attributes or its graph; `meta` holds id, name and source texts as given."""

    value: Any  # tuple[str, ...] | ActionGraph, or its Clauses where there is no more (exports with code)
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Descriptions:
    """Descriptions of a label set, a value.

    Args:
        kind: `"attributes"` or `"graph"`.
        classes: entries by label, in file order.
        num_attributes: at most so many attributes of a class are kept (attributes only).
        dataset, language, generator: provenance, kept as given.
    """

    kind: str
    classes: Mapping[str, ClassDescription]
    num_attributes: int = 8
    dataset: str | None = None
    language: str = "en"
    generator: Mapping[str, Any] = field(default_factory=lambda: {"kind": "manual"})

    def __len__(self) -> int:
        return len(self.classes)

    def __iter__(self) -> Iterator[str]:
        return iter(self.classes)

    def __contains__(self, label: object) -> bool:
        return isinstance(label, str) and self.find(label) is not None

    # -- lookup ----------------------------------------------------------------------------------------------------

    def find(self, label: str) -> str | None:
        """The key of the entry for a label: the key itself, then its `name`, then their spellings (4.3, rule 3).

        Raises:
            DescriptionError: several entries answer to the label.
        """
        if label in self.classes:
            return label
        names, by_key = self._index
        keys = names.get(label) or by_key.get(class_key(label), [])
        if len(keys) > 1:
            raise DescriptionError(
                f"The label {label!r} fits several entries ({', '.join(map(repr, keys))}); ask for one of these "
                "keys, or give the entries different names."
            )
        return keys[0] if keys else None

    @cached_property
    def _index(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Keys by name, and by what the spellings of key and name meet in."""
        names: dict[str, list[str]] = {}
        by_key: dict[str, list[str]] = {}
        for key, entry in self.classes.items():
            name = entry.meta.get("name")
            if name is not None:
                names.setdefault(name, []).append(key)
            for spelling in {class_key(text) for text in (key, name) if text is not None}:
                by_key.setdefault(spelling, []).append(key)
        return names, by_key

    def for_label(self, label: str) -> Any:
        """The attributes or the graph of a label, None when there is no entry. Raises as `find`."""
        key = self.find(label)
        return None if key is None else self.classes[key].value

    def missing(self, labels: Iterable[str]) -> list[str]:
        """The labels without an entry."""
        return [label for label in labels if self.find(label) is None]

    def require(self, kind: str) -> Descriptions:
        """Self, if it is of this kind.

        Raises:
            DescriptionError: it is of the other kind.
        """
        if self.kind != kind:
            raise DescriptionError(
                f"These descriptions are of kind {self.kind!r} but the method reads {kind!r}; "
                f"make them with `hf-zsar describe --kind {kind}`."
            )
        return self

    # -- values ----------------------------------------------------------------------------------------------------

    @classmethod
    def of(cls, value: Descriptions | Mapping[str, Any] | str | os.PathLike, kind: str | None = None) -> Descriptions:
        """Descriptions out of what a user passes: the value itself, a mapping or the path of a file.

        Raises:
            DescriptionError: not usable, or not of the `kind` asked for.
        """
        if isinstance(value, (str, os.PathLike)):
            value = cls.load(value, kind)
        elif not isinstance(value, Descriptions):
            value = cls.from_dict(value, kind)
        return value.require(kind) if kind else value

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], kind: str | None = None, source: str = "") -> Descriptions:
        """Read a document, or the shorthand `{label: [attribute, ...]}` / `{label: {"clauses": {...}, ...}}`.

        Args:
            kind: what a shorthand means where it could be both (a list of clauses under `"graph"`).
            source: the name used in messages.

        Raises:
            DescriptionError: listing path, reason and remedy of every problem.
        """
        documents = part("description_documents")
        document = documents.checked(data, kind, source) if documents else _document(data, kind, source)
        kind = next(name for name, schema in SCHEMA_IDS.items() if schema == document["schema"])
        limit = document.get("num_attributes", 8)
        return cls(
            kind=kind,
            classes={key: _read_entry(key, entry, kind, limit) for key, entry in document["classes"].items()},
            num_attributes=limit,
            dataset=document.get("dataset"),
            language=document.get("language", "en"),
            generator=dict(document.get("generator", {"kind": "manual"})),
        )

    def to_dict(self) -> dict[str, Any]:
        """The document: `Descriptions.from_dict(d.to_dict()) == d`, keys in order."""
        document: dict[str, Any] = {
            "schema": SCHEMA_IDS[self.kind],
            "dataset": self.dataset,
            "language": self.language,
        }
        if self.kind == "attributes":
            document["num_attributes"] = self.num_attributes
        document["generator"] = dict(self.generator)
        document["classes"] = {key: _write_entry(entry, self.kind) for key, entry in self.classes.items()}
        return document

    @classmethod
    def load(cls, path: str | os.PathLike, kind: str | None = None) -> Descriptions:
        """Read a JSON file.

        Raises:
            DescriptionError: no such file, not JSON, or not a description file; the message names the file.
        """
        documents = part("description_documents")
        return cls.from_dict((documents.read_description_file if documents else _read)(path), kind, os.fspath(path))

    def save(self, path: str | os.PathLike) -> None:
        """Write a JSON file (UTF-8, short lists on one line); either the whole file appears or nothing does."""
        if documents := part("description_documents"):
            documents.write_text(path, documents.format_json(self.to_dict()) + "\n")
        else:
            with open(path, "w", encoding="utf-8") as file:
                json.dump(self.to_dict(), file, ensure_ascii=False, indent=2)

    def select(self, labels: Sequence[str]) -> Descriptions:
        """Only the entries of these labels, in their order; labels without an entry are skipped."""
        keys = [key for key in (self.find(label) for label in labels) if key is not None]
        return replace(self, classes={key: self.classes[key] for key in keys})

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what can reach a prompt: keys, names, contents; not of provenance, source texts, class order."""
        content = {key: [entry.meta.get("name"), _content(entry.value)] for key, entry in self.classes.items()}
        text = json.dumps([self.kind, content], ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _content(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value.to_dict()


def _read_entry(key: str, entry: Mapping[str, Any], kind: str, limit: int) -> ClassDescription:
    if kind == "graph":
        if (graphs := part("action_graph")) is None:
            clauses = Clauses({kind: tuple(texts) for kind, texts in entry.get("clauses", {}).items()})
            return ClassDescription(clauses, {name: value for name, value in entry.items() if name != "clauses"})
        meta = {name: value for name, value in entry.items() if name not in graphs.FIELDS}
        graph = graphs.ActionGraph.from_dict(meta.get("name", graphs.canonical_key(key)), entry)
        return ClassDescription(graph.written_out(), meta)
    meta, attributes = {name: value for name, value in entry.items() if name != "attributes"}, entry["attributes"]
    if len(attributes) > limit:
        logger.warning("%r lists %d attributes; the first %d are kept (num_attributes).", key, len(attributes), limit)
    return ClassDescription(tuple(attributes[:limit]), meta)


def _write_entry(entry: ClassDescription, kind: str) -> dict[str, Any]:
    return {**entry.meta, **({"attributes": list(entry.value)} if kind == "attributes" else entry.value.to_dict())}


# -- where the documents of others are not read (exports with code) ------------------------------------------------


def _document(data: Any, kind: str | None, source: str) -> dict[str, Any]:
    """A document as `to_dict` gives it, or `{label: [text, ...]}`.

    Raises:
        DescriptionError: anything else.
    """
    try:
        if "schema" not in data:
            graph = kind == "graph"
            classes = {key: {"clauses": {"ao": own}} if graph else {"attributes": own} for key, own in data.items()}
            data = {"schema": SCHEMA_IDS[kind or "attributes"], "classes": classes}
        if data["schema"] == SCHEMA_IDS["attributes"]:
            lists = [entry["attributes"] for entry in data["classes"].values()]
        else:
            lists = [texts for entry in data["classes"].values() for texts in entry.get("clauses", {}).values()]
        if all(isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in lists):
            return dict(data)
    except (KeyError, TypeError, AttributeError):
        pass
    raise DescriptionError(
        f"{source or 'the descriptions'}: not in the form of a description file; the package hf-zsar says why."
    )


def _read(path: str | os.PathLike) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise DescriptionError(f"{path}: cannot be read ({error}).") from error
