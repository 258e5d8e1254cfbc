"""Train the recipes that are named on the command line, one after the other, in this process of several."""

from __future__ import annotations

import sys

from hf_zsar.training.loop import train
from hf_zsar.training.recipe import load_recipe
from hf_zsar.training.with_trainer import train_with_trainer


if __name__ == "__main__":
    way, *recipes = sys.argv[1:]
    for recipe in recipes:
        {"accelerate": train, "trainer": train_with_trainer}[way](load_recipe(recipe))
