"""The methods of the package and of others: where their classes live. Nothing is imported before it is used.

Another distribution adds a method with an entry point in the group `hf_zsar.methods` that names a [`MethodSpec`]:

    [project.entry-points."hf_zsar.methods"]
    mine = "my_package.method:SPEC"
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import entry_points
from typing import Any, TypeVar


Spec = TypeVar("Spec")


@dataclass(frozen=True)
class MethodSpec:
    """A method: where its classes live, and what else is its own.

    Args:
        name: short name, also of recipes and cards; `model_type` is `zsar_<name>`.
        prefix: what the names of its classes begin with: `<prefix>Config`, `<prefix>Model`, `<prefix>Processor`.
        modules: the modules of these three. Default: `configuration_<name>`, `modeling_<name>`, `processing_<name>` of
            this package.
        card: `package:file` of what every card of the method says, see `model_cards/`. Default: `<name>.yaml` there.
        tiny: `module:name` of its [`TinyMethod`], for tests. Default: an entry of `tests/tiny_models.py`.
        label_graph: `module:class` of what stands for `encode_labels` in ONNX, where that cannot be traced.
    """

    name: str
    prefix: str
    modules: tuple[str, str, str] | None = None
    card: str | None = None
    tiny: str | None = None
    label_graph: str | None = None

    @property
    def model_type(self) -> str:
        return f"zsar_{self.name}"

    @property
    def class_modules(self) -> dict[str, str]:
        """Name of each of the three classes -> the module that defines it."""
        own = (f"modeling.configuration_{self.name}", f"modeling.modeling_{self.name}")
        modules = self.modules or tuple(f"hf_zsar.{m}" for m in (*own, f"processing.processing_{self.name}"))
        return {f"{self.prefix}{role}": m for role, m in zip(("Config", "Model", "Processor"), modules, strict=True)}

    def card_text(self) -> str:
        """The YAML that its cards are written from.

        Raises:
            FileNotFoundError: there is none.
        """
        package, _, name = (self.card or f"hf_zsar.model_cards:{self.name}.yaml").partition(":")
        return (resources.files(package) / name).read_text(encoding="utf-8")

    def _load(self, role: str) -> type[Any]:
        name = f"{self.prefix}{role}"
        return load_object(f"{self.class_modules[name]}:{name}")

    @property
    def config_class(self) -> type[Any]:
        return self._load("Config")

    @property
    def model_class(self) -> type[Any]:
        return self._load("Model")

    @property
    def processor_class(self) -> type[Any]:
        return self._load("Processor")


def load_object(path: str) -> Any:
    """`module:name` -> what it names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


OWN = (
    MethodSpec("actionclip", "ActionCLIP"),
    MethodSpec("dasti", "DASTI"),
    MethodSpec("rest", "ResT", label_graph="hf_zsar.modeling.rest_graph:TransferGraph"),
    MethodSpec("stdd", "STDD"),
    MethodSpec("video_text", "VideoText"),
)


def find_specs(group: str, own: Sequence[Spec], key: str) -> dict[str, Spec]:
    """Key -> spec: those of this package, then those that others have installed.

    A broken entry point is said and left out, so that it does not take the others along.

    Args:
        group: of entry points.
        own: the package's own, one at least.
        key: the attribute that tells them apart.
    """
    found = {getattr(spec, key): spec for spec in own}
    for entry in entry_points(group=group):
        try:
            spec = entry.load()
        except (ImportError, AttributeError) as error:
            problem = str(error)
        else:
            if isinstance(spec, type(own[0])) and getattr(spec, key) not in found:
                found[getattr(spec, key)] = spec
                continue
            problem = f"it is {spec!r}, but must be of type {type(own[0]).__name__} with a {key} that is not taken"
        kind = group.rpartition(".")[2].removesuffix("s")
        warnings.warn(f"The {kind} {entry.name!r} ({entry.value}) is left out: {problem}.", stacklevel=2)
    return found


METHODS: dict[str, MethodSpec] = find_specs("hf_zsar.methods", OWN, "name")
