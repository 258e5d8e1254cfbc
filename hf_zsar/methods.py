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
from importlib.metadata import entry_points
from typing import TypeVar


Spec = TypeVar("Spec")


@dataclass(frozen=True)
class MethodSpec:
    """Where the three classes of a method live.

    Args:
        name: short name, also of recipes and cards; `model_type` is `zsar_<name>`.
        prefix: what the names of its classes begin with: `<prefix>Config`, `<prefix>Model`, `<prefix>Processor`.
        modules: the modules of these three. Default: `configuration_<name>`, `modeling_<name>`, `processing_<name>` of
            this package.
    """

    name: str
    prefix: str
    modules: tuple[str, str, str] | None = None

    @property
    def model_type(self) -> str:
        return f"zsar_{self.name}"

    @property
    def class_modules(self) -> dict[str, str]:
        """Name of each of the three classes -> the module that defines it."""
        own = (f"modeling.configuration_{self.name}", f"modeling.modeling_{self.name}")
        modules = self.modules or tuple(f"hf_zsar.{m}" for m in (*own, f"processing.processing_{self.name}"))
        return {f"{self.prefix}{role}": m for role, m in zip(("Config", "Model", "Processor"), modules, strict=True)}

    def _load(self, role: str) -> type:
        name = f"{self.prefix}{role}"
        return getattr(importlib.import_module(self.class_modules[name]), name)

    @property
    def config_class(self) -> type:
        return self._load("Config")

    @property
    def model_class(self) -> type:
        return self._load("Model")

    @property
    def processor_class(self) -> type:
        return self._load("Processor")


OWN = (
    MethodSpec("actionclip", "ActionCLIP"),
    MethodSpec("dasti", "DASTI"),
    MethodSpec("rest", "ResT"),
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
