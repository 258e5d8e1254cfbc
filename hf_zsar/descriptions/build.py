"""A whole label set at once: labels, texts and a generator in, a `Descriptions` value out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hf_zsar.processing.action_graph import ActionGraph, canonical_key
from hf_zsar.processing.descriptions import ClassDescription, Descriptions

from .attribute_generators import AttributeGenerator
from .sources import Texts, read_texts


# Labels in, labels out: a progress bar.
Progress = Callable[[Sequence[str]], Iterable[str]]


def build_attribute_bank(
    labels: Sequence[str],
    generator: AttributeGenerator,
    descriptions: Texts | Mapping[str, Any] | str | os.PathLike | None = None,
    n: int = 8,
    progress: Progress = iter,
    **meta: Any,
) -> Descriptions:
    """Attributes for every label, in order.

    Args:
        descriptions: texts about the labels: anything that `read_texts` takes.
        n: attributes per class, at most. The paper's best number is 8.
        progress: wraps the labels to show progress.
        meta: `dataset`, `language`, `created` (an ISO date) for the record.

    Raises:
        ValueError: no labels, or the same label twice.
    """

    def make(label: str, texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(generator.generate(label, texts, n, labels))

    return _build("attributes", labels, generator, descriptions, progress, meta, make, n)


def build_graph_bank(
    labels: Sequence[str],
    generator: Any,
    descriptions: Texts | Mapping[str, Any] | str | os.PathLike | None = None,
    progress: Progress = iter,
    **meta: Any,
) -> Descriptions:
    """An action graph for every label, in order, with a `TextGraphs` or `LLMGraphs`; arguments as above."""
    return _build("graph", labels, generator, descriptions, progress, meta, generator.generate)


def _build(
    kind: str,
    labels: Sequence[str],
    generator: Any,
    descriptions: Any,
    progress: Progress,
    meta: Mapping[str, Any],
    make: Callable[[str, Sequence[str]], tuple[str, ...] | ActionGraph],
    n: int = 8,
) -> Descriptions:
    if not labels or len(set(labels)) < len(labels):
        raise ValueError("Labels are missing or repeated: give each class once.")
    texts = descriptions if isinstance(descriptions, Texts) else read_texts(descriptions) if descriptions else Texts()
    classes: dict[str, ClassDescription] = {}
    grounded = True
    for position, label in enumerate(progress(labels)):
        given = texts.for_label(label)
        grounded = grounded and bool(given)
        value = make(label, given)
        classes[label] = ClassDescription(value, _class_meta(position, label, given, generator))
    return Descriptions(
        kind=kind,
        classes=classes,
        num_attributes=n,
        dataset=meta.get("dataset"),
        language=meta.get("language", "en"),
        generator=_provenance(generator, grounded, meta.get("created")),
    )


def _class_meta(position: int, label: str, given: Sequence[str], generator: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": position}
    if canonical_key(label) != label:
        entry["name"] = canonical_key(label)
    if given:
        entry["descriptions"] = [{"text": text, "source": "user"} for text in given]
    made_by = getattr(generator, "made_by", "") or (generator.name if given or generator.kind == "manual" else "label")
    return {**entry, "made_by": made_by}


def _provenance(generator: Any, grounded: bool, created: str | None) -> dict[str, Any]:
    from hf_zsar import __version__

    is_llm = generator.kind == "llm"
    return {
        "kind": generator.kind,
        "name": "language-model" if is_llm else generator.name,
        "version": __version__,
        "model": generator.name if is_llm else None,
        "revision": getattr(generator, "revision", None),
        "prompt": getattr(generator, "prompt", None) if is_llm else None,
        "params": dict(generator.params),
        "created": created,
        "grounded": grounded,
    }
