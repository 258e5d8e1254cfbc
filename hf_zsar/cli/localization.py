"""`hf-zsar evaluate --protocol activitynet-localization|thumos14`: when things happen, and how well that is found."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from . import common


# What is evaluated here; the protocols themselves are heavy to import.
PROTOCOLS = ("activitynet-localization", "thumos14")
NOT_HERE = ("manifest", "dataset", "bank", "eval_results", "hub_dataset", "store", "num_crops", "workers", "num_views")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that only these protocols have."""
    group = parser.add_argument_group("segments", f"with --protocol {' or '.join(PROTOCOLS)}")
    group.add_argument(
        "--annotations", metavar="FILE", help="when what happens: ActivityNet's layout, or that of a tool"
    )
    group.add_argument("--subset", help="of the annotations (default: validation, for thumos14 test)")
    group.add_argument("--predictions", metavar="FILE", help="score these segments instead of looking for some")
    group.add_argument("--proposals", metavar="FILE", help="label these stretches instead of looking for others")


def run(args: argparse.Namespace) -> int:
    """Run it."""
    check(args)
    from hf_zsar.evaluation import localization

    subset = args.subset or localization.LOCALIZATION[args.protocol][1]
    truth = localization.ground_truth(args.annotations, subset)
    about: dict[str, Any] = {"annotations": str(args.annotations), "subset": subset}
    if args.predictions:
        found = localization.read_results(args.predictions)
        about |= {"predicted": args.predictions, "videos": {"expected": len(truth), "scored": len(truth)}}
        record = localization.score_localization(truth, lambda split: found, args.protocol, args.split, **about)
        report(record, args)
        return 0
    proposals = localization.read_results(args.proposals) if args.proposals else None
    classes = {each["label"] for video in truth for each in video.segments}
    splits = localization.choose(localization.class_splits(classes), args.split)
    pipe = common.load_pipeline(args)
    if args.dtype:
        import torch

        pipe.model.to(getattr(torch, args.dtype))
    finder = localization.Finder(pipe, truth, args.videos, splits, options_of(args), proposals, common.say)
    trouble = len(finder.missing) + len(finder.broken)
    videos = {"expected": len(truth), "scored": len(truth) - trouble}
    about |= {"videos": {**videos, "missing": finder.missing, "broken": finder.broken}, "proposals": args.proposals}
    about["model"] = {"id": args.model, "revision": args.revision, "training_set": args.training_set}
    record = localization.score_localization(truth, finder, args.protocol, args.split, **about)
    report(record, args)
    return int(bool(finder.broken) or (bool(finder.missing) and not args.allow_missing))


def check(args: argparse.Namespace) -> None:
    """
    Raises:
        CommandError: no annotations, neither videos nor predictions, or options that change nothing here.
    """
    if not args.annotations:
        raise common.CommandError(f"--protocol {args.protocol} needs --annotations FILE")
    if bool(args.videos) == bool(args.predictions):
        raise common.CommandError("name the folder of the --videos, or a file of --predictions")
    for name in NOT_HERE:
        if getattr(args, name):
            raise common.CommandError(f"--{name.replace('_', '-')} is not for --protocol {args.protocol}")
    common.check_options(args, {}, dict.fromkeys(("model", "proposals", "template", "descriptions"), "predictions"))
    common.check_output(None if args.json == "-" else args.json)
    args.plot = common.check_picture(args.plot)
    if args.videos and not Path(args.videos).is_dir():
        raise common.CommandError(f"{args.videos} is not a folder")


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """Options of `pipe.segments` that were given."""
    options = {
        "hypothesis_template": args.template,
        "descriptions": args.descriptions,
        "batch_size": args.batch_size,
        "num_frames": args.num_frames,
    }
    return {name: value for name, value in options.items() if value is not None}


def report(record: dict[str, Any], args: argparse.Namespace) -> None:
    """Write what was asked for, and print the tables."""
    from hf_zsar.evaluation.localization import localization_report
    from hf_zsar.evaluation.records import record_json, save_record

    if args.json and args.json != "-":
        save_record(record, args.json)
    if args.plot:
        from hf_zsar.plots.localization import plot_localization

        plot_localization(record, args.plot)
    text = record_json(record, common.encoding_of(sys.stdout)) if args.json == "-" else localization_report(record)
    common.say(text, sys.stdout)
