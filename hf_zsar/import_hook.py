"""Do something right after a module of another package has been imported, without importing it now.

Why: `import hf_zsar` must make transformers' auto classes know our types, and transformers has no place to announce
types from outside before it is imported. To import it ourselves would make `hf-zsar --help`, and every program that
names this package without using it, wait for seconds. So a finder stands in `sys.meta_path` until the modules that it
waits for have come.

transformers' auto modules are often loaded in the midst of others, of transformers (CLIP's model asks for its layers,
which ask for the auto classes) or of this package. What a hook does needs those, so it waits for the outermost one.

Where this is not wanted (a frozen program, another import hook that does not get along with it), `HF_ZSAR_EAGER=1` in
the environment imports transformers at once and needs no finder.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any


EAGER = "HF_ZSAR_EAGER"


def after_import(hooks: Mapping[str, Callable[[], None]]) -> None:
    """Call each hook once its module is loaded: now if it is, else as soon as somebody imports it. Safe to repeat."""
    waiting = {}
    for name, hook in hooks.items():
        if os.environ.get(EAGER, "0") not in ("", "0"):
            importlib.import_module(name)
        if name in sys.modules and not getattr(getattr(sys.modules[name], "__spec__", None), "_initializing", False):
            hook()
        else:
            waiting[name] = hook
    if waiting and not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport(waiting))


class _PerThread(threading.local):
    looking_for: str | None = None  # the module whose real finder is being asked
    modules_in_progress: int = 0  # of transformers and of this package

    def __init__(self) -> None:
        self.ready: list[Callable[[], None]] = []


class _AfterImport(importlib.abc.MetaPathFinder):
    """Finds what the other finders find, and has the hook of that name called after the module."""

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
        loader: Any = spec.loader
        execute = loader.exec_module

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
                thread.modules_in_progress += 1  # a hook imports modules too, whose hooks wait until it is done
                try:
                    thread.ready.pop(0)()
                finally:
                    thread.modules_in_progress -= 1

        loader.exec_module = exec_module
        return spec
