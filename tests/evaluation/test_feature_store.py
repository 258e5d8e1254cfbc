"""The feature store: what it is keyed by, that shards are whole or absent, and what damage does."""

from __future__ import annotations

import json
import os
import socket

import pytest
import torch

from hf_zsar.evaluation.encoding import feature_settings
from hf_zsar.evaluation.feature_store import ClipFile, FeatureStore, file_signature
from hf_zsar.modeling.modeling_zsar import VideoFeatures
from tests.evaluation.toy import colour_pair


def files(*names: str) -> list[ClipFile]:
    return [ClipFile(name, f"/{name}.avi", f"1-{name}") for name in names]


def features(*values: float) -> VideoFeatures:
    embeds = torch.tensor(values)[:, None]
    return VideoFeatures(video_embeds=embeds, frame_embeds=embeds[:, None, None].expand(-1, 1, 3, 2).contiguous())


def open_store(root, **settings) -> FeatureStore:
    return FeatureStore(root, settings).open()


def test_what_is_written_is_read_in_any_order_and_by_another_process(tmp_path):
    store = open_store(tmp_path)
    store.write(files("a", "b"), features(1, 2))
    store.write(files("c"), features(3), {files("c")[0].key: "cut short"})
    again = open_store(tmp_path)
    read = again.read(files("c", "a"))
    assert read.video_embeds.tolist() == [[3], [1]]
    assert read.frame_embeds.shape == (2, 1, 3, 2)
    assert read.patch_embeds is None
    assert len(again) == 3
    assert again.notes == {files("c")[0].key: "cut short"}
    assert files("d")[0] not in again
    with pytest.raises(KeyError):
        again.read(files("d"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_number_types_are_kept_to_the_bit(tmp_path, dtype):
    store = open_store(tmp_path)
    value = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    store.write(files(*"abcd"), VideoFeatures(video_embeds=value))
    assert torch.equal(store.read(files(*"abcd")).video_embeds, value)


def test_settings_name_the_folder_and_are_written_down(tmp_path):
    one, two = open_store(tmp_path, weights="x"), open_store(tmp_path, weights="y")
    assert one.folder != two.folder
    assert open_store(tmp_path, weights="x").folder == one.folder
    assert json.loads((one.folder / "about.json").read_text())["weights"] == "x"


def test_all_that_a_feature_depends_on_is_in_the_settings():
    model, processor = colour_pair(["a"])
    first = feature_settings(model, processor, {})
    assert feature_settings(*colour_pair(["a"]), {}) == first
    assert feature_settings(model, processor, {"num_views": 3}) != first
    processor.video_processor.image_mean = [0.1, 0.2, 0.3]
    assert feature_settings(model, processor, {}) != first
    assert feature_settings(model.to(torch.bfloat16), colour_pair(["a"])[1], {}) != first


def test_a_damaged_shard_is_named_and_left_out(tmp_path):
    store = open_store(tmp_path)
    store.write(files("a"), features(1))
    store.write(files("b"), features(2))
    broken, _ = sorted(store.folder.glob("*.safetensors"))
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.warns(UserWarning, match=f"{broken.name} cannot be read .* encoded again"):
        again = open_store(tmp_path)
    assert len(again) == 1


def test_a_foreign_safetensors_file_is_left_out(tmp_path):
    from safetensors.torch import save_file

    store = open_store(tmp_path)
    save_file({"x": torch.zeros(1)}, store.folder / "other.safetensors")
    with pytest.warns(UserWarning, match="other.safetensors cannot be read"):
        assert len(open_store(tmp_path)) == 0


def test_leftovers_of_dead_processes_go_and_those_of_live_ones_stay(tmp_path):
    store = open_store(tmp_path)
    host = socket.gethostname()
    dead_id = 2**22 + 1  # above the largest process id that Linux gives
    dead = store.folder / f".x.safetensors.{host}.{dead_id}.tmp"
    alive = store.folder / f".x.safetensors.{host}.{os.getpid()}.tmp"
    elsewhere = store.folder / f".x.safetensors.not-{host}.{dead_id}.tmp"
    for path in (dead, alive, elsewhere):
        path.touch()
    store.open()
    assert [path.exists() for path in (dead, alive, elsewhere)] == [False, True, True]


def test_a_failed_write_leaves_no_shard(tmp_path, monkeypatch):
    store = open_store(tmp_path)

    def full_disk(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        store.write(files("a"), features(1))
    monkeypatch.undo()
    assert [path.name for path in store.folder.iterdir()] == ["about.json"]
    assert files("a")[0] not in store


def test_signatures_notice_a_change_anywhere_that_is_looked_at(tmp_path):
    path = tmp_path / "v"
    content = bytearray(os.urandom(200_000))
    seen = set()
    for position in (0, 100_000, 199_999):
        content[position] ^= 1
        path.write_bytes(content)
        seen.add(file_signature(path))
    path.write_bytes(content + b"x")
    seen.add(file_signature(path))
    assert len(seen) == 4
    path.write_bytes(b"")
    assert file_signature(path).startswith("0-")
