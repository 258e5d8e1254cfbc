"""Train the recipes that are named on the command line, one after the other, in this process of several."""

from __future__ import annotations

import runpy
import sys

from hf_zsar.training import load_recipe, train


if __name__ == "__main__":
    way, *recipes = sys.argv[1:]
    run = train if way == "trainer" else runpy.run_path("train_scripts/train.py")["train"]
    for recipe in recipes:
        run(load_recipe(recipe))
