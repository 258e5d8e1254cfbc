"""`hf-zsar calibrate`: what labeled clips say about the scores of a label bank."""

from __future__ import annotations

import argparse

from . import common


EXAMPLE = """examples:
  hf-zsar calibrate more-clips/ --bank bank.safetensors --unknown
  hf-zsar classify new.mp4 --bank bank.safetensors --coverage 0.9
  hf-zsar classify new.mp4 --bank bank.safetensors --unknown --false-alarms 0.05

The clips must be others than those that the bank has as examples. One half gives a temperature, the other half the
thresholds: a coverage of 0.9 needs 9 clips in it, false alarms of 0.05 need 19.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command to the parser of `hf-zsar`."""
    parser = subparsers.add_parser(
        "calibrate",
        help="probabilities, label sets and thresholds that hold, from labeled clips",
        description="Score labeled clips with a label bank, and note in it what they say about its scores.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="FOLDER_OR_MANIFEST", help="labeled videos, in any layout that train takes")
    parser.add_argument("--bank", required=True, metavar="FILE", help="what `hf-zsar adapt` or `LabelBank.save` wrote")
    parser.add_argument("--out", metavar="FILE", help="bank to write (default: the one that was read)")
    parser.add_argument(
        "--unknown", action="store_true", help="also for the score that a video shows none of the labels"
    )
    parser.add_argument(
        "--multi-label", action="store_true", help="also for several labels at once: 8 clips with and without each"
    )
    parser.add_argument("--seed", type=int, default=0, help="which half of the clips gives the temperature")
    common.add_sampling_arguments(parser)
    common.add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Write the bank; see the exit status in `hf_zsar.cli`."""
    out = args.out or args.bank
    common.check_output(out, (".safetensors",))
    bank = common.read_bank(args)
    from hf_zsar.adaptation import calibrated_bank

    from .adapt import labeled_videos

    examples = labeled_videos(args.source)
    pipe = common.load_pipeline(args)
    pipe.model.check_bank(bank)
    options, broken = common.sampling_options(args), common.Told()
    common.tell_of_sampling(bank, pipe, options)
    asked = dict(unknown=args.unknown, multi_label=args.multi_label, seed=args.seed, video_options=options)
    bank, clips = calibrated_bank(pipe, bank, examples, on_error=broken.tell, **asked)
    bank.save(out)
    print(f"temperature {bank.calibration.temperature:.3g}, from {clips} clips: {out}")
    return int(broken.any)
