"""Train from the same recipes with transformers' Trainer.

python train_scripts/train_with_trainer.py RECIPE --set data.source=my_videos
torchrun --nproc-per-node 4 train_scripts/train_with_trainer.py RECIPE --resume
"""

from __future__ import annotations

import sys

from hf_zsar.cli import main


if __name__ == "__main__":
    sys.exit(main(["train", "--with-trainer", *sys.argv[1:]]))
