"""Reading files that may be anything, and writing folders that are whole or not there."""

from __future__ import annotations

import pickle
import random

import pytest
import torch
from safetensors.torch import save_file

from hf_zsar.conversion.checkpoint_files import ConversionError, read_checkpoint, write_folder


class Trap:
    """Code in a pickle: leaves a file behind when it is run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_code_in_a_pickle_is_not_run(tmp_path):
    trace = tmp_path / "trace"
    torch.save({"model_state_dict": Trap(trace)}, tmp_path / "trap.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Trap(trace)))
    (tmp_path / "disguised.safetensors").write_bytes(pickle.dumps(Trap(trace)))
    for name in ("trap.pt", "raw.pt", "disguised.safetensors"):
        with pytest.raises(ConversionError, match=name):
            read_checkpoint(tmp_path / name)
    assert not trace.exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_truncated_files(tmp_path, suffix):
    whole = tmp_path / f"whole{suffix}"
    state = {"a": torch.randn(100)}
    save_file(state, whole) if suffix == ".safetensors" else torch.save(state, whole)
    assert torch.equal(read_checkpoint(whole)["a"], state["a"])
    content = whole.read_bytes()
    for end in (0, 1, 7, 20, len(content) // 2, len(content) - 1):
        cut = tmp_path / f"cut{suffix}"
        cut.write_bytes(content[:end])
        with pytest.raises(ConversionError, match=rf"cut{suffix}"):
            read_checkpoint(cut)


def damaged(content: bytes, seed: int) -> bytes:
    generator = random.Random(seed)
    changed = bytearray(content)
    for _ in range(generator.randint(1, 6)):
        changed[generator.randrange(len(changed))] = generator.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("kind", ["archive", "legacy", "torchscript", "safetensors"])
def test_damaged_files_are_read_or_refused_but_nothing_else(tmp_path, kind):
    path = tmp_path / f"whole.{'safetensors' if kind == 'safetensors' else 'pt'}"
    state = {"model.a": torch.randn(5), "model.b": torch.ones(2, dtype=torch.half)}
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "torchscript":
        torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(path)
    else:
        content = {"model_state_dict": state, "epoch": 3}
        torch.save(content, path, _use_new_zipfile_serialization=kind == "archive")
    whole, refused = path.read_bytes(), 0
    seeds = range(30 if kind == "torchscript" else 150)
    for seed in seeds:
        path.write_bytes(damaged(whole, seed))
        try:
            read_checkpoint(path)
        except ConversionError as error:
            assert path.name in str(error)
            refused += 1
    assert refused > len(seeds) // 3


def test_what_is_no_checkpoint(tmp_path):
    with pytest.raises(ConversionError, match="is not a file"):
        read_checkpoint(tmp_path)
    with pytest.raises(ConversionError, match="is not a file"):
        read_checkpoint(tmp_path / "absent.pt")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(ConversionError, match="holds a list"):
        read_checkpoint(tmp_path / "list.pt")
    (tmp_path / "text.pt").write_text("no checkpoint")
    with pytest.raises(ConversionError, match=r"text\.pt"):
        read_checkpoint(tmp_path / "text.pt")


def test_a_folder_is_whole_or_not_there(tmp_path):
    def fail(folder):
        (tmp_path / folder / "weights").write_text("half")
        raise RuntimeError("the disk is full")

    out = tmp_path / "deep" / "out"
    with pytest.raises(RuntimeError, match="disk is full"):
        write_folder(out, fail)
    assert list((tmp_path / "deep").iterdir()) == []
    write_folder(out, lambda folder: (tmp_path / folder / "weights").write_text("whole"))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    assert (out / "weights").read_text() == "whole"
    with pytest.raises(ConversionError, match="exists and is not empty"):
        write_folder(out, lambda folder: None)
    assert (out / "weights").read_text() == "whole"


def test_an_empty_folder_may_be_written_to_and_a_file_may_not(tmp_path):
    (tmp_path / "empty").mkdir()
    write_folder(tmp_path / "empty", lambda folder: (tmp_path / folder / "a").touch())
    assert (tmp_path / "empty" / "a").exists()
    (tmp_path / "file").touch()
    with pytest.raises(ConversionError, match="exists and is not empty"):
        write_folder(tmp_path / "file", lambda folder: None)
