"""The feature store: what it is of, that shards are whole or absent, what extends it, what damage does."""

from __future__ import annotations

import json
import os
import warnings

import pytest
import torch

from hf_zsar import METHODS, load
from hf_zsar.features import encoding, writing
from hf_zsar.features.encoding import EncodingOptions, encode_videos, feature_header
from hf_zsar.features.processes import Processes
from hf_zsar.features.shards import Row, ShardError, read_features, read_rows, write_shard
from hf_zsar.features.store import FeatureStore, Header, StoreError, VideoFile, check_place, file_signature
from hf_zsar.files import append_line
from hf_zsar.modeling.modeling_zsar import VideoFeatures
from hf_zsar.processing.video_reading import VideoReadWarning
from tests.evaluation.toy import color_pair, write_clip
from tests.tiny_encoders import encoder_folder, some_videos
from tests.tiny_models import LABELS, tiny_model, tiny_processor, tiny_videos
from tests.videos import write_video


def videos(*names: str) -> list[VideoFile]:
    return [VideoFile(name, f"/{name}.avi", f"1-{name}") for name in names]


def rows(*names: str) -> list[Row]:
    return [video.row for video in videos(*names)]


def features(*values: float) -> VideoFeatures:
    embeds = torch.tensor(values)[:, None]
    return VideoFeatures(video_embeds=embeds, frame_embeds=embeds[:, None, None].expand(-1, 1, 3, 2).contiguous())


def header(identity: str = "m", **settings) -> Header:
    return Header({"id": "org/model", "identity": identity}, {"video": {"num_frames": 8}, **settings})


def add(store: FeatureStore, names: str, *values: float) -> None:
    store.write(rows(*names), features(*values), videos(*names))


def test_what_is_written_is_read_in_any_order_and_by_another_process(tmp_path):
    store = FeatureStore.claim(tmp_path / "s", header())
    add(store, "ab", 1, 2)
    noted = Row("c", "/c.avi", None, None, "1-c", ("cut short",))
    store.write([noted], features(3), videos("c"))
    again = FeatureStore.claim(tmp_path / "s", header())
    read = again.read(rows("c", "a"))
    assert read.video_embeds.tolist() == [[3], [1]]
    assert read.frame_embeds.shape == (2, 1, 3, 2)
    assert read.patch_embeds is None
    assert again.rows == [*rows("a", "b"), noted]
    assert again.warnings_of(videos("c")[0]) == ("cut short",)
    assert videos("d")[0] not in again
    assert [([row.id for row in part], value.video_embeds.tolist()) for part, value in again.batches(2)] == [
        (["a", "b"], [[1], [2]]),
        (["c"], [[3]]),
    ]
    with pytest.raises(KeyError):
        again.read(rows("d"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_number_types_are_kept_to_the_bit(tmp_path, dtype):
    value = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    patches = torch.randn(4, 1, 2, 3, 5, generator=torch.Generator().manual_seed(1)).to(dtype)
    write_shard(tmp_path / "x", rows(*"abcd"), VideoFeatures(video_embeds=value, patch_embeds=patches), {})
    read = read_features(tmp_path / "x")
    assert read.video_embeds.dtype == dtype
    assert torch.equal(read.video_embeds, value) and torch.equal(read.patch_embeds, patches)


def test_datasets_reads_the_folder_as_it_is(tmp_path, monkeypatch):
    from datasets import load_dataset

    store = FeatureStore.claim(tmp_path / "s", header())
    add(store, "ab", 1, 2)
    add(store, "c", 3)
    store.add_error(VideoFile("x", "x"), "broken")
    data = load_dataset(str(tmp_path / "s"), split="train", cache_dir=str(tmp_path / "cache"))
    assert data["id"][:] == ["a", "b", "c"] and data["source"][2] == "/c.avi"
    assert data[1]["frame_embeds"] == [[[2, 2]] * 3]
    assert data[0]["start"] is None and data[0]["warnings"] == []
    assert {path.parent.name for path in (tmp_path / "s").rglob("*.parquet")} == {"data"}


def test_a_store_takes_features_of_one_model_and_one_way_of_reading_only(tmp_path):
    FeatureStore.claim(tmp_path / "s", header())
    with pytest.raises(StoreError, match=r"another model \(org/model; this is org/model\)\. Choose another folder"):
        FeatureStore.claim(tmp_path / "s", header("other"))
    with pytest.raises(StoreError, match="read in another way: video.num_frames 8 instead of 16"):
        FeatureStore.claim(tmp_path / "s", header(video={"num_frames": 16}))
    with pytest.raises(StoreError, match="window None instead of 2"):
        FeatureStore.claim(tmp_path / "s", header(window=2))
    assert json.loads((tmp_path / "s" / "features.json").read_text())["encoding"] == {"video": {"num_frames": 8}}


def test_all_that_a_feature_depends_on_is_in_the_header():
    def of(pair=None, options=None, **others) -> Header:
        model, processor = pair or color_pair(["a"])
        return feature_header(model, processor, EncodingOptions(options or {}, **others))

    first, processor = of(), color_pair(["a"])[1]
    assert of() == first and of().fingerprint == first.fingerprint
    processor.video_processor.image_mean = [0.1, 0.2, 0.3]
    changed = torch.nn.Parameter(torch.full((1,), 2.0))
    model = color_pair(["a"])[0]
    model.weight = changed
    others = [
        of(options={"num_frames": 4}),
        of(options={"num_views": 3}),
        of((color_pair(["a"])[0], processor)),
        of((model, color_pair(["a"])[1])),
        of((color_pair(["a"])[0].to(torch.bfloat16), color_pair(["a"])[1])),
        of(window=2.0),
        of(window=2.0, stride=1.0),
    ]
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == len(others) + 1
    assert all(first.difference(other) for other in others)
    assert of(batch_size=3, num_workers=5) == first
    with pytest.raises(ValueError, match="at random"):
        of(options={"sampling": "tsn_random"})


@pytest.mark.parametrize("shape", ["video", "view", "one more"])
def test_features_of_other_shapes_are_refused(tmp_path, shape):
    store = FeatureStore.claim(tmp_path / "s", header())
    add(store, "a", 1)
    wrong = {
        "video": VideoFeatures(video_embeds=torch.zeros(1, 2), frame_embeds=torch.zeros(1, 1, 3, 2)),
        "view": VideoFeatures(video_embeds=torch.zeros(1, 1), frame_embeds=torch.zeros(1, 2, 3, 2)),
        "one more": VideoFeatures(video_embeds=torch.zeros(1, 1)),
    }[shape]
    with pytest.raises(StoreError, match=r"/b\.avi gives features of other shapes"):
        FeatureStore.open(tmp_path / "s").write(rows("b"), wrong, videos("b"))


def test_the_newest_rows_of_a_replaced_file_count(tmp_path):
    store = FeatureStore.claim(tmp_path / "s", header())
    old, new = VideoFile("a", "a.avi", "1"), VideoFile("a", "a.avi", "2")
    store.write([old.row.stretch(0, 2), old.row.stretch(2, 4)], features(1, 2), [old])
    store.write([new.row.stretch(0, 2)], features(3), [new])
    again = FeatureStore.open(tmp_path / "s")
    assert old in again and new in again
    assert again.rows == [new.row.stretch(0, 2)]
    assert again.rows[0].id == "a#t=0.000,2.000"
    assert again.read(again.rows).video_embeds.tolist() == [[3]]


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no parquet" * 100),
    "foreign": lambda path: _foreign(path),
    "of another store": lambda path: write_shard(path, rows("a"), features(1), {"fingerprint": "x", "complete": []}),
    "says nothing": lambda path: write_shard(path, rows("a"), features(1), {}),
}


def _foreign(path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ["a"], "label": [1]}), path)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_or_foreign_shard_is_named_and_left_out(tmp_path, damage):
    store = FeatureStore.claim(tmp_path / "s", header())
    add(store, "a", 1)
    add(store, "b", 2)
    broken = sorted((tmp_path / "s" / "data").iterdir())[0]
    DAMAGE[damage](broken)
    with pytest.warns(UserWarning, match=rf"{broken.name} .*encoded again"):
        again = FeatureStore.open(tmp_path / "s")
    assert again.rows == rows("b")
    assert videos("a")[0] not in again and videos("b")[0] in again


def test_a_tampered_shard_runs_nothing(tmp_path):
    import pyarrow.parquet as pq

    write_shard(tmp_path / "x", rows("a"), features(1), {})
    table = pq.read_table(tmp_path / "x")
    about = {"dtypes": {"video_embeds": "load", "frame_embeds": "float32"}}
    pq.write_table(table.replace_schema_metadata({"hf_zsar": json.dumps(about)}), tmp_path / "x")
    with pytest.raises(ShardError, match="load is not a type of numbers"):
        read_features(tmp_path / "x")
    with pytest.raises(ShardError, match="nothing"):
        read_rows(tmp_path / "nothing")


HEADERS = {
    "no JSON": "{",
    "no object": "[1]",
    "no model": '{"format": "hf_zsar/features/2", "encoding": {}}',
    "no identity": '{"format": "hf_zsar/features/2", "model": {}, "encoding": {}}',
    "wrong types": '{"format": "hf_zsar/features/2", "model": {"identity": 5}, "encoding": 7}',
    "a later version": '{"format": "hf_zsar/features/99", "model": {"identity": "m"}, "encoding": {}}',
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_damaged_header_is_named(tmp_path, name):
    FeatureStore.claim(tmp_path / "s", header())
    (tmp_path / "s" / "features.json").write_text(HEADERS[name])
    with pytest.raises(StoreError, match=r"features\.json"):
        FeatureStore.open(tmp_path / "s")
    with pytest.raises(StoreError, match=r"features\.json"):
        FeatureStore.claim(tmp_path / "s", header())


def test_what_is_no_store_is_refused_and_left_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        FeatureStore.open(tmp_path / "none")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(StoreError, match="not a store of features"):
        FeatureStore.open(tmp_path / "mine")
    for call in (check_place, lambda folder: FeatureStore.claim(folder, header())):
        with pytest.raises(StoreError, match="not empty and no store"):
            call(tmp_path / "mine")
        with pytest.raises(NotADirectoryError):
            call(tmp_path / "mine" / "thesis.txt")
    assert os.listdir(tmp_path / "mine") == ["thesis.txt"]
    assert not check_place(tmp_path / "new") and not (tmp_path / "new").exists()


def test_a_claim_killed_at_any_moment_can_be_made_again(tmp_path, monkeypatch):
    """The header comes first: with it the folder is a store, without it the folder counts as empty."""
    import hf_zsar.features.store as module

    class Killed(BaseException):
        pass

    for number, name in enumerate(("write_json", "write_text")):
        folder = tmp_path / str(number)

        def kill(*args):
            raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(module, name, kill)
            FeatureStore.claim(folder, header())
        store = FeatureStore.claim(folder, header())
        add(store, "a", 1)
        assert sorted(os.listdir(folder)) == ["README.md", "data", "features.json"]


def test_errors_are_lines_of_json_that_survive_a_kill(tmp_path):
    store = FeatureStore.claim(tmp_path / "s", header())
    for _ in range(2):
        store.add_error(VideoFile("a\udce9.avi", "a\udce9.avi"), "a\udce9.avi: no such file.")
    path = tmp_path / "s" / "errors.jsonl"
    path.write_bytes(path.read_bytes() + b'{"id": "torn')
    again = FeatureStore.open(tmp_path / "s")
    again.add_error(VideoFile("b", "b"), "why")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["id"] for line in lines] == ["a\\udce9.avi", "b"]
    assert lines == FeatureStore.open(tmp_path / "s").errors
    for damage in ("no json", "[]", '{"id": "a"}'):
        path.write_text(f"{damage}\n")
        with pytest.raises(StoreError, match=r"errors\.jsonl is damaged"):
            FeatureStore.open(tmp_path / "s")


def test_lines_of_several_writers_are_whole_and_a_full_disk_adds_none(tmp_path, monkeypatch):
    path = tmp_path / "lines"
    append_line(path, "a" * 5000)
    before = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match=r"No space .*lines"):
        patch.setattr(os, "fsync", full)
        append_line(path, "b")
    assert path.read_bytes() == before
    children = []
    for number in range(4):
        children.append(os.fork())
        if not children[-1]:
            for _ in range(20):
                append_line(path, str(number) * 3000)
            os._exit(0)
    assert not any(os.waitpid(child, 0)[1] for child in children)
    lines = path.read_text().splitlines()
    assert len(lines) == 81 and {len(set(line)) for line in lines} == {1}


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
    assert file_signature(tmp_path) == file_signature("https://example.org/v.mp4") == ""


# encoding


@pytest.fixture
def clips(tmp_path) -> list[VideoFile]:
    """Ten clips in the colors of 0, 10, ...; the fourth cannot be read."""
    paths = [write_clip(tmp_path / "clips" / f"{n}.avi", 10 * n) for n in range(10)]
    paths[3].write_bytes(b"nothing")
    return [VideoFile(str(path), str(path), file_signature(path)) for path in paths]


def run(folder, clips, on_batch=None, **options) -> tuple[FeatureStore, dict[str, str]]:
    model, processor = color_pair([], on_batch)
    options = EncodingOptions({}, **{"batch_size": 2, **options})
    store = FeatureStore.claim(folder, feature_header(model, processor, options))
    return store, encode_videos(model, processor, clips, store, options)


def values(store: FeatureStore) -> dict[str, list[float]]:
    found = zip(store.rows, store.read(store.rows).video_embeds.tolist(), strict=True)
    return {os.path.basename(row.id): value for row, value in found}


def test_every_video_that_can_be_read_is_in_the_store_and_the_others_in_its_errors(tmp_path, clips):
    said = []
    store, broken = run(tmp_path / "s", clips, say=said.append)
    assert values(store) == {f"{n}.avi": [10 * n] for n in range(10) if n != 3}
    assert list(broken) == [clips[3].id] == [error["id"] for error in store.errors]
    assert said == [f"error: {broken[clips[3].id]}"]


@pytest.mark.parametrize("window", [None, 0.5])
def test_a_video_whose_features_are_not_finite_costs_itself_and_is_named(tmp_path, clips, monkeypatch, window):
    encode = encoding.encode_batch

    def overflow(model, pixel_values):
        found = encode(model, pixel_values)
        if 50 in found.video_embeds:
            raise FloatingPointError("the model gave NaN")
        return found

    monkeypatch.setattr(encoding, "encode_batch", overflow)
    store, broken = run(tmp_path / "s", clips, window=window)
    kept = {os.path.basename(row.id).split("#")[0] for row in store.rows}
    assert kept == {f"{n}.avi" for n in range(10) if n not in (3, 5)}
    assert list(broken) == [clips[3].id, clips[5].id]
    assert broken[clips[5].id].endswith("5.avi: the model gave NaN")
    assert [error["id"] for error in store.errors] == list(broken)


def test_warnings_of_other_kinds_are_shown_once_encoding_is_over(tmp_path, clips):
    with pytest.warns(DeprecationWarning, match="old") as caught:
        run(tmp_path / "s", clips, lambda: warnings.warn("old", DeprecationWarning, stacklevel=1))
    assert not [each for each in caught if issubclass(each.category, VideoReadWarning)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_was_encoded_before_an_interruption_is_kept_and_not_encoded_again(tmp_path, clips, error):
    calls = []

    def stop_at_the_fourth_batch():
        calls.append(1)
        if len(calls) == 4:
            raise error

    with pytest.raises(error):
        run(tmp_path / "s", clips, stop_at_the_fourth_batch)
    kept = FeatureStore.open(tmp_path / "s")
    assert len(kept) == 5  # three batches, one of them with the broken clip
    model, processor = color_pair([])
    store, _ = run(tmp_path / "s", clips)
    assert values(store) == values(run(tmp_path / "whole", clips)[0])
    again = []
    run(tmp_path / "s", clips, lambda: again.append(1))
    assert not again


def test_a_store_is_extended_and_a_replaced_file_encoded_again(tmp_path, clips):
    run(tmp_path / "s", clips[5:])
    batches = []
    store, _ = run(tmp_path / "s", clips, lambda: batches.append(1))
    assert len(batches) == 3 and len(store) == 9
    path = write_clip(tmp_path / "clips" / "0.avi", 77)
    changed = [VideoFile(str(path), str(path), file_signature(path)), *clips[1:]]
    store, _ = run(tmp_path / "s", changed, lambda: batches.append(1))
    assert len(batches) == 4
    assert values(store)["0.avi"] == [77] and len(store) == 9


@pytest.mark.parametrize(
    ("limit", "value", "shards"),
    [("SHARD_ROWS", 4, 2), ("SHARD_BYTES", 20, 4), ("SHARD_SECONDS", 0.0, 5), ("SHARD_ROWS", 512, 1)],
)
def test_shards_end_when_they_are_large_or_old_enough(tmp_path, clips, monkeypatch, limit, value, shards):
    monkeypatch.setattr(writing, limit, value)
    store, _ = run(tmp_path / "s", clips)
    assert len(os.listdir(tmp_path / "s" / "data")) == shards
    assert len(store) == 9


def test_memory_is_that_of_a_shard_and_of_what_is_read_ahead(tmp_path, clips, monkeypatch):
    """No list of all pixels, and none of all features: what is waiting is counted."""
    monkeypatch.setattr(writing, "SHARD_ROWS", 2)
    waiting = []
    original = writing.ShardWriter.add

    def add(self, *step):
        original(self, *step)
        waiting.append(len(self._rows))

    monkeypatch.setattr(writing.ShardWriter, "add", add)
    run(tmp_path / "s", clips)
    assert len(waiting) == 5 and max(waiting) <= 2


def test_windows_are_rows_with_start_and_end(tmp_path):
    path = write_clip(tmp_path / "a.avi", 50, frames=40)  # 4 s at 10 frames a second
    broken = tmp_path / "b.avi"
    broken.write_bytes(b"nothing")
    videos = [VideoFile(str(p), str(p), file_signature(p)) for p in (path, broken)]
    store, errors = run(tmp_path / "s", videos, window=2.0, stride=1.0)
    assert [(row.start, row.end) for row in store.rows] == [(0, 2), (1, 3), (2, 4)]
    assert store.read(store.rows).video_embeds.tolist() == [[50]] * 3
    assert list(errors) == [str(broken)]
    assert videos[0] in store and videos[1] not in store
    batches = []
    run(tmp_path / "s", videos[:1], lambda: batches.append(1), window=2.0, stride=1.0)
    assert not batches


def test_a_video_whose_last_windows_are_missing_is_not_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "SHARD_ROWS", 1)
    path = write_clip(tmp_path / "a.avi", 50, frames=60)
    video = VideoFile(str(path), str(path), file_signature(path))
    calls = []

    def stop_at_the_third():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "s", [video], stop_at_the_third, window=1.0, batch_size=1)
    kept = FeatureStore.open(tmp_path / "s")
    assert len(kept) == 2 and video not in kept
    batches = []
    store, _ = run(tmp_path / "s", [video], lambda: batches.append(1), window=1.0, batch_size=1)
    assert video in store and len(store) == 6
    assert len(batches) == 4  # the two that are there are not encoded again


def test_a_partly_readable_video_keeps_what_was_wrong(tmp_path):
    path = write_video(tmp_path / "half.mp4", num_frames=96, container_options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    video = VideoFile("clip", str(path), file_signature(path))
    said = []
    store, broken = run(tmp_path / "s", [video], say=said.append)
    assert not broken
    (note,) = store.warnings_of(video)
    assert note and not note.startswith(str(path)) and said == [f"warning: {path}: {note}"]


def test_names_that_are_not_utf8(tmp_path):
    folder = os.fsencode(tmp_path / "clips")
    os.mkdir(folder)
    name = os.path.join(folder, b"caf\xe9.avi")
    os.rename(write_clip(tmp_path / "x.avi", 30), name)
    path = os.fsdecode(name)
    video = VideoFile(path, path, file_signature(path))
    store, broken = run(tmp_path / "s", [video])
    assert not broken and video in store
    assert store.rows[0].id.endswith("caf\\udce9.avi")


def test_secrets_of_urls_are_not_written_and_urls_that_differ_in_them_are_two():
    one, two = (VideoFile(url, url) for url in (f"https://me:pw@host/v.mp4?id={n}" for n in (1, 2)))
    assert one.row.source == two.row.source == "https://***@host/v.mp4?id=***"
    assert one.key != two.key and one.row.id.startswith("https://***@host/v.mp4?id=***#")
    assert VideoFile(plain := "https://host/v.mp4", plain).row.id == plain


def test_one_process_is_the_default():
    assert Processes().share([1, 2]) == [1, 2]


# what is kept of features


def check_what_is_kept(model, features: VideoFeatures, bank) -> None:
    with torch.inference_mode():
        kept = {name: features[name] for name in ("video_embeds", *model.score_inputs)}
        logits = model.score(VideoFeatures(**kept), bank)
        assert torch.equal(logits, model.score(features, bank))
        half = model.score(VideoFeatures(**kept).to(torch.float16).to(torch.float32), bank)
        assert (logits.softmax(-1) - half.softmax(-1)).abs().max() < 1e-3
        for name in model.score_inputs:
            with pytest.raises((TypeError, AttributeError, KeyError)):
                model.score(VideoFeatures(**{other: kept[other] for other in kept if other != name}), bank)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_says_what_it_scores_with_and_float16_of_that_agrees(method):
    model = tiny_model(method)
    bank = model.build_label_bank(tiny_processor(method), list(LABELS))
    with torch.inference_mode():
        check_what_is_kept(model, model.encode_videos(tiny_videos(6, views=2)), bank)


@pytest.mark.parametrize("kind", ["clip", "siglip", "xclip", "videoprism"])
def test_so_does_a_published_model(kind, tmp_path):
    model, processor = load(encoder_folder(kind, tmp_path))
    bank = model.build_label_bank(processor, list(LABELS))
    with torch.inference_mode():
        check_what_is_kept(model, model.encode_videos(**processor(videos=some_videos([4, 9]))), bank)
