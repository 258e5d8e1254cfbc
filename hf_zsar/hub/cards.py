"""Model cards by code: one template, the method's text, and the facts of one model.

The template and the text of each method lie in the package `hf_zsar.model_cards`. Metadata goes through
huggingface_hub's own classes, so what it refuses never reaches a card.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from hf_zsar.files import write_text
from hf_zsar.markdown import Markdown, cell, code, plain, without_html
from hf_zsar.methods import METHODS
from hf_zsar.yaml_files import parse_yaml

from .facts import CardFacts


TEMPLATE = "template.md.jinja"
PIPELINE_TAG = "video-classification"  # the Hub has no zero-shot video task; tags carry the rest
TAGS = ("zero-shot-video-classification", "zero-shot", "action-recognition", "hf_zsar")
EXAMPLE_REPO = "your-name/your-model"
EXAMPLE_LABELS = ("playing guitar", "riding a bike", "walking a dog")


@functools.cache
def method_text(method: str) -> Mapping[str, Any]:
    """What every card of a method says: name, paper, summary, provenance, quoted figures, limits, citation."""
    if method not in METHODS:
        raise ValueError(f"No card text for a method {method!r}; the methods are {', '.join(sorted(METHODS))}.")
    return parse_yaml(METHODS[method].card_text(), f"the card of {method}")


def card_metadata(facts: CardFacts) -> Any:
    """`huggingface_hub.ModelCardData` of a card.

    Raises:
        ValueError: no method, a base model that is not a repository id, or metadata that huggingface_hub refuses.
    """
    from huggingface_hub import ModelCardData
    from huggingface_hub.utils import validate_repo_id

    from hf_zsar.evaluation import reports

    base_models = [facts.base_model] if isinstance(facts.base_model, str) else list(facts.base_model or ())
    for repo_id in (*base_models, *facts.datasets, *([facts.repo_id] if facts.repo_id else [])):
        validate_repo_id(repo_id)
    results = [entry for record in facts.results for entry in reports.model_index_results(record)]
    extra: dict[str, Any] = {"base_model_relation": facts.base_model_relation} if facts.base_model_relation else {}
    return ModelCardData(
        language="en",
        license=facts.license,
        license_name=facts.license_name,
        license_link=facts.license_link,
        library_name="transformers" if facts.code_digest else "hf_zsar",
        pipeline_tag=PIPELINE_TAG,
        tags=[*TAGS, str(facts.method)],
        base_model=base_models or None,
        datasets=list(facts.datasets) or None,
        metrics=sorted({entry.metric_type for entry in results}) or None,
        model_name=_title(facts) if results else None,
        eval_results=results or None,
        **extra,
    )


def _title(facts: CardFacts) -> str:
    return facts.model_name or (facts.repo_id or "").rsplit("/", 1)[-1] or str(method_text(str(facts.method))["name"])


def render_card(facts: CardFacts) -> str:
    """The README of one model: metadata block and text.

    Raises:
        ValueError: see `card_metadata`; or the facts name no method of this package.
    """
    import jinja2

    from hf_zsar.evaluation.reports import dataset_title, markdown_table, notes

    if facts.method is None:
        raise ValueError("The card needs a method: pass CardFacts(method=...) or let completed_from(model) find it.")
    text = method_text(facts.method)
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - that is for HTML; `finalize` escapes every value that no filter made Markdown
        finalize=plain,
    )
    environment.filters.update(ours=Markdown, theirs=without_html, cell=cell, code=code, tojson=_json)
    template = resources.files("hf_zsar.model_cards") / TEMPLATE
    body = environment.from_string(template.read_text(encoding="utf-8")).render(
        facts=facts,
        text=text,
        title=_title(facts),
        repo=facts.repo_id or EXAMPLE_REPO,
        prefix=METHODS[facts.method].prefix,
        labels=list(EXAMPLE_LABELS),
        result_table=markdown_table(facts.results) if facts.results else "",
        result_notes=[
            f"{dataset_title(record)}, {record['protocol']['id']}: {notes(record)}" for record in facts.results
        ],
        log_columns=_columns(facts.training.log if facts.training else ()),
    )
    return f"---\n{card_metadata(facts).to_yaml(line_break=chr(10))}\n---\n\n{_tidy(body)}"


def _columns(log: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in log for name in row))


def _json(value: Any) -> Markdown:
    return Markdown(json.dumps(value))


def _tidy(text: str) -> str:
    """No blanks at line ends, at most one empty line in a row, one newline at the end."""
    lines: list[str] = []
    for line in (line.rstrip() for line in text.strip().splitlines()):
        if line or (lines and lines[-1]):
            lines.append(line)
    return "\n".join(lines) + "\n"


def write_card(folder: str | os.PathLike, facts: CardFacts) -> Path:
    """Write `README.md` and `.eval_results/*.yaml` into a folder; each file appears complete or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    readme = folder / "README.md"
    write_text(readme, render_card(facts))
    if facts.benchmarks:
        from hf_zsar.evaluation.reports import save_eval_results

        for record in facts.results:
            if dataset_id := facts.benchmarks.get(record["protocol"]["dataset"]):
                save_eval_results(record, folder, dataset_id)
    return readme
