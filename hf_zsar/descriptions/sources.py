"""Where texts about labels come from: files that a user has, read into `{label: [text, ...]}`.

Understood: a folder of `<label>.txt`; JSON `{label: text or [texts]}`; JSONL rows with a label and a text; the lists
of Elaborative Rehearsal (`[{"word", "defn", ...}]`, arXiv 2108.02833); a description file of ours (its source texts);
a glossary with a line `label: text` or `label<TAB>text` each; a WordNet database file (`data.noun`, `data.verb`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_zsar.clips.folders import is_junk
from hf_zsar.clips.tables import read_lines
from hf_zsar.processing.action_graph import canonical_key
from hf_zsar.processing.description_documents import read_description_file
from hf_zsar.processing.descriptions import DescriptionError
from hf_zsar.processing.prompts import class_key
from hf_zsar.processing.text_files import TextFileError, parse_json

from .reading import clean_text, read_text, verb_lemma


_LABEL_FIELDS = ("label", "name", "word", "class", "action")
_TEXT_FIELDS = ("text", "texts", "defn", "description", "descriptions", "definition", "gloss")
_WORDNET_LINE = re.compile(r"^\d{8} \d\d [nvasr] [0-9a-f]{2} ")
# A WordNet lemma has many senses, and the files do not order them by use.
MAX_SENSES = 2


@dataclass
class Texts:
    """Texts by label; spellings of a label meet in its `class_key`.

    Args:
        by_key: texts by `class_key`.
        glossary: a dictionary rather than a label list, where "playing guitar" may be found under "guitar".
        spelling: the labels as they were written.
    """

    by_key: dict[str, list[str]] = field(default_factory=dict)
    glossary: bool = False
    spelling: dict[str, str] = field(default_factory=dict)

    def add(self, label: str, text: str) -> None:
        """One more text; an empty one or one that is known already is passed over."""
        cleaned = clean_text(text)
        key = class_key(label)
        self.spelling.setdefault(key, label)
        if cleaned and cleaned not in self.by_key.setdefault(key, []):
            self.by_key[key].append(cleaned)

    @property
    def labels(self) -> list[str]:
        """The labels that have texts, as they were written first."""
        return [self.spelling[key] for key, texts in self.by_key.items() if texts]

    def for_label(self, label: str) -> list[str]:
        """The texts of a label, none if there are none; a glossary is also asked for the words of the label."""
        for name in glossary_keys(label) if self.glossary else [label]:
            if texts := self.by_key.get(class_key(name)):
                return texts[: MAX_SENSES if self.glossary else None]
        return []


def glossary_keys(label: str) -> list[str]:
    """Under what a dictionary may have a label: itself, its verb phrase, its object, at last its verb."""
    key = canonical_key(label)
    words = key.split()
    keys = [key]
    keys.append(" ".join([verb_lemma(words[0]), *words[1:]]))  # "playing guitar" -> "play guitar"
    keys.append(" ".join([*words[:-1], verb_lemma(words[-1])]))  # "arm wrestling" -> "arm wrestle"
    things = read_text(f"She is {key}.").things
    keys += [thing.text for thing in things] + [thing.key for thing in things]
    keys += [verb_lemma(word) for word in words]
    return list(dict.fromkeys(keys))


def read_texts(source: str | os.PathLike | Mapping[str, Any]) -> Texts:
    """Read texts from a folder, a file or a mapping.

    Raises:
        DescriptionError: nothing readable there, or no form that we know; the message names the file and the place.
    """
    if isinstance(source, Mapping):
        return _filled(_pairs_of_mapping(source, "the texts"))
    path = Path(source)
    if path.is_dir():
        return _filled(_pairs_of_folder(path))
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _filled(_pairs_of_json(read_description_file(path), str(path)))
    lines = read_description_file(path, read_lines)
    if suffix == ".jsonl":
        return _filled(_pairs_of_jsonl(lines, str(path)))
    if any(_WORDNET_LINE.match(line) for line in lines[:60]):
        return _filled(_pairs_of_wordnet(lines), glossary=True)
    return _filled(_pairs_of_glossary(lines, str(path)), glossary=True)


def _filled(pairs: Iterable[tuple[str, str]], glossary: bool = False) -> Texts:
    texts = Texts(glossary=glossary)
    for label, text in pairs:
        texts.add(label, text)
    if not texts.by_key:
        raise DescriptionError("the texts hold nothing: expected at least one label with a text.")
    return texts


def _pairs_of_folder(folder: Path) -> Iterator[tuple[str, str]]:
    files = sorted(path for path in folder.glob("*.txt") if not is_junk(path.name))
    if not files:
        raise DescriptionError(f"{folder}: no <label>.txt file in the folder; name one file after each label.")
    for path in files:
        yield path.stem, "\n".join(read_description_file(path, read_lines))


def _pairs_of_json(data: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(data, list):
        for position, row in enumerate(data):
            yield from _pairs_of_row(row, f"{name}: item {position}")
    elif isinstance(data, Mapping):
        yield from _pairs_of_mapping(data, name)
    else:
        raise DescriptionError(f"{name}: expected an object {{label: text}} or a list of rows with label and text.")


def _pairs_of_mapping(data: Mapping[str, Any], name: str) -> Iterator[tuple[str, str]]:
    if isinstance(data.get("classes"), Mapping) and "schema" in data:  # one of our own files: its source texts
        entries = ((key, entry) for key, entry in data["classes"].items() if isinstance(entry, Mapping))
        data = {key: entry.get("descriptions", []) for key, entry in entries}
    for label, value in data.items():
        for text in _texts_of(value, f"{name}: {label!r}"):
            yield str(label), text


def _pairs_of_jsonl(lines: Iterable[str], name: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{name}: line {number}"
            try:
                row = parse_json(line, where)
            except TextFileError as error:
                raise DescriptionError(str(error)) from error
            yield from _pairs_of_row(row, where)


def _pairs_of_row(row: Any, where: str) -> Iterator[tuple[str, str]]:
    fields = row if isinstance(row, Mapping) else {}
    label = next((fields[key] for key in _LABEL_FIELDS if isinstance(fields.get(key), str)), None)
    found = [key for key in _TEXT_FIELDS if key in fields]
    if label is None or not found:
        raise DescriptionError(
            f"{where}: expected an object with a label ({', '.join(_LABEL_FIELDS)}) and a text "
            f"({', '.join(_TEXT_FIELDS)}), found {sorted(fields) if fields else type(row).__name__}."
        )
    for key in found:
        for text in _texts_of(fields[key], f"{where}: {key!r}"):
            yield label, text


def _texts_of(value: Any, where: str) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in _texts_of(item, where)]
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):
        return [value["text"]]
    raise DescriptionError(f"{where}: expected a text or a list of texts, found {type(value).__name__}.")


def _pairs_of_glossary(lines: Iterable[str], name: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        label, separator, text = line.partition("\t") if "\t" in line else line.partition(":")
        if not separator or not label.strip() or not text.strip():
            raise DescriptionError(f"{name}: line {number} is not `label: text`; add the label and a colon or a tab.")
        yield label.strip(), text


def _pairs_of_wordnet(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Lemmas with their glosses, without the quoted examples: `00001740 29 v 04 breathe 0 ... | draw air into ...`."""
    for line in lines:
        if not _WORDNET_LINE.match(line) or " | " not in line:
            continue
        head, gloss = line.split(" | ", 1)
        fields = head.split()
        gloss = re.sub(r';?\s*"[^"]*"', "", gloss).strip()
        for position in range(int(fields[3], 16)):
            yield fields[4 + 2 * position].replace("_", " "), gloss
