"""TorchScript archives are read for their tensors; none of their code is run, and no archive asks for much."""

from __future__ import annotations

import importlib
import io
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from hf_zsar.cli import main
from hf_zsar.conversion.checkpoint_files import ConversionError, read_checkpoint, tensors_of
from tests.conversion.official_files import openai_clip


# At loading, torch.from_file makes a file of 16 bytes: what anybody may put into a checkpoint.
TRAP = """
import torch
from typing import Tuple

class Inner(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.weight

    @torch.jit.export
    def __getstate__(self) -> Tuple[torch.Tensor, bool]:
        return (self.weight, self.training)

    @torch.jit.export
    def __setstate__(self, state: Tuple[torch.Tensor, bool]) -> None:
        self.weight = state[0]
        self.training = bool(torch.from_file({trace!r}, True, 16, dtype=torch.uint8).fill_(65)[0] == 65)

class Outer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = torch.nn.ModuleList([Inner()])
        self.proj = torch.nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in self.visual:
            x = part(x)
        return x
"""


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """The module of the trap and the file that its code makes."""
    trace = tmp_path / "trace"
    (tmp_path / "trap_of_a_test.py").write_text(TRAP.format(trace=str(trace)))
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("trap_of_a_test"), trace
    del sys.modules["trap_of_a_test"]


@pytest.mark.parametrize("name", ["Inner", "Outer"])
def test_the_code_of_an_archive_is_not_run(tmp_path, trap, name):
    module, trace = trap
    path = tmp_path / "clip.pt"
    torch.jit.save(torch.jit.script(getattr(module, name)()), path)
    trace.unlink(missing_ok=True)
    assert list(read_checkpoint(path)) == (["proj"] if name == "Outer" else [])
    assert main(["convert", str(path), str(tmp_path / "out"), "--from", "openai-clip"]) == 2
    assert not trace.exists()
    torch.jit.load(path)
    assert trace.exists(), "the trap works: PyTorch's own reader walks into it"


class Tower(torch.nn.Module):
    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for name, tensor in state.items():
            *parents, last = name.split(".")
            part = self
            for parent in parents:
                if not hasattr(part, parent):
                    part.add_module(parent, torch.nn.Module())
                part = getattr(part, parent)
            part.register_parameter(last, torch.nn.Parameter(tensor.half()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.logit_scale


def test_an_archive_like_openai_s_converts(tmp_path):
    state = openai_clip()
    path = tmp_path / "ViT-B-32.pt"
    torch.jit.save(torch.jit.trace(Tower(state), torch.zeros(1).half(), check_trace=False), path)
    found, expected = read_checkpoint(path), torch.jit.load(path).state_dict()
    assert found.keys() == expected.keys() == state.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert main(["convert", str(path), str(tmp_path / "out"), "--from", "openai-clip"]) == 0
    assert (tmp_path / "out" / "model.safetensors").is_file()


def archive(path: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED, **records: bytes) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("x/data.pkl", pickled)
        file.writestr("x/constants.pkl", b"\x80\x02).")
        for name, data in records.items():
            file.writestr(f"x/data/{name}", data)
    return path


SHELL = b"c__torch__\nM\n)\x81"  # an object of a class of the file


def put(index: int) -> bytes:
    return b"r" + struct.pack("<I", index)


def get(index: int) -> bytes:
    return b"j" + struct.pack("<I", index)


def nested_shells(levels: int) -> bytes:
    """Each holds the next one twice: 2 ** levels ways to the last."""
    pieces = [b"\x80\x02(", SHELL, put(1)]
    for level in range(1, levels):
        pieces += [SHELL, put(level + 1), b"}(X\x01\0\0\0a", get(level), b"X\x01\0\0\0b", get(level), b"ub"]
    return b"".join([*pieces, SHELL, b"}(X\x01\0\0\0a", get(levels), b"ub."])


def storage(key: str, count: int) -> bytes:
    return (
        b"((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0%sX\x03\0\0\0cpuM" % key.encode()
        + struct.pack("<H", count)
        + b"tQ"
    )


class Call:
    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_pickles_that_ask_for_more_than_tensors(tmp_path):
    trace = tmp_path / "trace"
    hostile = {
        "a call": pickle.dumps(Call(open, str(trace), "w"), 2),
        "a call in protocol 4": pickle.dumps(Call(open, str(trace), "w"), 4),
        "a call in protocol 0": pickle.dumps(Call(open, str(trace), "w"), 0),
        "a class by INST": b"(Vx\nVw\nibuiltins\nopen\n.",
        "an extension": b"\x80\x02\x82\x01.",
        "a state for a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}(X\x01\0\0\0aK\x01ub.",
        "an object of a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)\x81.",
        "modules in modules without end": b"\x80\x02" + SHELL + put(1) + b"}X\x01\0\0\0a" + get(1) + b"sb.",
        "modules shared 2 ** 60 times": nested_shells(60),
        "a memo of 2 ** 31 places": b"\x80\x02" + SHELL + put(2**31 - 1) + b"}(X\x01\0\0\0aK\x01ub.",
        "bytes of 2 ** 40": b"\x80\x04\x8e" + struct.pack("<Q", 2**40),
        "a text of 2 ** 31": b"\x80\x02X" + struct.pack("<I", 2**31 - 1) + b"abc",
        "a record that is not there": b"\x80\x02" + storage("7", 1) + b".",
        "nothing": b"",
    }  # fmt: skip
    for name, pickled in hostile.items():
        path = archive(tmp_path / "x.pt", pickled)
        try:
            assert read_checkpoint(path) == {}, name
        except ConversionError as error:
            assert "x.pt" in str(error), name
    assert not trace.exists()


def test_archives_that_are_larger_inside_than_outside(tmp_path):
    shape = b"K\x00(K\x04t(K\x01t\x89c" + b"collections\nOrderedDict\n)Rt"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n" + storage("0", 4) + shape + b"R"
    pickled = b"\x80\x02" + SHELL + b"}(X\x01\0\0\0a" + tensor + b"ub."
    good = archive(tmp_path / "good.pt", pickled, **{"0": bytes(16)})
    assert read_checkpoint(good)["a"].tolist() == [0.0] * 4
    bomb = archive(tmp_path / "bomb.pt", pickled, zipfile.ZIP_DEFLATED, **{"0": bytes(50_000_000)})
    assert bomb.stat().st_size < 100_000
    with pytest.raises(ConversionError, match="compressed or overlap"):
        read_checkpoint(bomb)
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(2_000_000)}, buffer)
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(buffer) as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for record in plain.namelist():
            file.writestr(record, plain.read(record))
    with pytest.raises(ConversionError, match="compressed or overlap"):
        read_checkpoint(packed)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**6, 10**6),
        torch.zeros(4).as_strided((10**5, 3), (0, 1)),
        torch.eye(3).to_sparse(),
        torch.empty(10**9, 10**9, device="meta"),
    ],
    ids=["expanded", "strided", "sparse", "meta"],
)
def test_weights_that_are_larger_than_their_bytes_are_refused(tmp_path, tensor):
    torch.save({"weight": tensor}, tmp_path / "x.pt")
    with pytest.raises(ConversionError, match="sparse, quantized, without values or repeated: weight"):
        tensors_of(read_checkpoint(tmp_path / "x.pt"), "x.pt")
