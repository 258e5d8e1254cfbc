"""The methods of the package and of others: where their classes live. Nothing is imported before it is used.

Another distribution adds a method with an entry point in the group `hf_zsar.methods` that names a [`MethodSpec`]:

    [project.entry-points."hf_zsar.methods"]
    mine = "my_package.method:SPEC"
"""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points


ENTRY_POINTS = "hf_zsar.methods"


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
)


def _spec_of(entry: EntryPoint) -> MethodSpec | None:
    """The spec of an entry point; a broken one is said and left out, so that it does not take the others along."""
    try:
        spec = entry.load()
    except (ImportError, AttributeError) as error:
        problem = str(error)
    else:
        if isinstance(spec, MethodSpec) and spec.name not in {own.name for own in OWN}:
            return spec
        problem = f"it is {spec!r}, but must be a MethodSpec with a name that is not taken"
    warnings.warn(f"The method {entry.name!r} ({entry.value}) is left out: {problem}.", stacklevel=2)
    return None


def find_methods() -> dict[str, MethodSpec]:
    """Name -> method: those of this package, then those that others have installed."""
    others = (_spec_of(entry) for entry in entry_points(group=ENTRY_POINTS))
    return {spec.name: spec for spec in (*OWN, *others) if spec is not None}


METHODS: dict[str, MethodSpec] = find_methods()
