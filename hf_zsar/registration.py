"""The methods of the package, and their registration with transformers' auto classes and pipelines.

`import hf_zsar` must make `AutoModel`, `AutoProcessor`, `AutoConfig` and `pipeline` know our types, and must not cost
the seconds that importing torch and transformers takes. So the classes are registered when transformers' own auto
modules are loaded: at once if they are loaded already, else right after somebody loads them.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType


TASK = "zero-shot-video-classification"


@dataclass(frozen=True)
class MethodSpec:
    """Where the three classes of a method live."""

    name: str
    prefix: str

    @property
    def model_type(self) -> str:
        return f"zsar_{self.name}"

    @property
    def config_class(self) -> type:
        return _load(f"modeling.configuration_{self.name}", f"{self.prefix}Config")

    @property
    def model_class(self) -> type:
        return _load(f"modeling.modeling_{self.name}", f"{self.prefix}Model")

    @property
    def processor_class(self) -> type:
        return _load(f"processing.processing_{self.name}", f"{self.prefix}Processor")


def _load(module: str, name: str) -> type:
    return getattr(importlib.import_module(f"hf_zsar.{module}"), name)


METHODS: dict[str, MethodSpec] = {
    spec.name: spec
    for spec in (
        MethodSpec("actionclip", "ActionCLIP"),
        MethodSpec("dasti", "DASTI"),
        MethodSpec("rest", "ResT"),
        MethodSpec("stdd", "STDD"),
    )
}


def _register_configs() -> None:
    from transformers import AutoConfig

    for spec in METHODS.values():
        AutoConfig.register(spec.model_type, spec.config_class, exist_ok=True)


def _register_models() -> None:
    from transformers import AutoModel

    for spec in METHODS.values():
        AutoModel.register(spec.config_class, spec.model_class, exist_ok=True)


def _register_processors() -> None:
    from transformers import AutoProcessor

    for spec in METHODS.values():
        AutoProcessor.register(spec.config_class, spec.processor_class, exist_ok=True)


def _register_video_processor() -> None:
    from transformers.utils import is_torchvision_available

    if not is_torchvision_available():
        return  # AutoVideoProcessor is a dummy without it; our processors load their video processor by class
    from transformers import AutoVideoProcessor

    from hf_zsar.processing.video_processing_zsar import ZSARVideoProcessor

    for spec in METHODS.values():
        AutoVideoProcessor.register(spec.config_class, video_processor_class=ZSARVideoProcessor, exist_ok=True)


def _register_pipeline() -> None:
    from transformers import AutoModel
    from transformers.pipelines import PIPELINE_REGISTRY

    from hf_zsar.pipeline_zero_shot_video_classification import ZeroShotVideoClassificationPipeline

    PIPELINE_REGISTRY.register_pipeline(
        TASK, pipeline_class=ZeroShotVideoClassificationPipeline, pt_model=AutoModel, type="multimodal"
    )


# transformers' module -> what to do once it is loaded
_HOOKS: dict[str, Callable[[], None]] = {
    "transformers.models.auto.configuration_auto": _register_configs,
    "transformers.models.auto.modeling_auto": _register_models,
    "transformers.models.auto.processing_auto": _register_processors,
    "transformers.models.auto.video_processing_auto": _register_video_processor,
    "transformers.pipelines": _register_pipeline,
}


class _PerThread(threading.local):
    looking_for: str | None = None  # the module whose real finder is being asked
    modules_in_progress: int = 0  # of transformers and of this package

    def __init__(self) -> None:
        self.ready: list[Callable[[], None]] = []


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls a hook after the module of that name has been executed, once nothing around it is half-made.

    The auto modules are often loaded in the midst of others, of transformers (CLIP's model asks for its layers, which
    ask for the auto classes) or of this package. Our classes need those, so the hook waits for the outermost of them.
    """

    def __init__(self, hooks: dict[str, Callable[[], None]]) -> None:
        self.hooks = hooks
        self.thread = _PerThread()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        watched = name.partition(".")[0] in ("transformers", __package__)
        if not self.hooks or not watched or self.thread.looking_for == name:
            return None
        outer, self.thread.looking_for = self.thread.looking_for, name
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.thread.looking_for = outer
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            thread = self.thread
            thread.modules_in_progress += 1
            try:
                execute(module)
            finally:
                thread.modules_in_progress -= 1
            if name in self.hooks:
                thread.ready.append(self.hooks.pop(name))
            while thread.ready and not thread.modules_in_progress:
                thread.ready.pop(0)()

        spec.loader.exec_module = exec_module
        return spec


def register() -> None:
    """Register all methods with transformers, now or as soon as its auto classes are loaded. Safe to call twice."""
    waiting = {}
    for name, hook in _HOOKS.items():
        if name in sys.modules and not getattr(getattr(sys.modules[name], "__spec__", None), "_initializing", False):
            hook()
        else:
            waiting[name] = hook
    if waiting and not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport(waiting))
