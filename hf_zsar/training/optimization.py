"""Parameter groups: which learning rate, which weight decay, and what stays frozen."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import nn


ROLES = ("vision", "text", "scale", "head")
_TABLES = (
    "position_embedding.weight",
    "position_embeddings.weight",
    "position_embeddings",
    "time_embedding",
    "space_embedding",
    "vis_token",
    "cls_token",
)
_PEFT_PREFIX = "base_model.model."


def named_roles(model: Any) -> Iterator[tuple[str, str, nn.Parameter]]:
    """Name, role and value of every parameter; of a model with adapters of peft around it, too."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    for name, parameter in model.named_parameters():
        name = name.removeprefix(_PEFT_PREFIX)
        yield name, base.role_of(name), parameter


def parameter_counts(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Role -> numbers of parameters that are trained and that are not."""
    counts: dict[str, tuple[int, int]] = {}
    for _, role, parameter in named_roles(model):
        trained, frozen = counts.get(role, (0, 0))
        size = parameter.numel()
        counts[role] = (trained + size, frozen) if parameter.requires_grad else (trained, frozen + size)
    return {role: counts[role] for role in ROLES if role in counts}


def freeze(model: nn.Module, roles: Iterable[str]) -> None:
    """Take parameters of these roles out of training.

    Raises:
        ValueError: an unknown role.
    """
    roles = set(roles)
    check_roles(roles)
    for _, role, parameter in named_roles(model):
        if role in roles:
            parameter.requires_grad_(False)


def freeze_statistics(model: nn.Module) -> None:
    """Keep every batch norm as in evaluation, whatever `model.train()` says: means and variances of a few videos must
    not replace those of a pretrained backbone."""
    norms: list[Any] = [each for each in model.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.eval()
        norm.train = types.MethodType(_stay, norm)


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    return module


def parameter_groups(
    model: nn.Module,
    learning_rates: Mapping[str, float],
    weight_decay: float = 0.0,
    decay_all: bool = False,
) -> list[dict[str, Any]]:
    """Groups for a torch optimizer; frozen parameters are in none.

    Args:
        learning_rates: by role; `"head"`, `"text"`, `"vision"` and `"scale"`, or `"default"` for those not named.
        weight_decay: of matrices.
        decay_all: of norms, biases and single numbers too, as the official ActionCLIP and BIKE code do.

    Raises:
        ValueError: an unknown role, or one without a rate.
    """
    check_roles(set(learning_rates) - {"default"})
    groups: dict[tuple[str, float], dict[str, Any]] = {}
    for name, role, parameter in named_roles(model):
        if not parameter.requires_grad:
            continue
        rate = learning_rates.get(role, learning_rates.get("default"))
        if rate is None:
            trained = sorted({each for _, each, parameter in named_roles(model) if parameter.requires_grad})
            missing = [each for each in trained if each not in learning_rates]
            raise ValueError(
                f"learning_rates has neither 'default' nor {', '.join(missing)}; it trains {', '.join(trained)}. "
                "Give each a rate, or 'default' for the rest, or name it in optimization.freeze."
            )
        decay = weight_decay if decay_all or (parameter.ndim > 1 and not is_table(name)) else 0.0
        group = groups.setdefault((role, decay), {"params": [], "lr": rate, "weight_decay": decay, "role": role})
        group["params"].append(parameter)
    return list(groups.values())


def is_table(name: str) -> bool:
    """Whether a parameter is a table of positions or a learned token, which decay no more than a bias does."""
    return name.endswith(_TABLES)


def check_roles(roles: Iterable[str]) -> None:
    """
    Raises:
        ValueError: an unknown role.
    """
    unknown = sorted(set(roles) - set(ROLES))
    if unknown:
        raise ValueError(f"unknown parameter roles {unknown}; there are {list(ROLES)}.")


__all__ = ["freeze", "freeze_statistics", "parameter_counts", "parameter_groups"]
