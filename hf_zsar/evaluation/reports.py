"""Records as text: the table that `hf-zsar evaluate` prints, a Markdown table over several records, card entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_zsar.clips.layouts import DATASETS
from hf_zsar.files import write_text
from hf_zsar.markdown import plain

from .records import main_metric


if TYPE_CHECKING:
    from huggingface_hub import EvalResult, EvalResultEntry

_LISTED = 5
_WRONG_LISTED = 50
METRIC_TITLES = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_class": "mean class",
    "map": "mAP",
    "seen": "seen",
    "unseen": "unseen",
    "harmonic": "harmonic",
    "best_harmonic": "best harmonic",
    "area": "area",
    "ece": "ECE",
}


def dataset_title(record: Mapping[str, Any]) -> str:
    """How people write the data set's name."""
    name = record["protocol"]["dataset"]
    return DATASETS[name].title if name in DATASETS else name


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal; `-` for none."""
    return "-" if value is None or value != value else f"{100 * value:.1f}"


def number(entry: Mapping[str, Any], name: str) -> str:
    """A metric of a split with its interval: `43.2 [29.7, 57.8]`."""
    text = percent(entry["metrics"].get(name))
    interval = entry["intervals"].get(name)
    return f"{text} [{percent(interval[0])}, {percent(interval[1])}]" if interval and text != "-" else text


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with columns of equal width; the first column to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    return lines


def text_report(record: Mapping[str, Any]) -> str:
    """All that a person needs to read a result: what was measured, the numbers, and what was not scored."""
    protocol, model, clips = record["protocol"], record["model"], record["clips"]
    revision = f" @ {model['revision']}" if model["revision"] else ""
    temperature = record["prompts"].get("temperature", 1)
    return "\n".join(
        [
            f"{dataset_title(record)}, protocol {protocol['id']}: {protocol['split_rule']}",
            f"model       {model['id']}{revision} ({model['model_type']}, {model['dtype']})",
            f"trained on  {model['training_set']}; the protocol expects: {protocol['expects_training_on']}",
            f"sampling    {record['sampling']['frames_x_views']}",
            f"prompts     {'; '.join(record['prompts']['templates'])}",
            *([f"temperature {temperature:.3g}, of the bank"] if temperature != 1 else []),
            f"clips       {clips['scored']} of {clips['expected']} scored: {protocol['clip_set']}",
            *_trouble(clips),
            "",
            *_table(record),
            *_without_descriptions(record),
            *_unknown(record),
            f"intervals: {record['intervals']}",
            *_wrong(record),
            *(f"note: {caveat}" for caveat in protocol["caveats"]),
        ]
    )


def _trouble(clips: Mapping[str, Any]) -> list[str]:
    """What was not scored, or only in part: the count and the first few."""
    lines = []
    for kind, phrase in (("missing", "not found"), ("broken", "unreadable"), ("partial", "read in part")):
        found = clips[kind]
        if not found:
            continue
        lines.append(f"{kind:<11} {len(found)} clips {phrase}; the JSON record lists them all:")
        lines += [f"            {clip}: {reason}" for clip, reason in list(found.items())[:_LISTED]]
    if clips["duplicates"]:
        lines.append(f"duplicates  {clips['duplicates']} clips lie there more than once; one copy was taken")
    return lines


def _unknown(record: Mapping[str, Any]) -> list[str]:
    """How well each score "none of these" tells the clips of other labels."""
    if "unknown" not in record:
        return []
    clips, scores = record["unknown"]["clips"], record["unknown"]["scores"]
    rows = [[f"none of these, {clips['unknown']} clips against {clips['known']}", "AUROC, %", "FPR@95, %"]]
    rows += [[name, percent(each["auroc"]), percent(each["fpr95"])] for name, each in scores.items()]
    return ["", *aligned(rows)]


def _wrong(record: Mapping[str, Any]) -> list[str]:
    """The clips that were answered wrongly, in the order of the record, split by split."""
    results = record["results"]
    found = [(entry["split"], each) for entry in results for each in entry.get("wrong", ())]
    if not found:
        return []
    several = len(results) > 1
    lines = [f"wrong: {len(found)} answers (right label -> given label)"]
    for split, each in found[:_WRONG_LISTED]:
        where = f"{split}, {each['clip']}" if several else each["clip"]
        lines.append(f"  {where}: {', '.join(each['right'])} -> {each['given']}")
    if len(found) > _WRONG_LISTED:
        lines.append(f"  ... and {len(found) - _WRONG_LISTED} more, which the JSON record lists")
    return lines


def _without_descriptions(record: Mapping[str, Any]) -> list[str]:
    """The same table by the names of the labels alone."""
    if "without_descriptions" not in record:
        return []
    used = record["prompts"]["descriptions_used"]
    return ["", f"without descriptions (with them: {used}):", *_table(record["without_descriptions"]), ""]


def _table(record: Mapping[str, Any]) -> list[str]:
    results, summary = record["results"], record["summary"]
    shown = [name for name in METRIC_TITLES if any(name in entry["metrics"] for entry in results)]
    if len(results) == 1:
        return _one_split(results[0], shown)
    rows = [["split", "candidates", "clips", *(METRIC_TITLES[name] for name in shown)]]
    for entry in results:
        expected, scored = entry["clips"]["expected"], entry["clips"]["scored"]
        clips = str(scored) if scored == expected else f"{scored}/{expected}"
        rows.append([entry["split"], str(entry["candidates"]), clips, *(number(entry, name) for name in shown)])
    if not isinstance(summary.get("top1"), Mapping):
        return [*aligned(rows), f"harmonic mean {percent(summary['harmonic'])}"]
    spread = [f"{percent(summary[name]['mean'])} +- {percent(summary[name]['std'])}" for name in shown]
    rows.append(["mean +- std", "", f"{summary['top1']['splits']} splits", *spread])
    return [*aligned(rows), "std: over the splits that have clips, ddof 0"]


def _one_split(entry: Mapping[str, Any], shown: Sequence[str]) -> list[str]:
    """One metric a line, with the counts behind the shares of clips."""
    ranks, counts = entry["per_clip"]["rank"], entry["clips"]
    rows = [[f"{entry['split']}, {entry['candidates']} candidates", "%", "interval", "clips"]]
    for name in shown:
        low_high = entry["intervals"].get(name)
        interval = f"[{percent(low_high[0])}, {percent(low_high[1])}]" if low_high else ""
        right = ""
        if name in ("top1", "top5"):
            right = f"{sum(rank <= int(name.removeprefix('top')) for rank in ranks)}/{len(ranks)}"
        rows.append([METRIC_TITLES[name], percent(entry["metrics"].get(name)), interval, right])
    lines, lacking = aligned(rows), counts["expected"] - counts["scored"]
    if lacking:
        bound = percent(entry["metrics"]["top1_if_missing_wrong"])
        lines.append(f"top-1 if the {lacking} clips that were not scored are counted as wrong: {bound}")
    return lines


def markdown_table(records: Sequence[Mapping[str, Any]]) -> str:
    """One line per record, in the order given: for a README or a model card."""
    lines = [
        "| model | data set | protocol | frames x views | clips scored | metric | value (%) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for record in records:
        name, value, std = main_metric(record)
        cells = (
            record["model"]["id"],
            dataset_title(record),
            record["protocol"]["id"],
            record["sampling"]["frames_x_views"],
            f"{record['clips']['scored']} of {record['clips']['expected']}",
            METRIC_TITLES[name],
            percent(value) + (f" ± {percent(std)}" if std is not None else ""),
        )
        lines.append(f"| {' | '.join(map(plain, cells))} |")
    return "\n".join(lines)


def notes(record: Mapping[str, Any]) -> str:
    """The six things that a number stands on, and the std, in one sentence for a card."""
    protocol, clips, classes = record["protocol"], record["clips"], record["classes"]
    parts = [
        f"trained on: {record['model']['training_set']}",
        f"classes: {len(classes['names'])}, {classes['label_order']}",
        f"clips: {protocol['clip_set']} ({clips['scored']} of {clips['expected']} scored)",
        f"splits: {protocol['split_rule']}",
        record["sampling"]["frames_x_views"],
        f"candidates: {record['prompts']['candidates']}",
    ]
    std = main_metric(record)[2]
    if std is not None:
        parts.append(f"std over {len(record['results'])} splits {percent(std)} (ddof 0)")
    return "; ".join(parts)


def eval_result_entries(
    record: Mapping[str, Any], dataset_id: str, task_id: str | None = None
) -> list[EvalResultEntry]:
    """Entries for `.eval_results/*.yaml`.

    Args:
        dataset_id: id of the benchmark data set on the Hub. It is yours to say: a Hub copy of a data set may hold
            other clips or splits than the protocol that was measured.
        task_id: task of that benchmark; default: the protocol's id.

    Raises:
        ValueError: no clip was scored.
    """
    from huggingface_hub import EvalResultEntry

    return [
        EvalResultEntry(
            dataset_id=dataset_id,
            task_id=task_id or record["protocol"]["id"],
            value=round(100 * _value(record), 2),
            date=record["created"],
            notes=f"{main_metric(record)[0]} in percent; {notes(record)}",
        )
    ]


def save_eval_results(
    record: Mapping[str, Any], folder: str | Path, dataset_id: str, task_id: str | None = None
) -> Path:
    """Write `.eval_results/<data set>-<protocol>.yaml` under `folder` (a model's repository); gives the path."""
    import yaml
    from huggingface_hub import eval_result_entries_to_yaml

    entries = eval_result_entries_to_yaml(eval_result_entries(record, dataset_id, task_id))
    path = Path(folder, ".eval_results", f"{record['protocol']['dataset']}-{record['protocol']['id']}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, yaml.safe_dump(entries, sort_keys=False, allow_unicode=True))
    return path


def model_index_results(record: Mapping[str, Any]) -> list[EvalResult]:
    """Entries for the `model-index` of a model card: every metric of the summary that is a share.

    Raises:
        ValueError: no clip was scored.
    """
    from huggingface_hub import EvalResult

    _value(record)
    entries = []
    for name, title in METRIC_TITLES.items():
        value = record["summary"].get(name)
        value = value["mean"] if isinstance(value, Mapping) else value
        if value is None or value != value:
            continue
        entries.append(
            EvalResult(
                task_type="video-classification",
                task_name="zero-shot action recognition",
                dataset_type=record["protocol"]["dataset"],
                dataset_name=f"{dataset_title(record)}, {record['protocol']['id']}",
                # What the Hub tells apart the results on one data set by.
                dataset_config=record["protocol"]["id"],
                dataset_args={"split_hash": record["protocol"]["split_hash"], "notes": notes(record)},
                metric_type="accuracy" if name == "top1" else name,
                metric_name=title,
                metric_value=round(100 * value, 2),
            )
        )
    return entries


def _value(record: Mapping[str, Any]) -> float:
    value = main_metric(record)[1]
    if value is None or value != value:
        raise ValueError("The record holds no number: no clip was scored.")
    return value
