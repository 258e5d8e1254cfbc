"""Small training runs for tests: rendered clips in class folders, tiny models, and the recipes that join them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import av
import torch
from safetensors.torch import load_file

from hf_zsar import METHODS
from hf_zsar.training.recipe import Recipe, recipe_from
from tests.rendered import LABELS, rendered_clip
from tests.tiny_models import IMAGE_SIZE, TINY, tiny_folder, tiny_processor


# Published models are taken as they are: no recipe trains them.
TRAINED = tuple(sorted(METHODS.keys() - {"video_text"}))
SQUARE = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}


def write_rendered(root: Path, labels: tuple[str, ...] = LABELS[:4], clips: int = 3, frames: int = 6) -> Path:
    """A folder of class folders of rendered clips; those of a class are numbered from 0, their seeds."""
    for label, seed in itertools.product(labels, range(clips)):
        folder = root / label
        folder.mkdir(parents=True, exist_ok=True)
        with av.open(str(folder / f"{seed}.mp4"), "w") as output:
            stream = output.add_stream("libx264", rate=frames, options={"crf": "18"})
            stream.width = stream.height = IMAGE_SIZE
            stream.pix_fmt = "yuv420p"
            for picture in rendered_clip(label, seed, frames):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            output.mux(stream.encode(None))
    return root


def start_of(method: str, folder: Path, **config: Any) -> dict[str, Any]:
    """The `model` part of a recipe: a tiny one that lies in `folder`."""
    if method != "rest":
        return {"pretrained": str(tiny_folder(method, folder, **config))}
    # The class head needs to know the classes, so a new ResT is made by the recipe.
    tiny_processor(method).save_pretrained(folder)
    fields = {**TINY[method].config(), **config}
    del fields["seen_class_names"]
    return {
        "config": fields,
        "tokenizer": str(folder),
        "video_processor": {"size": {"shortest_edge": IMAGE_SIZE}, "crop_size": SQUARE},
    }


def tiny_recipe(method: str, source: Path, model: dict[str, Any], output: Path, **parts: Any) -> Recipe:
    """Two epochs of three updates on the folder of `write_rendered`; `parts` win over single fields."""
    optimization = {"learning_rates": {"default": 1e-3}, "epochs": 2, "batch_size": 4, "warmup_epochs": 0.5}
    content = {
        "method": method,
        "output": str(output),
        "model": model,
        "data": {"source": str(source), **parts.pop("data", {})},
        "optimization": {**optimization, "clip_grad": 1.0, **parts.pop("optimization", {})},
        "augmentation": {"size": IMAGE_SIZE, "cropping": "short_side", "short_side": [32, 36], "flip": 0.0},
        **parts,
    }
    return recipe_from(content)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of a saved model."""
    return load_file(folder / "model.safetensors")


def largest_difference(first: Path, second: Path) -> float:
    """Between the weights of two saved models."""
    one, other = weights_of(first), weights_of(second)
    assert one.keys() == other.keys()
    return max((one[name].double() - other[name].double()).abs().max().item() for name in one)
