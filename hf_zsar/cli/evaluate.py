"""`hf-zsar evaluate`: accuracy over labelled clips."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from . import common


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "evaluate",
        help="accuracy over labelled clips",
        description="Top-1 and top-5 accuracy over the clips of a manifest. A clip that cannot be read is wrong.",
    )
    parser.add_argument(
        "--manifest",
        required=True,
        metavar="JSON",
        help='{"labels": [...], "clips": [{"file": ..., "label": ...}]}, beside the clips',
    )
    parser.add_argument("--template", action="append", metavar="TEXT", help="prompt with {} for the label")
    parser.add_argument("--json", action="store_true", help="print JSON")
    common.add_model_arguments(parser)
    common.add_sampling_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate; see the exit status in `hf_zsar.cli`."""
    from hf_zsar.evaluation.manifest import manifest_protocol

    protocol = manifest_protocol(args.manifest)
    files = {str(Path(args.manifest).parent / clip): labels for clip, labels in protocol.labels_of.items()}
    pipe = common.load_pipeline(args)
    options = {"hypothesis_template": args.template, **common.sampling_options(args)}
    results = pipe.stream(list(files), candidate_labels=list(protocol.classes), top_k=5, on_error="return", **options)
    records = list(common.collect(list(files), results, "scores"))
    ranks = [[each["label"] for each in record.get("scores", [])] for record in records]
    hits = {
        f"top{k}": sum(bool(set(labels) & set(best[:k])) for best, labels in zip(ranks, files.values(), strict=True))
        for k in (1, 5)
    }
    if args.json:
        print(json.dumps({"clips": len(files), "labels": len(protocol.classes), "correct": hits, "records": records}))
    else:
        print(f"{len(files)} clips, {len(protocol.classes)} labels")
        for name, count in hits.items():
            print(f"{name}  {count}/{len(files)}  {100 * count / len(files):.1f} %")
    return common.exit_status(records)
