"""Recipes: every published one is sound, and a wrong field is named before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from hf_zsar import METHODS
from hf_zsar.cli import main
from hf_zsar.training.recipe import Recipe, RecipeError, load_recipe, recipe_from
from tests.tiny_encoders import encoder_folder
from tests.tiny_models import IMAGE_SIZE
from tests.training.runs import TRAINED, write_rendered


RECIPES = sorted((Path(__file__).resolve().parents[2] / "train_scripts" / "recipes").glob("*.yaml"))
SMALL = {
    "method": "rest",
    "output": "out",
    "model": {"pretrained": "embedded"},
    "data": {"source": "clips"},
    "optimization": {"learning_rates": {"default": 0.001}},
}


def changed(**fields):
    """SMALL with dotted names (`__` for the dot) replaced; None removes."""
    content = {name: dict(value) if isinstance(value, dict) else value for name, value in SMALL.items()}
    for name, value in fields.items():
        *parents, last = name.split("__")
        target = content
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = value
        if value is None:
            del target[last]
    return content


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_published_recipes_are_sound(path):
    recipe = load_recipe(path)
    assert recipe.method in METHODS
    assert recipe.output.startswith("runs/")
    if path.stem != "quickstart":
        assert path.stem.split("_")[0] == recipe.method


def test_every_method_has_recipes():
    assert {path.stem.split("_")[0] for path in RECIPES} >= set(TRAINED) | {"quickstart"}


def test_defaults_and_overrides(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    recipe = load_recipe(path)
    assert isinstance(recipe, Recipe) and recipe.optimization.epochs == 10 and recipe.augmentation is None
    changes = {"data.source": "others", "augmentation.size": 32, "optimization.learning_rates.head": 1}
    recipe = load_recipe(path, changes)
    assert recipe.data.source == "others" and recipe.augmentation == {"size": 32}
    assert recipe.optimization.learning_rates == {"default": 0.001, "head": 1.0}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(methods="rest"), r"recipe: unknown fields \['methods'\]"),
        (dict(data__sources="x"), r"data: unknown fields \['sources'\]"),
        (dict(output=None), r"missing fields \['output'\]"),
        (dict(data__source=None), r"data: missing fields \['source'\]"),
        (dict(method="clip"), "method: 'clip' is none of"),
        (dict(optimization__epochs="ten"), "optimization.epochs: expected int, got str .*'ten'"),
        (dict(optimization__epochs=2.5), "optimization.epochs: expected int"),
        (dict(optimization__epochs=True), "optimization.epochs: expected int"),
        (dict(optimization__batch_size=0), "optimization.batch_size: must be at least 1"),
        (dict(optimization__epochs=0), "optimization.epochs: must be at least 1"),
        (dict(save_epochs=0), "save_epochs: must be at least 1"),
        (dict(log_steps=0), "log_steps: must be at least 1"),
        (dict(optimization__learning_rates={}), "learning_rates: give at least one"),
        (dict(optimization__learning_rates={"default": "5e-6"}), "write 5.0e-6"),
        (dict(optimization__weight_decay="1e-2"), "weight_decay: .*write 1.0e-2"),
        (dict(optimization__learning_rates={"tower": 1.0}), "unknown parameter roles"),
        (dict(optimization__freeze=["tower"]), "unknown parameter roles"),
        (dict(optimization__betas=[0.9]), "betas: two numbers"),
        (dict(optimization__precision="half"), "optimization.precision"),
        (dict(model={}), "exactly one of pretrained, encoder and config"),
        (dict(model__tokenizer="x"), "model.tokenizer: goes with model.config"),
        (dict(model__encoder="x"), "exactly one of pretrained, encoder and config"),
        (dict(model="x"), "model: expected fields and values"),
        (dict(sampling="sometimes"), "sometimes"),
        (dict(augmentation={"cropping": "no"}), "cropping must be"),
        (dict(augmentation={"siz": 3}), "siz"),
        (dict(averaging={"first_epoch": 11}), "averaging.first_epoch"),
        (dict(averaging={"mode": "median"}), "averaging.mode"),
        (dict(interpolation=1.5), "interpolation: must lie between 0"),
        (dict(lora={"rank": 4}), r"lora: unknown fields \['rank'\]"),
        (dict(lora={}, interpolation=0.5), "lora: goes without averaging and interpolation"),
        (dict(lora={}, averaging={}), "lora: goes without averaging and interpolation"),
        (dict(data__on_error="ignore"), "data.on_error"),
        (dict(data__on_missing="ignore"), "data.on_missing"),
        (dict(data__classes="running"), "data.classes: .*expected a list"),
        (dict(data__classes=[1, 2]), r"data.classes: .*Invalid item at index 0"),
        (dict(data__workers=-1), "data.workers"),
        (dict(model={None: 1, "pretrain": 2}), r"model: unknown fields \['pretrain', None\]"),
        (
            dict(optimization__learning_rates={None: 1.0, "head": 1.0}),
            "learning_rates.key: expected str, got NoneType",
        ),
        (dict(augmentation={1: 2}), "augmentation: .*Invalid key or value"),
        (dict(optimization__learning_rates={"default": 10**400}), "learning_rates.default: this number is"),
        (dict(optimization__betas=[0.9, float("nan")]), r"betas\[1\]: this number is"),
        (dict(optimization__epochs=-(16**5000)), "optimization.epochs: this number is"),
    ],
)
def test_a_wrong_field_is_named(fields, message):
    with pytest.raises(RecipeError, match=message):
        recipe_from(changed(**fields))


def test_the_text_that_yaml_makes_of_a_number(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(SMALL).replace("0.001", "5e-6"))
    with pytest.raises(RecipeError, match="write 5.0e-6"):
        load_recipe(path)
    path.write_text(yaml.safe_dump(SMALL).replace("0.001", "5.0e-6"))
    assert load_recipe(path).optimization.learning_rates == {"default": 5e-6}


def test_files_that_are_no_recipes(tmp_path):
    with pytest.raises(RecipeError, match="There is no recipe"):
        load_recipe(tmp_path / "none.yaml")
    path = tmp_path / "recipe.yaml"
    path.write_text("a: [1, 2")
    with pytest.raises(RecipeError, match="not YAML"):
        load_recipe(path)
    path.write_text("- 1\n- 2\n")
    with pytest.raises(RecipeError, match="expected fields"):
        load_recipe(path)


def test_nothing_heavy_is_loaded_for_a_wrong_recipe():
    with pytest.raises(RecipeError):
        recipe_from(changed(model__pretrained=None, model__encoder="no/such/model", optimization__epochs="x"))


@pytest.mark.parametrize("path", [path for path in RECIPES if "siglip2" in path.stem], ids=lambda path: path.stem)
def test_recipes_on_siglip_2_would_run(path, tmp_path, capsys):
    """With a tiny checkpoint as it is published, and tiny videos and pictures of its size."""
    pytest.importorskip("matplotlib")
    folder, source = encoder_folder("siglip", tmp_path / "siglip"), write_rendered(tmp_path / "videos", clips=1)
    sizes = {"short_side": [32, 36]} if "short_side" in load_recipe(path).augmentation else {}
    settings = {
        "model.encoder": str(folder),
        "data.source": str(source),
        "data.root": None,
        "data.workers": 0,
        "optimization.batch_size": 2,
        "optimization.precision": "no",
        "output": str(tmp_path / "out"),
        **{f"augmentation.{name}": value for name, value in {"size": IMAGE_SIZE, **sizes}.items()},
    }
    options = [each for name, value in settings.items() for each in ("--set", f"{name}={json.dumps(value)}")]
    assert main(["train", str(path), "--dry-run", *options]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{load_recipe(path).method}: 4 videos of 4 classes") and "batch.png" in printed
    assert "Ours: nobody has published" in path.read_text()
