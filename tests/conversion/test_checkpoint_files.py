"""Reading files that may be anything, and writing folders that are whole or not there."""

from __future__ import annotations

import pickle

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
