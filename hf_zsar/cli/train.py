"""`hf-zsar train`: fine-tune or train from a recipe."""

from __future__ import annotations

import argparse

from . import common
from .convert import assignment_of


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "train",
        help="fine-tune or train from a YAML recipe",
        description="Train a model as a YAML recipe says; see train_scripts/recipes.",
        epilog="For several GPUs: torchrun --nproc_per_node 4 -m hf_zsar.cli train RECIPE",
    )
    parser.add_argument("recipe", metavar="RECIPE", help="YAML file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        type=lambda text: assignment_of(text, dotted=True),
        help="set a field of the recipe, such as data.source=videos",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the output folder")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="train nothing: say which parameters would be trained, at which rates and for how long, and draw a batch",
    )


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar train`."""
    from accelerate import PartialState

    from hf_zsar.training.recipe import load_recipe

    recipe = load_recipe(args.recipe, dict(args.set))
    if args.dry_run:
        from hf_zsar.training.dry_run import dry_run

        for line in dry_run(recipe):
            print(line)
        return 0
    common.check_output_folder(recipe.output)
    from hf_zsar.training.run import train

    output = train(recipe, resume=args.resume)
    if PartialState().is_main_process:
        print(f"model and processor are in {output}")
    PartialState().destroy_process_group()
    return 0
