"""One function, three engines: this process, `datasets`, and the actors of a Ray cluster give one store."""

from __future__ import annotations

import importlib.util
import json
import math
import pickle
import subprocess
import sys

import pytest
import torch

from hf_zsar.features.encoding import EncodingOptions, encode_videos, feature_header
from hf_zsar.features.planning import plan_for
from hf_zsar.features.rows import RowEncoder, columns_of, step_of, videos_of
from hf_zsar.features.store import FeatureStore, VideoFile, file_signature
from hf_zsar.features.writing import ShardWriter
from tests.evaluation.toy import color_pair, write_clip


def clips(folder, count=10, broken=(3,), frames=3) -> list[VideoFile]:
    paths = [write_clip(folder / f"{number:02}.avi", 10 * number, frames) for number in range(count)]
    for number in broken:
        paths[number].write_bytes(b"nothing")
    return [VideoFile(path.name, str(path), file_signature(path)) for path in paths]


def content(store: FeatureStore) -> dict:
    """Rows by id, and what could not be read."""
    found = zip(store.rows, store.read(store.rows).video_embeds.tolist(), strict=True)
    return {row.id: (row, value) for row, value in found} | {"errors": sorted(map(str, store.errors))}


def in_process(folder, videos, options) -> FeatureStore:
    model, processor = color_pair([])
    store = FeatureStore.claim(folder, feature_header(model, processor, options))
    encode_videos(model, processor, videos, store, options)
    return store


@pytest.mark.parametrize("window", [None, 0.1])
def test_the_function_gives_what_the_store_takes(tmp_path, window):
    videos, options = clips(tmp_path / "clips"), EncodingOptions(dtype="float16", window=window)
    expected = in_process(tmp_path / "a", videos, options)
    encode_rows = pickle.loads(pickle.dumps(RowEncoder(*color_pair([]), options)))
    store = FeatureStore.claim(tmp_path / "b", expected.header)
    import pyarrow as pa

    keys = {video.key: video for video in videos}
    with ShardWriter(store) as writer:
        for start in range(0, 10, 4):
            batch = pa.table(columns_of(videos[start : start + 4]))
            writer.add(step_of(encode_rows(batch), dict.fromkeys(("video_embeds", "frame_embeds"), "float16"), keys))
    assert content(store) == content(expected)
    assert [video in store for video in videos] == [number != 3 for number in range(10)]
    assert store.read(store.rows).video_embeds.dtype == torch.float16


def test_datasets_map_calls_it(tmp_path):
    from datasets import Dataset

    videos = clips(tmp_path / "clips", 5)
    data = Dataset.from_dict({"source": [video.source for video in videos]})
    encode_rows = RowEncoder(*color_pair([]), EncodingOptions(dtype="float32"))
    rows = data.map(encode_rows, batched=True, batch_size=2, remove_columns=data.column_names)
    assert rows["id"][:] == [videos[n].source for n in (0, 1, 2, 4)[:2]] + [videos[n].source for n in (2, 3, 4)]
    assert [row is None for row in rows["error"]] == [True, True, True, False, True]
    numbers = [value[0] for value in rows["video_embeds"]]
    assert [n for n in numbers if not math.isnan(n)] == [0, 10, 20, 40] and math.isnan(numbers[3])


def test_a_batch_of_broken_videos_has_the_shape_of_others(tmp_path):
    videos = clips(tmp_path / "clips", 3, broken=(0, 1))
    for options in (EncodingOptions(), EncodingOptions(window=0.1), EncodingOptions({"num_views": 2})):
        shapes = []
        for batch in (videos[:2], videos[2:]):
            rows = RowEncoder(*color_pair([]), options)(columns_of(batch))
            shapes.append(rows.schema)
        assert shapes[0] == shapes[1]


def test_columns_and_videos_are_the_same_thing():
    videos = [VideoFile("a", "b", "5-c"), VideoFile("d", "tar://e::f", "7-g", (512, 7))]
    assert videos_of(columns_of(videos)) == videos
    assert videos_of({"source": ["x", "y"]}) == [VideoFile("x", "x"), VideoFile("y", "y")]


def test_the_store_keeps_what_is_scored_with_and_says_what_it_lacks(tmp_path):
    videos = clips(tmp_path / "clips", 3, ())
    model, processor = color_pair([])
    for needs, pooled, kept in (((), False, {"video_embeds"}), (None, False, {"video_embeds", "frame_embeds"})):
        type(model).score_inputs = needs
        try:
            store = in_process(tmp_path / str(needs), videos, EncodingOptions(pooled=pooled))
            assert set(store.read(store.rows).keys()) == kept
            store.check_model(model)
        finally:
            del type(model).score_inputs
    type(model).score_inputs = ("frame_embeds",)
    try:
        store = in_process(tmp_path / "pooled", videos, EncodingOptions(pooled=True))
        with pytest.raises(ValueError, match="keeps video_embeds alone.*frame_embeds, too"):
            store.check_model(model)
    finally:
        del type(model).score_inputs


def test_numbers_beyond_float16_are_an_error_of_the_video(tmp_path):
    videos = clips(tmp_path / "clips", 3, ())
    model, processor = color_pair([])
    compute = model.encode_videos
    model.encode_videos = lambda pixels: compute(pixels).map(lambda tensor: torch.where(tensor == 10, 1e6, tensor))
    for dtype, lost in (("float16", ["01.avi"]), ("float32", [])):
        options = EncodingOptions(dtype=dtype)
        store = FeatureStore.claim(tmp_path / dtype, feature_header(model, processor, options))
        broken = encode_videos(model, processor, videos, store, options)
        assert list(broken) == lost and all("store them as float32" in why for why in broken.values())


def test_a_plan_says_hours_bytes_and_machines_and_writes_nothing(tmp_path):
    from hf_zsar.features.encoding import VideoEncoder

    videos = clips(tmp_path / "clips", 20, broken=(7,))
    before = sorted(tmp_path.rglob("*"))
    plan = plan_for(VideoEncoder(*color_pair([]), EncodingOptions(dtype="float16")), videos * 150)
    assert (plan.videos, plan.measured) == (3000, 20) and plan.seconds > 0
    assert 2000 < plan.rows < 4000 and plan.bytes > 10 * plan.rows
    assert plan.machines(plan.seconds / 3600 / 2.5) == 3
    assert "hours on this machine" in str(plan) and "GB in the store" in str(plan) and "machines" in str(plan)
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(ValueError, match=r"none of the 1 videos.*07\.avi"):
        plan_for(VideoEncoder(*color_pair([]), EncodingOptions()), [videos[7]])


needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra `ray`)")


@needs_ray
@pytest.mark.slow
def test_any_engine_gives_the_same_store_whatever_is_killed(tmp_path):
    command = [sys.executable, "-m", "tests.features.clusters", str(tmp_path), "--rounds", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500)
    trials = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"trial"')]
    assert [(trial["trial"], trial["faults"]) for trial in trials] == [
        (name, {}) for name in ("same", "drivers", "actors", "nodes")
    ], done.stderr[-2000:]
