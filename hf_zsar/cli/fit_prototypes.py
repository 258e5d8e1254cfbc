"""`hf-zsar fit-prototypes`: seen prototypes of a ResT model from labeled videos, and the setting of its transfer."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from . import common


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "fit-prototypes",
        help="seen prototypes of a ResT model from labeled videos",
        description="Compute the prototype of every class of a data set, and save the model with them.",
        epilog="Started again, a killed run continues where it was. Several processes: torchrun -m hf_zsar.cli ...",
    )
    parser.add_argument(
        "model", metavar="ID_OR_FOLDER", help="a ResT model; or, with --text-encoder, a backbone for one"
    )
    parser.add_argument("out", metavar="OUT", help="folder to write; may be the model's own")
    parser.add_argument(
        "--text-encoder",
        metavar="ID_OR_FOLDER",
        help="a sentence encoder (BERT): then the model is a backbone, such as facebook/vjepa2-vitl-fpc64-256",
    )
    parser.add_argument("--data", metavar="SOURCE", help="folder of class folders, manifest, list, shards or Hub id")
    parser.add_argument("--root", metavar="DIR", help="where paths of a list start (default: its folder)")
    parser.add_argument("--batch-size", type=common.positive, default=8, metavar="N")
    parser.add_argument(
        "--select-transfer",
        action="store_true",
        help="also choose temperature and top-k by cross-validation over the seen classes",
    )


def run(args: argparse.Namespace) -> int:
    """Run `hf-zsar fit-prototypes`."""
    from accelerate import PartialState

    from hf_zsar.files import filling_folder
    from hf_zsar.hub.loading import load

    if not args.data and not args.select_transfer:
        raise common.CommandError("nothing to do: give --data, --select-transfer or both")
    common.check_options(args, {"root": "data"})
    common.check_output_folder(args.out)
    model: Any
    with_text = {"text_encoder": args.text_encoder} if args.text_encoder else {}
    model, processor = load(args.model, **with_text)
    if not hasattr(model, "set_prototypes"):
        raise common.CommandError(f"{args.model} is a {type(model).__name__}; only ResT models have prototypes")
    if args.data:
        _fit(args, model, processor)
    if args.select_transfer:
        select(model)
    if PartialState().is_main_process:
        with filling_folder(args.out, last="config.json") as folder:
            model.save_pretrained(folder)
            processor.save_pretrained(folder)
        print(f"{int((model.seen_counts > 0).sum())} prototypes; model and processor are in {args.out}")
    return 0


def _fit(args: argparse.Namespace, model: Any, processor: Any) -> None:
    from accelerate import Accelerator

    from hf_zsar.clips.datasets import load_video_dataset
    from hf_zsar.training.prototypes import fit_prototypes

    dataset = load_video_dataset(args.data, root=args.root)
    names = dataset.features["label"].names
    model.check_classes(names)  # before the folder is made
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    fit_prototypes(
        model,
        processor,
        dataset,
        names,
        batch_size=args.batch_size,
        state_file=out / ".prototypes-state",
        accelerator=Accelerator(),
    )


def select(model: Any) -> None:
    """Set the best temperature and top-k of the transfer, and say what they give."""
    from hf_zsar.training.transfer_selection import select_transfer

    known = model.seen_counts > 0
    best = select_transfer(model.seen_prototypes[known], model.seen_text_embeds[known])[0]
    model.set_transfer(best.temperature, best.top_k)
    print(
        f"transfer: temperature {best.temperature}, top-k {best.top_k or 'all'}; held-out seen classes: "
        f"top-1 {100 * best.top1:.1f} %, mean reciprocal rank {best.mean_reciprocal_rank:.3f}"
    )
