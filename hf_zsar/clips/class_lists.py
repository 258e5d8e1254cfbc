"""Class lists and split lists that ship with the package: facts of the field's data sets, stored as gzipped JSON.

`SOURCES.md` beside this file names the source of every list and describes the formats. Nothing here imports more than
the standard library.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from hf_zsar.processing.prompts import clean_label


if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_SUFFIX = ".json.gz"


def _folder(kind: str) -> Traversable:
    return files("hf_zsar.data") / "resources" / kind


def _names(kind: str) -> list[str]:
    return sorted(
        entry.name.removesuffix(_SUFFIX) for entry in _folder(kind).iterdir() if entry.name.endswith(_SUFFIX)
    )


def _read(kind: str, what: str, name: str) -> bytes:
    known = _names(kind)
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"There is no {what} named {name!r}. {hint}Available: {', '.join(known)}.")
    return gzip.decompress((_folder(kind) / (name + _SUFFIX)).read_bytes())


def available_class_lists() -> list[str]:
    """Names that `load_class_list` and `load_class_names` accept, sorted."""
    return _names("classes")


def load_class_list(name: str) -> dict[str, Any]:
    """The whole record of a class list: `classes` in label order, `num_classes`, `order`, `sources`, often a `note`.

    Raises:
        ValueError: no such list; the message names those that exist.
    """
    return json.loads(_read("classes", "class list", name))


def load_class_names(name: str, display: bool = False) -> list[str]:
    """Class names of a data set in label order: the index in the list is the (0-based) label id.

    Args:
        name: one of `available_class_lists()`, such as `"ucf101"`.
        display: names made readable by `clean_label` (`"apply eye makeup"`) instead of the data set's own spelling
            (`"ApplyEyeMakeup"`), by which split files and folders go.

    Raises:
        ValueError: no such list; the message names those that exist.
    """
    names = load_class_list(name)["classes"]
    return [clean_label(label) for label in names] if display else names


def background_for(given: Sequence[str] | None, known: Collection[str]) -> list[str]:
    """What a video may show besides known labels, for the score "none of these".

    Args:
        given: default: the classes of Kinetics-400. Those among `known` are left out.

    Raises:
        ValueError: none is left.
    """
    names = load_class_names("kinetics400") if given is None else given
    others = [name for name in names if name not in known]
    if not others:
        raise ValueError("background_labels must hold some that are not candidate labels.")
    return others


def available_protocol_files() -> list[str]:
    """Names that `load_protocol_file` accepts, sorted."""
    return _names("protocols")


def load_protocol_file(name: str) -> dict[str, Any]:
    """A split list or clip list, such as `"ucf101_half_e2e"`; `schema` says which of the formats in SOURCES.md it has.

    Class names are spelled as in `load_class_names(record["dataset"])`; label ids are never stored, derive them.

    Raises:
        ValueError: no such list; the message names those that exist.
    """
    return json.loads(_read("protocols", "protocol file", name))


def resource_sha256(name: str) -> str:
    """SHA-256 of the JSON text of a class list or protocol file: what a result cites to say which list it used."""
    kind, what = ("classes", "class list") if name in _names("classes") else ("protocols", "class or protocol list")
    return hashlib.sha256(_read(kind, what, name)).hexdigest()
