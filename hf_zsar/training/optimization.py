"""Parameter groups: which learning rate, which weight decay, and what stays frozen (recipe sections of the specs)."""

from __future__ import annotations

import math
import types
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn


ROLES = ("vision", "text", "scale", "head")
_DUAL_ENCODER = {
    "vision": ("backbone.model.vision_model.", "backbone.model.visual_projection."),
    "text": ("backbone.model.text_model.", "backbone.model.text_projection."),
    "scale": ("backbone.model.logit_scale",),
}
_TABLES = (
    "position_embedding.weight",
    "position_embeddings.weight",
    "position_embeddings",
    "time_embedding",
    "space_embedding",
    "vis_token",
    "cls_token",
)
_REST = {"vision": ("backbone.",), "text": ("text_model.",), "scale": ("logit_scale",)}


def role_of(name: str, method: str) -> str:
    """`"vision"` or `"text"` tower, `"scale"` (the logit scale), or `"head"`: all that the method adds.

    Args:
        name: of a parameter, wrappers' prefixes removed.
        method: as in `hf_zsar.METHODS`.
    """
    for role, prefixes in (_REST if method == "rest" else _DUAL_ENCODER).items():
        if name.startswith(prefixes):
            return role
    return "head"


def freeze(model: nn.Module, roles: Iterable[str]) -> None:
    """Take parameters of these roles out of training.

    Raises:
        ValueError: an unknown role.
    """
    roles = set(roles)
    check_roles(roles)
    for name, parameter in model.named_parameters():
        if role_of(name, method_of(model)) in roles:
            parameter.requires_grad_(False)


def freeze_statistics(model: nn.Module) -> None:
    """Keep every batch norm as in evaluation, whatever `model.train()` says: means and variances of a few videos must
    not replace those of a pretrained backbone."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
            module.train = types.MethodType(_stay, module)


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    return module


def parameter_groups(
    model: nn.Module,
    learning_rates: Mapping[str, float],
    weight_decay: float = 0.0,
    decay_all: bool = False,
) -> list[dict[str, Any]]:
    """Groups for a torch optimiser; frozen parameters are in none.

    Args:
        learning_rates: by role; `"head"`, `"text"`, `"vision"` and `"scale"`, or `"default"` for those not named.
        weight_decay: of matrices.
        decay_all: of norms, biases and single numbers too, as the official ActionCLIP and BIKE code do.

    Raises:
        ValueError: an unknown role, or one without a rate.
    """
    check_roles(set(learning_rates) - {"default"})
    method, groups = method_of(model), {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        role = role_of(name, method)
        rate = learning_rates.get(role, learning_rates.get("default"))
        if rate is None:
            trained = sorted({role_of(name, method) for name, each in model.named_parameters() if each.requires_grad})
            missing = [role for role in trained if role not in learning_rates]
            raise ValueError(
                f"learning_rates has neither 'default' nor {', '.join(missing)}; the model trains {', '.join(trained)}. "
                "Give each a rate, or 'default' for the rest, or name it in optimization.freeze."
            )
        decay = weight_decay if decay_all or (parameter.ndim > 1 and not is_table(name)) else 0.0
        group = groups.setdefault((role, decay), {"params": [], "lr": rate, "weight_decay": decay, "role": role})
        group["params"].append(parameter)
    return list(groups.values())


def schedule_factor(step: int, warmup: int, total: int, min_ratio: float) -> float:
    """Linear from 0 over `warmup` steps, then a cosine down to `min_ratio` at `total`: share of the learning rate."""
    if step < warmup:
        return step / warmup
    progress = min(1.0, (step - warmup) / max(total - warmup, 1))
    return min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * progress))


def is_table(name: str) -> bool:
    """Whether a parameter is a table of positions or a learned token, which decay no more than a bias does."""
    return name.endswith(_TABLES)


def method_of(model: nn.Module) -> str:
    """Name of a model's method, as in `hf_zsar.METHODS`."""
    return model.config.model_type.removeprefix("zsar_")


def check_roles(roles: Iterable[str]) -> None:
    """
    Raises:
        ValueError: an unknown role.
    """
    unknown = sorted(set(roles) - set(ROLES))
    if unknown:
        raise ValueError(f"unknown parameter roles {unknown}; there are {list(ROLES)}.")


__all__ = ["freeze", "freeze_statistics", "parameter_groups", "role_of", "schedule_factor"]
