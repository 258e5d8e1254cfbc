"""Checkpoint files in the official layouts, written from scratch with random weights."""

from __future__ import annotations

import torch

from tests.tiny_models import tiny_clip_tokenizer


WIDTH, DIM, PATCH, GRID, LAYERS = 64, 16, 8, 2, 2
VOCABULARY = len(tiny_clip_tokenizer())
STRANGER = "visual.something.else"


def block(prefix: str, width: int) -> dict[str, torch.Tensor]:
    return {
        f"{prefix}attn.in_proj_weight": torch.randn(3 * width, width) * 0.1,
        f"{prefix}attn.in_proj_bias": torch.randn(3 * width),
        f"{prefix}attn.out_proj.weight": torch.randn(width, width) * 0.1,
        f"{prefix}attn.out_proj.bias": torch.randn(width),
        f"{prefix}ln_1.weight": torch.rand(width) + 0.5,
        f"{prefix}ln_1.bias": torch.randn(width),
        f"{prefix}ln_2.weight": torch.rand(width) + 0.5,
        f"{prefix}ln_2.bias": torch.randn(width),
        f"{prefix}mlp.c_fc.weight": torch.randn(4 * width, width) * 0.1,
        f"{prefix}mlp.c_fc.bias": torch.randn(4 * width),
        f"{prefix}mlp.c_proj.weight": torch.randn(width, 4 * width) * 0.1,
        f"{prefix}mlp.c_proj.bias": torch.randn(width),
    }


def openai_clip(seed: int = 0, net: str = "") -> dict[str, torch.Tensor]:
    """A tiny CLIP under OpenAI's names; `net=".net"` is the spelling of temporal-shift checkpoints."""
    torch.manual_seed(seed)
    state = {
        "logit_scale": torch.tensor(3.1),
        "token_embedding.weight": torch.randn(VOCABULARY, WIDTH),
        "positional_embedding": torch.randn(77, WIDTH),
        "ln_final.weight": torch.rand(WIDTH) + 0.5,
        "ln_final.bias": torch.randn(WIDTH),
        "text_projection": torch.randn(WIDTH, DIM),
        "visual.class_embedding": torch.randn(WIDTH),
        "visual.conv1.weight": torch.randn(WIDTH, 3, PATCH, PATCH) * 0.1,
        "visual.positional_embedding": torch.randn(GRID * GRID + 1, WIDTH),
        "visual.ln_pre.weight": torch.rand(WIDTH) + 0.5,
        "visual.ln_pre.bias": torch.randn(WIDTH),
        "visual.ln_post.weight": torch.rand(WIDTH) + 0.5,
        "visual.ln_post.bias": torch.randn(WIDTH),
        "visual.proj": torch.randn(WIDTH, DIM),
    }
    for index in range(LAYERS):
        state |= block(f"transformer.resblocks.{index}.", WIDTH)
        state |= block(f"visual.transformer.resblocks.{index}{net}.", WIDTH)
    return state


def transformer_head(rows: int = 77, layers: int = 2) -> dict[str, torch.Tensor]:
    head = {"frame_position_embeddings.weight": torch.randn(rows, DIM)}
    for index in range(layers):
        head |= block(f"transformer.resblocks.{index}.", DIM)
    return head


def official_file(path, clip=None, head=None, prefix: str = "module.", **more) -> str:
    head = {f"{prefix}{name}": tensor for name, tensor in (head or {}).items()}
    content = {
        "epoch": 3,
        "model_state_dict": openai_clip() if clip is None else clip,
        "fusion_model_state_dict": head,
        "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 5e-6}]},
    }
    torch.save(content | more, path)
    return str(path)


def mmaction2_file(path, clip=None, head=None) -> str:
    clip = openai_clip() if clip is None else clip
    head = transformer_head(rows=4) if head is None else head
    state = {f"clip.{name}": tensor for name, tensor in clip.items()}
    state |= {f"adapter.{name}": tensor for name, tensor in head.items()}
    torch.save({"meta": {"epoch": 1}, "state_dict": state}, path)
    return str(path)
