"""Train from a recipe with plain Accelerate.

python train_scripts/train.py train_scripts/recipes/quickstart.yaml --set data.source=my_videos
accelerate launch train_scripts/train.py RECIPE --resume
"""

from __future__ import annotations

import sys

from hf_zsar.cli import main


if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
