"""Import of action graphs in the three-file YAML layout of the released STDD code (card of STDD, S6).

The files of a data set are keyed by class name and *meant* to be aligned by position, because names differ between
them ("fall floor" / "falling to the floor"). We match names first, in any spelling, and use the position for the rest.
PyYAML comes with transformers. Nothing of the released data is part of this package.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hf_zsar.clips.folders import is_junk
from hf_zsar.processing.action_graph import RELATIONS, ActionGraph, canonical_key
from hf_zsar.processing.description_documents import read_description_file
from hf_zsar.processing.descriptions import ClassDescription, DescriptionError, Descriptions
from hf_zsar.processing.prompts import class_key
from hf_zsar.yaml_files import read_yaml

from .replies import graph_from_fields


# Labels and file keys that differ in more than spelling.
ALIASES = {"fall floor": "falling to the floor"}
_CLAUSE_FIELDS = {f"xprompt_{kind}": kind for kind in RELATIONS}


@dataclass
class ImportedGraphs:
    """What an import gives: the descriptions, and remarks on everything that was not as it should be."""

    descriptions: Descriptions
    templates: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def import_stdd_yaml(
    paths: Sequence[str | os.PathLike], labels: Sequence[str] | None = None, dataset: str | None = None
) -> ImportedGraphs:
    """Read the layout.

    Args:
        paths: any of the three files (told apart by their content), or folders that hold them.
        labels: the class list, when the label file is not among `paths`; without either the keys are the labels.
        dataset: recorded in the result.

    Raises:
        DescriptionError: unreadable files, two files of one kind, or classes that neither name nor position can pair.
    """
    parts = _read_parts(paths)
    label_file = parts.get("labels", {})
    labels = list(labels or label_file.get("classes", ()))
    if odd := [label for label in labels if not isinstance(label, str)]:
        raise DescriptionError(f"classes must be names, got {odd[0]!r:.80}.")
    graphs, clauses = parts.get("graphs", {}), parts.get("clauses", {})
    if not graphs and not clauses:
        raise DescriptionError("No graph (obj_en_li ...) and no prompt file (xprompt_oo ...) among the given files.")
    labels = labels or list(graphs or clauses)
    remarks: list[str] = []
    graph_of = align(labels, graphs, "graph file", remarks) if graphs else {}
    clauses_of = align(labels, clauses, "prompt file", remarks) if clauses else {}
    classes = {}
    for position, label in enumerate(labels):
        name = canonical_key(label)
        graph = graph_from_fields(name, graph_of.get(label, {}), remarks)
        texts = (
            {kind: _texts(clauses_of.get(label, {}), key) for key, kind in _CLAUSE_FIELDS.items()} if clauses else {}
        )
        graph = (
            ActionGraph.from_dict(name, {**graph.to_dict(), "clauses": texts}).written_out()
            if texts
            else graph.with_clauses()
        )
        classes[label] = ClassDescription(graph, {"id": position, "name": name, "made_by": "import"})
    generator = {"kind": "import", "name": "stdd-yaml"}
    templates = [str(text) for text in label_file.get("templates", ())]
    return ImportedGraphs(Descriptions("graph", classes, dataset=dataset, generator=generator), templates, remarks)


def align(labels: Sequence[str], entries: Mapping[str, Any], what: str, remarks: list[str]) -> dict[str, Any]:
    """Pair labels with the entries of a file: by name in any spelling, by alias, the rest by position.

    Raises:
        DescriptionError: a label is left over.
    """
    keys = {class_key(key): key for key in entries}
    paired: dict[str, str] = {}
    for label in labels:
        alias = ALIASES.get(canonical_key(label), label)
        key = keys.get(class_key(label)) or keys.get(class_key(alias))
        if key is not None and key not in paired.values():
            paired[label] = key
    order, same_length = list(entries), len(entries) == len(labels)
    for position, label in enumerate(labels):
        if label in paired:
            continue
        if not same_length or order[position] in paired.values():
            raise DescriptionError(
                f"{what}: no entry for the class {label!r}, by name or by position ({len(entries)} entries, "
                f"{len(labels)} classes); give the class list that belongs to the file."
            )
        paired[label] = order[position]
        remarks.append(f"{what}: {label!r} is paired with {order[position]!r} by position")
    return {label: entries[key] for label, key in paired.items()}


def _texts(entry: Any, key: str) -> list[str]:
    values = entry.get(key) if isinstance(entry, Mapping) else None
    return [str(text) for text in values if isinstance(text, str)] if isinstance(values, list) else []


def _read_parts(paths: Sequence[str | os.PathLike]) -> dict[str, Mapping[str, Any]]:
    files = [file for path in map(Path, paths) for file in (_yaml_files(path) if path.is_dir() else [path])]
    parts: dict[str, Mapping[str, Any]] = {}
    for file in files:
        data = read_description_file(file, partial(read_yaml, words=True))
        kind = _kind_of(data)
        if kind is None:
            raise DescriptionError(f"{file}: neither a graph file, a prompt file nor a label file of STDD.")
        if kind in parts:
            raise DescriptionError(f"{file}: a second file with {kind}; give the files of one data set at a time.")
        parts[kind] = data
    return parts


def _yaml_files(folder: Path) -> list[Path]:
    files = sorted(each for each in [*folder.glob("*.yml"), *folder.glob("*.yaml")] if not is_junk(each.name))
    if not files:
        raise DescriptionError(f"{folder}: no .yml file in the folder.")
    return files


def _kind_of(data: Any) -> str | None:
    if not isinstance(data, Mapping) or not data:
        return None
    if isinstance(data.get("classes"), list):
        return "labels"
    fields = {key for entry in data.values() if isinstance(entry, Mapping) for key in entry}
    if fields & set(_CLAUSE_FIELDS):
        return "clauses"
    return "graphs" if any(key.endswith(("_li", "_triples")) for key in fields) else None
