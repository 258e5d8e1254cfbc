"""What the adapter asks of open_clip, in tiny, for where it is not installed: it needs torchvision."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from tests.tiny_models import tiny_clip_tokenizer


class TinyCLIP(nn.Module):
    """Towers of a layer each; what follows the end token counts for nothing."""

    def __init__(self, embed_dim: int, vision_cfg: dict, text_cfg: dict, init_logit_bias: float | None = None) -> None:
        super().__init__()
        size = vision_cfg["image_size"]
        self.visual = nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, embed_dim))
        self.token_embedding = nn.Embedding(text_cfg["vocab_size"], embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(3.0))
        self.logit_bias = None if init_logit_bias is None else nn.Parameter(torch.tensor(init_logit_bias))
        self.register_buffer("weights", torch.arange(1.0, text_cfg["context_length"] + 1), persistent=False)

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        return self.visual(images)

    def encode_text(self, ids: torch.Tensor) -> torch.Tensor:
        places = torch.arange(ids.shape[1])
        kept = (places <= ids.argmax(dim=1, keepdim=True)) * self.weights[: ids.shape[1]]
        return (self.token_embedding(ids) * kept[..., None]).sum(dim=1)


def create_model(
    name: str,
    load_weights: bool = True,
    pretrained_text: bool = True,
    device: Any = "cpu",
    force_custom_text: bool = False,
    **fields: Any,
) -> TinyCLIP:
    if name.startswith("local-dir:"):
        folder = Path(name.removeprefix("local-dir:"))
        described = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]
        model = TinyCLIP(**{key: value for key, value in described.items() if key != "custom_text"})
        model.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
        return model
    return TinyCLIP(**fields).to(device)


class SimpleTokenizer:
    """CLIP's, with the names of the special tokens that open_clip gives them, and zeros behind the end."""

    def __init__(self) -> None:
        self.tokenizer = tiny_clip_tokenizer()
        names = {"<|startoftext|>": "<start_of_text>", "<|endoftext|>": "<end_of_text>"}
        self.encoder = {names.get(token, token): i for token, i in self.tokenizer.get_vocab().items()}
        self.decoder = {i: token for token, i in self.encoder.items()}
        self.sot_token_id, self.eot_token_id = self.encoder["<start_of_text>"], self.encoder["<end_of_text>"]
        merges = json.loads(self.tokenizer.backend_tokenizer.to_str())["model"]["merges"]
        self.bpe_ranks = {tuple(pair): rank for rank, pair in enumerate(merges)}

    def __call__(self, texts: list[str], length: int = 77) -> torch.Tensor:
        rows = self.tokenizer(texts, truncation=True, max_length=length)["input_ids"]
        return torch.tensor([row + [0] * (length - len(row)) for row in rows])


def module() -> ModuleType:
    """A module to stand for open_clip in `sys.modules`."""
    stand_in = ModuleType("open_clip")
    stand_in.create_model = create_model
    stand_in.tokenizer = SimpleNamespace(SimpleTokenizer=SimpleTokenizer)
    return stand_in
