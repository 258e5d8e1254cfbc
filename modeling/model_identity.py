"""Which model made a value: what a label bank or a stored feature is compared by before it is used again.

An identity is read off the model anew every time, so that no way of changing one can slip past it: a sample of the
contents of every tensor that takes part, the state of adapters, and the configuration. The weights stand in it at
several precisions, so that a copy in bfloat16 or float16 is known to be a copy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from transformers import PreTrainedConfig

from .parts import part


# Elements read of each tensor; all of a small one.
SAMPLES, SMALL = 16, 64
# Of a layer with adapters: which are applied, and how much.
ADAPTER_STATE = ("disable_adapters", "merged_adapters", "active_adapters", "scaling")
_PLAIN = (torch.Tensor, nn.Parameter)
# Coarsest first. A sample is rounded to the coarser type of two models before the models are compared.
ROUNDED = (torch.bfloat16, torch.float16)
# What says where a configuration came from or how it computes, not what.
NEUTRAL = frozenset(
    "architectures auto_map chunk_size_feed_forward custom_pipelines dtype id2label label2id model_type "
    "output_hidden_states problem_type quantization_config return_dict torch_dtype transformers_version "
    "transformers_weights use_cache".split()
)


def fingerprint_of(*parts: torch.Tensor | str | bytes | Sequence | None) -> str:
    """Hex digest of tensors and strings; equal inputs give equal digests on every machine."""
    digest = hashlib.blake2b(digest_size=16)
    for each in parts:
        if isinstance(each, torch.Tensor):
            tensor = each.detach().cpu().contiguous()
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            if tensor.numel():
                digest.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
        elif isinstance(each, bytes):
            digest.update(each)
        else:
            digest.update(json.dumps(each, ensure_ascii=False, default=str).encode())
        digest.update(b"\0")
    return digest.hexdigest()


@dataclass(frozen=True)
class ModelIdentity:
    """What tells a model from others. Equal identities: the same model, as far as a sample of its weights can tell.

    Args:
        method: `model_type` of the configuration.
        configuration: digest of the fields that decide what is computed.
        dtypes: the floating types of the weights, in one word.
        exact: digest of the sampled weights as they are.
        rounded: digests of the same sample rounded to the types of `ROUNDED`.
    """

    method: str
    configuration: str
    dtypes: str
    exact: str
    rounded: tuple[str, ...]

    def __str__(self) -> str:
        """One line for the header of a file; [`~ModelIdentity.parse`] reads it."""
        return "/".join((self.method, self.configuration, self.dtypes, self.exact, *self.rounded))

    @classmethod
    def parse(cls, text: str) -> ModelIdentity:
        """
        Raises:
            ValueError: not what `str(identity)` gives.
        """
        parts = text.split("/") if isinstance(text, str) else []
        if len(parts) != 4 + len(ROUNDED) or not all(parts):
            raise ValueError(f"{text!r} is not the identity of a model.")
        return cls(parts[0], parts[1], parts[2], parts[3], tuple(parts[4:]))

    def difference(self, other: ModelIdentity) -> str | None:
        """In words what the other model has that this one has not; `None` for the same model.

        Copies in bfloat16 or float16 count as the same model.
        """
        if other.method != self.method:
            return f"it is a {other.method} model, this one is {self.method}"
        if other.configuration != self.configuration:
            return "its configuration is another"
        if self._weights(other) != other._weights(self):
            return "its weights or adapters are others"
        return None

    def check(self, other: ModelIdentity | None, what: str) -> None:
        """Refuse a value that another model made.

        Args:
            other: the identity that the value carries.
            what: begins the message, e.g. `"This label bank"` or `"The index clips.parquet"`.

        Raises:
            ValueError: another model, or none that is known.
        """
        if other is None:
            raise ValueError(
                f"{what} does not say which model made it (made by hand, imported, or made in training): make it anew "
                "with this model, or say that it belongs to it, e.g. bank.admitted_by(model)."
            )
        difference = self.difference(other)
        if difference is not None:
            raise ValueError(
                f"{what} was made by another model: {difference}. Make it anew with this model, or use the model that "
                "made it, as it was then."
            )

    def _weights(self, other: ModelIdentity) -> str:
        """The digest to compare with a model of the other's types."""
        if other.dtypes == self.dtypes:
            return self.exact
        for dtype, digest in zip(ROUNDED, self.rounded, strict=True):
            if _name(dtype) in f"{self.dtypes}+{other.dtypes}".split("+"):
                return digest
        return self.exact


@torch.no_grad()
def identify(model: nn.Module) -> ModelIdentity:
    """The identity of a model with a transformers configuration; see `ZSARPreTrainedModel.identity`."""
    names, tensors = in_use(model)
    sample = _sampled(tensors)
    about = _short("\n".join(names).encode()).encode()
    exact = _short(about, memoryview(sample.numpy()))
    rounded = (_short(about, memoryview(sample.to(dtype).view(torch.int16).numpy())) for dtype in ROUNDED)
    floating = {dtype for dtype in {tensor.dtype for tensor in tensors} if dtype.is_floating_point}
    return ModelIdentity(
        method=model.config.model_type,
        configuration=configuration_digest(model.config),
        dtypes="+".join(sorted(map(_name, floating))) or "none",
        exact=exact,
        rounded=tuple(rounded),
    )


def configuration_digest(config: PreTrainedConfig) -> str:
    """Digest of the fields of a configuration that decide what the model computes."""
    return _short(json.dumps(_deciding(config), sort_keys=True, default=_plain).encode())


def _deciding(config: PreTrainedConfig) -> dict[str, Any]:
    return {name: value for name, value in vars(config).items() if name[0] != "_" and name not in NEUTRAL}


def _plain(value: Any) -> Any:
    return [type(value).model_type, _deciding(value)] if isinstance(value, PreTrainedConfig) else str(value)


def _short(*parts: bytes | memoryview) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for each in parts:
        digest.update(each)
    return digest.hexdigest()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# -- what takes part ---------------------------------------------------------------------------------


def in_use(model: nn.Module) -> tuple[list[str], list[torch.Tensor]]:
    """The tensors that take part in a forward pass, in the order of their names.

    Returns:
        The names, each with the number of elements, followed by the settings of adapters; and the tensors.
    """
    found: list[tuple[str, torch.Tensor]] = []
    settings: list[str] = []
    waiting: list[tuple[str, nn.Module]] = [("", model)]
    while waiting:
        prefix, module = waiting.pop()
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensor = _offloaded(module, name, tensor) if tensor.is_meta else tensor
                    found.append((f"{prefix}{name} {tensor.numel()}", tensor))
        if hasattr(type(module), "_weight_bias"):
            found += [(f"{prefix}packed.{i} {each.numel()}", each) for i, each in enumerate(_packed(module))]
        children: Iterable[tuple[str, nn.Module | None]] = module._modules.items()
        if hasattr(type(module), "adapter_layer_names"):  # a layer that PEFT has put in another's place
            if adapters := part("adapters"):
                children, own = adapters.children_in_use(module), adapters.settings(module)
            else:  # any change of them makes another model
                own = [repr([getattr(module, name, None) for name in ADAPTER_STATE])]
            settings += [f"{prefix}{setting}" for setting in own]
        for name, child in children:
            if child is not None:
                waiting.append((f"{prefix}{name}." if name else prefix, child))
    found.sort(key=lambda entry: entry[0])
    return [name for name, _ in found] + sorted(settings), [tensor for _, tensor in found]


def _offloaded(module: nn.Module, name: str, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor that accelerate keeps for a place on the meta device; the place itself where nobody keeps one."""
    hook = getattr(module, "_hf_hook", None)
    for each in getattr(hook, "hooks", (hook,)):
        kept = getattr(each, "weights_map", None)
        if kept is not None and name in kept:
            return kept[name]
    return tensor


# Dynamically quantized layers keep their weights in an object of the backend, which nothing changes once it is packed
# and which is slow to unpack: layer -> that object, and the sample taken of it.
_packed_samples: WeakKeyDictionary[nn.Module, tuple[Any, list[torch.Tensor]]] = WeakKeyDictionary()


def _packed(module: nn.Module) -> list[torch.Tensor]:
    kept, samples = _packed_samples.get(module, (None, []))
    if kept is not module._packed_params:
        samples = [_sample(each).clone() for each in module._weight_bias() if each is not None]
        _packed_samples[module] = module._packed_params, samples
    return samples


# -- samples of contents -----------------------------------------------------------------------------


def _sampled(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """Some elements of every tensor, in order, as float32 on the CPU: one transfer from each device."""
    samples = [_sample(tensor) for tensor in tensors if not tensor.is_meta]
    by_device: dict[torch.device, list[torch.Tensor]] = {}
    for sample in samples:
        by_device.setdefault(sample.device, []).append(sample)
    joined = {device: _joined(parts).cpu() for device, parts in by_device.items()}
    if len(joined) == 1:
        return next(iter(joined.values()))
    parts = {device: iter(joined[device].split([len(s) for s in each])) for device, each in by_device.items()}
    return torch.cat([next(parts[sample.device]) for sample in samples] or [torch.zeros(0)])


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """As float32, end to end; hundreds of parts of one type are converted together, which is quicker."""
    dtypes = {part.dtype for part in parts}
    floating = {dtype for dtype in dtypes if dtype.is_floating_point and dtype.itemsize > 1}
    dtype = floating.pop() if len(floating) == 1 else torch.float32
    return torch.cat([part if part.dtype is dtype else part.to(dtype) for part in parts]).float()


def _sample(tensor: torch.Tensor) -> torch.Tensor:
    """`SAMPLES` elements spread over a tensor, or all of a small one: `[n]`, a view where possible."""
    if type(tensor) not in _PLAIN and is_traceable_wrapper_subclass(tensor):  # quantized, sharded
        return torch.cat([_sample(getattr(tensor, name)).float() for name in tensor.__tensor_flatten__()[0]])
    if not tensor.dtype.is_floating_point:
        if tensor.is_quantized:
            tensor = tensor.int_repr()
        if tensor.is_complex():
            tensor = torch.view_as_real(tensor)
    count = tensor.numel()
    if count <= SMALL:
        sample = tensor.reshape(-1)
    else:
        # Odd and no simple fraction of the width of a row, so that the elements lie in different columns.
        step = min((count * 61 // (64 * SAMPLES)) | 1, (count - 1) // (SAMPLES - 1))
        if tensor.is_contiguous():
            sample = tensor.as_strided((SAMPLES,), (step,))
        else:
            places = torch.arange(SAMPLES, device=tensor.device) * step
            sample = tensor[torch.unravel_index(places, tensor.shape)]
    return sample
