"""Segments from a store of windows are those from the video, and `hf-zsar find` takes a store for videos."""

from __future__ import annotations

import json

import pytest
import torch

from hf_zsar.cli import main
from hf_zsar.evaluation.metrics.localization import localization_map
from hf_zsar.features.asking import StoreReader
from hf_zsar.features.store import FeatureStore, Header, StoreError, VideoFile
from hf_zsar.modeling.modeling_zsar import VideoFeatures
from hf_zsar.segments.stored import stored_segments
from tests.joined_clips import join
from tests.segments.oracle import as_found, made_clips, oracle
from tests.tiny_models import tiny_folder
from tests.videos import write_video


def test_segments_of_a_store_are_those_of_its_videos(tmp_path):
    clips = made_clips(tmp_path, [2, 3, 4])
    pipe, labels = oracle(clips), sorted({clip.label for clip in clips})
    header = Header({"identity": str(pipe.model.identity())}, {"window": 1.0, "stride": 0.25})
    store, truths = FeatureStore.claim(tmp_path / "store", header), []
    for seed in range(2):
        path = tmp_path / f"joined{seed}.mp4"
        truths += as_found(join(clips, path, (10, 15), seed, marked=True), path.stem)
        video = VideoFile(path.name, str(path))
        windows = list(pipe.processor.video_processor.iter_windows(str(path), 1.0, 0.25))
        half = len(windows) // 2
        for part in (windows[half:], windows[:half]):  # whatever the order, and over shards
            embeds = [pipe.encode_videos(frames[None]).video_embeds for _, _, frames in part]
            features = VideoFeatures.cat([VideoFeatures(video_embeds=each) for each in embeds])
            rows = [video.row.stretch(start, end) for start, end, _ in part]
            store.write(rows, features, [video] if part[0][0] == 0 else [])
    pipe.frames_encoded = 0
    found = dict(stored_segments(StoreReader(tmp_path / "store"), pipe, labels, batch_size=7))
    assert pipe.frames_encoded == 0 and list(found) == [str(tmp_path / f"joined{seed}.mp4") for seed in range(2)]
    detected = [each for source, segments in found.items() for each in as_found(segments, source[-11:-4])]
    assert localization_map(truths, detected)["map"][0] >= 0.9


def test_the_command_takes_a_store(tmp_path, capsys):
    model = str(tiny_folder("rest", tmp_path / "model"))
    (tmp_path / "clips").mkdir()
    for name in ("a", "b"):
        write_video(tmp_path / "clips" / f"{name}.mp4", 72)
    store, words = str(tmp_path / "s"), ["--labels", "cooking", "surfing", "--model", model]
    assert (
        main(["embed", str(tmp_path / "clips"), "--out", store, "--window", "1", "--stride", "0.5", "--model", model])
        == 0
    )
    for path in (tmp_path / "clips").iterdir():
        path.unlink()
    capsys.readouterr()
    assert main(["find", store, *words, "--json", "--all-known"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["video"][-5:] for record in records] == ["a.mp4", "b.mp4"]
    assert all(0 <= each["start"] < each["end"] <= 3.01 for record in records for each in record["segments"])
    for option in ("--window", "--stride", "--num-frames"):
        assert main(["find", store, *words, option, "1"]) == 2
        assert f"has its windows already: leave out {option}" in capsys.readouterr().err


def test_a_store_of_whole_videos_is_refused(tmp_path):
    clips = made_clips(tmp_path, [2])
    pipe, video = oracle(clips), VideoFile("a", "a.mp4")
    store = FeatureStore.claim(tmp_path / "s", Header({"identity": str(pipe.model.identity())}, {}))
    store.write([video.row], VideoFeatures(video_embeds=torch.ones(1, 4)), [video])
    with pytest.raises(StoreError, match="embed the videos again with --window"):
        list(stored_segments(StoreReader(tmp_path / "s"), pipe, ["x"]))
