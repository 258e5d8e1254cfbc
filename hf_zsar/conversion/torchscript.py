"""The weights of a TorchScript archive (OpenAI's CLIP files are such), read without running any of its code.

`torch.jit.load` runs code of the file: the `__setstate__` of its modules. Here its pickle is read by an interpreter
that knows the few instructions TorchScript writes, in which a class of the file is an empty shell that takes
attributes, and nothing else can be called but what makes tensors out of the file's own bytes.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


# Attributes of all modules, those of a shared one each time; OpenAI's largest has 3,000.
MAX_ATTRIBUTES = 200_000
_INSTRUCTIONS = (
    "PROTO GLOBAL MARK STOP EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM "
    "SETITEMS NEWOBJ REDUCE BUILD BINPERSID BINPUT LONG_BINPUT BINGET LONG_BINGET NONE NEWTRUE NEWFALSE BININT "
    "BININT1 BININT2 LONG1 BINFLOAT BINUNICODE"
).split()
_NUMBER_TYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Shell:
    """An object of a class of the file: its attributes, and no behavior."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive: what PyTorch itself goes by, or code in it."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.split("/")[1:2] in (["code"], ["constants.pkl"]) for name in archive.namelist())


def check_stored(path: Path) -> None:
    """Refuse an archive that is larger than its file once unpacked: PyTorch stores weights, it compresses nothing.

    Raises:
        ValueError: some record is compressed, or records overlap.
    """
    with zipfile.ZipFile(path) as archive:
        records = [record for record in archive.infolist() if record.filename.split("/")[1:2] != ["code"]]
    if sum(record.file_size for record in records) > path.stat().st_size:
        raise ValueError("its records are compressed or overlap, so they may be larger than any memory")


def read_torchscript(path: Path) -> dict[str, torch.Tensor]:
    """All tensors that are attributes of the archive's modules, by dotted names: as its `state_dict()`.

    Raises:
        ValueError: no archive of modules and tensors, or another byte order.
        pickle.UnpicklingError: it holds something else.
    """
    check_stored(path)
    with zipfile.ZipFile(path) as archive:
        (pickled,) = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        folder = pickled.removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("it was written on a machine of another byte order")
        reader = _Reader(io.BytesIO(archive.read(pickled)), lambda key: archive.read(f"{folder}data/{key}"))
        try:
            root = reader.load()
        except KeyError as error:
            raise ValueError(f"a record is missing, or it holds more than weights ({error})") from error
    return _tensors_below(root)


def _tensors_below(root: Any) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    left, seen = [("", root)], 0
    while left:
        prefix, shell = left.pop()
        attributes = shell.attributes if isinstance(shell, Shell) else {}
        seen += len(attributes)
        if seen > MAX_ATTRIBUTES:
            raise ValueError(f"its modules have more than {MAX_ATTRIBUTES} attributes, or contain each other")
        for name, value in attributes.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{prefix}{name}"] = value
            elif isinstance(value, Shell):
                left.append((f"{prefix}{name}.", value))
    return tensors


class _Reader(pickle._Unpickler):
    """The standard library's pickle interpreter in Python (that in C allocates what a file asks for), cut down."""

    def __init__(self, file: io.BytesIO, record: Callable[[str], bytes]) -> None:
        super().__init__(file)
        self._record = record
        self._storages: dict[str, torch.Tensor] = {}
        self.stack: list[Any]  # of the base class

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return Shell
        if module == "torch" and name in _NUMBER_TYPES:
            return _NUMBER_TYPES[name]
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("collections", "OrderedDict"): dict,
            **{("torch.jit._pickle", f"build_{kind}list"): list for kind in ("int", "double", "bool", "tensor")},
            ("torch.jit._pickle", "restore_type_tag"): lambda value, _: value,
            ("torch", "device"): str,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not part of a file of weights")
        return known[module, name]

    def persistent_load(self, key: Any) -> torch.Tensor:
        """The storage that `('storage', number type, record, device, count)` stands for, as a flat tensor."""
        _, dtype, name, _, _ = key
        if name not in self._storages:
            data = bytearray(self._record(name))
            self._storages[name] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        return self._storages[name]

    def _build(self) -> None:
        state = self.stack.pop()
        shell = self.stack[-1]
        if not isinstance(shell, Shell):
            raise pickle.UnpicklingError("it gives a state to what is not a module")
        # A module with a `__getstate__` of its own keeps it in another form, which only its code could read.
        shell.attributes = state if isinstance(state, dict) else {}

    def _new(self) -> None:
        if self.stack.pop() != () or self.stack[-1] is not Shell:
            raise pickle.UnpicklingError("it makes an object of what is not a module")
        self.stack[-1] = Shell()

    dispatch: dict[int, Callable[[Any], None]] = {  # type: ignore[misc]  # of the class, there as here
        getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]] for name in _INSTRUCTIONS
    }
    dispatch[pickle.BUILD[0]] = _build
    dispatch[pickle.NEWOBJ[0]] = _new


def _tensor(storage: torch.Tensor, offset: int, size: tuple, stride: tuple, *_: Any) -> torch.Tensor:
    return storage.as_strided(size, stride, offset)
