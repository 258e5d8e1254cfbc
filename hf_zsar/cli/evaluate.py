"""`hf-zsar evaluate`: a model by a protocol of the field, or on your own labeled clips."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import common, localization


if TYPE_CHECKING:
    from hf_zsar.evaluation import Protocol

EXAMPLE = """examples:
  hf-zsar evaluate --list
  hf-zsar evaluate --manifest clips/manifest.json --json result.json --plot result.png
  hf-zsar evaluate --manifest class-folders/ --model org/name
  hf-zsar evaluate --protocol thumos14 --annotations thumos.json --videos THUMOS14/ --split 75
  hf-zsar evaluate --model org/name --protocol half_e2e --dataset ucf101 --videos UCF-101/
  accelerate launch --num_processes 4 -m hf_zsar.cli evaluate ...   (GPUs; on CPUs: torchrun --nproc-per-node 4)

Started again, a killed run continues where it was: features of videos are kept (see --store), and other
protocols and label sets use them too. Exit status 1: some clips were missing or unreadable; the others were scored.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "evaluate",
        help="score a model by a protocol of the field or on your own clips",
        description="Score a model by a protocol of the field, or on your own labeled clips.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    group = parser.add_argument_group("what is measured")
    group.add_argument("--list", action="store_true", help="show the protocols and what each needs on disk, and exit")
    group.add_argument("--protocol", default="full", metavar="ID", help="see --list (default: full)")
    group.add_argument("--dataset", help="ucf101, hmdb51, kinetics600, activitynet200...")
    group.add_argument("--videos", metavar="DIR", help="folder with the videos, in the data set's official layout")
    group.add_argument(
        "--manifest",
        metavar="SOURCE",
        help='your own clips: {"labels": [...], "clips": [{"file": ..., "label": ...}]} in a JSON file, or what '
        "training takes: a folder of class folders, a CSV, JSONL or list file",
    )
    group.add_argument("--split", action="append", metavar="NAME", help="only this split; repeat for more")
    group.add_argument("--allow-missing", action="store_true", help="exit with 0 although clips were not found")
    localization.add_arguments(parser)
    common.add_model_arguments(parser)
    group.add_argument("--training-set", metavar="TEXT", help="what the model was trained on, for the record")
    common.add_sampling_arguments(parser)
    group = parser.add_argument_group("how")
    group.add_argument("--num-crops", type=int, choices=(1, 3), help="spatial crops of each view")
    group.add_argument("--template", action="append", metavar="TEXT", help="prompt with {}; repeat for an ensemble")
    group.add_argument("--descriptions", metavar="FILE", help="JSON file of attributes or action graphs")
    common.add_bank_argument(group)
    group.add_argument(
        "--unknown-labels",
        nargs="+",
        default=[],
        metavar="LABEL",
        help='classes that are no candidates: how well their clips are told as "none of these" (AUROC, FPR@95)',
    )
    group.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="number type of the model")
    group.add_argument("--batch-size", type=common.positive, default=8, metavar="N", help="videos at a time (8)")
    group.add_argument("--workers", type=common.positive, metavar="N", help="decoding threads (default: up to 4)")
    group.add_argument("--store", metavar="DIR", help="where features are kept (default: in the user's cache)")
    group = parser.add_argument_group("output")
    group.add_argument("--json", nargs="?", const="-", metavar="FILE", help="the whole record, printed or to a file")
    group.add_argument("--plot", metavar="PNG", help="draw accuracy per class, confusion, reliability, label sets")
    group.add_argument("--eval-results", metavar="DIR", help="write .eval_results/*.yaml under this folder")
    group.add_argument("--hub-dataset", metavar="ID", help="data set on the Hub that --eval-results is about")


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar evaluate`."""
    if args.list:
        print(protocol_list())
        return 0
    if args.protocol in localization.PROTOCOLS:
        return localization.run(args)
    given = [name for name in ("annotations", "subset", "predictions", "proposals") if getattr(args, name)]
    if given:
        raise common.CommandError(f"--{given[0]} is for --protocol {' or '.join(localization.PROTOCOLS)}")
    protocol = check(args)
    from hf_zsar.evaluation.zero_shot import ModelFacts, evaluate_zero_shot
    from hf_zsar.features.processes import Processes

    processes = Processes.current()
    if processes.device is not None and args.device is None:
        args.device = str(processes.device)
    if processes.count > 1 and processes.is_main:
        common.say(f"{processes.count} processes, this one on {processes.device}")
    bank = common.read_bank(args)
    pipe = common.load_pipeline(args)
    if args.dtype:
        import torch

        pipe.model.to(getattr(torch, args.dtype))
    store = args.store or default_store()
    crops = {"num_crops": args.num_crops} if args.num_crops else {}
    options = {**common.sampling_options(args), **crops}
    common.tell_of_sampling(bank, pipe, options)
    record = evaluate_zero_shot(
        pipe.model,
        pipe.processor,
        protocol,
        videos=args.videos,
        manifest=args.manifest,
        templates=args.template,
        descriptions=args.descriptions,
        bank=bank,
        unknown_labels=args.unknown_labels,
        video_options=options,
        store=store,
        batch_size=args.batch_size,
        num_workers=args.workers,
        facts=ModelFacts(id=args.model, revision=args.revision, training_set=args.training_set),
        progress=sys.stderr.isatty(),
    )
    if processes.is_main:
        report(record, args)
        size = sum(path.stat().st_size for path in Path(store).rglob("*.parquet"))
        common.say(f"features kept in {store}: {size / 1e6:.1f} MB")
    clips = record["clips"]
    return int(bool(clips["broken"]) or (bool(clips["missing"]) and not args.allow_missing))


def check(args: argparse.Namespace) -> Protocol:
    """Check the arguments, before a model is loaded, and give the protocol.

    Raises:
        CommandError: no clips named, options that do not go together, or an output that cannot be written.
        ValueError: unknown protocol, data set or split, or a broken manifest.
    """
    if not args.manifest and not args.videos:
        raise common.CommandError("name the clips: --manifest FILE, or --dataset NAME --videos DIR (see --list)")
    common.check_options(args, {"eval_results": "hub_dataset", "hub_dataset": "eval_results"})
    common.check_output(None if args.json == "-" else args.json)
    args.plot = common.check_picture(args.plot)
    common.check_output_folder(args.eval_results)
    common.check_output_folder(args.store)
    if args.videos and not Path(args.videos).is_dir():
        raise common.CommandError(f"{args.videos} is not a folder")
    from hf_zsar.evaluation.zero_shot import resolve_protocol

    protocol = resolve_protocol(args.protocol, args.dataset, args.manifest, args.videos)
    return protocol.only(args.split) if args.split else protocol


def default_store() -> Path:
    """Folder of video features in the user's cache."""
    from hf_zsar.embedded import cache_folder

    return cache_folder(writable=True) / "features"


def report(record: dict[str, Any], args: argparse.Namespace) -> None:
    """Write what was asked for, and print the table: last, as its reader may have left (`| head`)."""
    from hf_zsar.evaluation.records import record_json, save_record
    from hf_zsar.evaluation.reports import save_eval_results, text_report

    if args.json and args.json != "-":
        save_record(record, args.json)
    if args.plot:
        from hf_zsar.plots.evaluation import plot_result

        plot_result(record, args.plot)
    if args.eval_results:
        common.say(f"wrote {save_eval_results(record, args.eval_results, args.hub_dataset)}")
    if args.json == "-":
        print(record_json(record, common.encoding_of(sys.stdout)))
    else:
        common.say(text_report(record), sys.stdout)


def protocol_list() -> str:
    """What `--list` prints: every protocol on every data set it is defined on, and the layouts."""
    from hf_zsar.clips.layouts import DATASETS
    from hf_zsar.evaluation.protocol_builders import PROTOCOLS, load_protocol
    from hf_zsar.evaluation.reports import aligned

    rows = [["protocol", "data set", "splits", "candidates", "clips needed"]]
    for spec in PROTOCOLS.values():
        for dataset in spec.datasets:
            protocol = load_protocol(spec.id, dataset)
            sizes = "/".join(str(size) for size in sorted({len(split.candidates) for split in protocol.splits}))
            rows.append([spec.id, dataset, str(len(protocol.splits)), sizes, f"{len(protocol.clips):,}"])
    lines = [f"{spec.id:<15} {spec.summary}" for spec in PROTOCOLS.values()]
    layouts = [f"{info.name:<15} {info.layout}" for info in DATASETS.values()]
    segments = "when it happens: --annotations FILE, with " + ", ".join(localization.PROTOCOLS)
    own = "your own clips: --manifest FILE, with full, half_e2e, half_bike or gzsl"
    return "\n".join([*lines, "", *aligned(rows), "", "on disk, under --videos:", *layouts, "", own, segments])
