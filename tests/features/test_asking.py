"""Asking a store: which rows count, exact scores part by part, candidates, and the page of what was found."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from hf_zsar import METHODS, LabelBank, retrieval
from hf_zsar.cli import main
from hf_zsar.features import asking
from hf_zsar.features.asking import StoreReader
from hf_zsar.features.store import FeatureStore, Header, StoreError, VideoFile
from hf_zsar.modeling.calibration import Calibration
from hf_zsar.modeling.modeling_zsar import VideoFeatures
from hf_zsar.retrieval import VideoIndex, label_store, search_store
from tests.tiny_models import LABELS, tiny_folder, tiny_model, tiny_processor, tiny_videos


def filled(folder, method="actionclip", count=12, shard=5, keeps=None):
    """A store of random videos, the model and its features."""
    model = tiny_model(method)
    with torch.inference_mode():
        features = model.encode_videos(tiny_videos(count))
    names = keeps or ("video_embeds", *model.score_inputs)
    features = VideoFeatures(**{name: features[name] for name in names})
    store = FeatureStore.claim(folder, Header({"identity": str(model.identity())}, {"keeps": list(names)}))
    for start in range(0, count, shard):
        add(store, [VideoFile(f"v{n}", f"{n}.avi", "1-x") for n in range(start, min(start + shard, count))], features)
    return model, features


def add(store, videos, features):
    numbers = [int(video.id[1:]) for video in videos]
    store.write([video.row for video in videos], features.select(numbers), videos)


def bank_of(model, method="actionclip", labels=LABELS) -> LabelBank:
    return model.build_label_bank(tiny_processor(method), list(labels))


@pytest.mark.parametrize("method", METHODS)
def test_search_is_exact_and_part_by_part_for_every_method(tmp_path, method, monkeypatch):
    model, features = filled(tmp_path / "s", method)
    bank, store = bank_of(model, method), StoreReader(tmp_path / "s")
    sizes = []
    load = asking.read_part
    monkeypatch.setattr(asking, "read_part", lambda *args: sizes.append(args) or load(*args))
    found = search_store(store, model, bank, top_k=4)
    with torch.inference_mode():
        for label, rows in zip(LABELS, found, strict=True):
            alone = model.score(features, bank.select([label]))[:, 0]
            best = alone.argsort(descending=True, stable=True)[:4]
            assert [row.row.id for row in rows] == [f"v{n}" for n in best]
            assert [row.score for row in rows] == pytest.approx(alone[best].tolist(), abs=1e-4)
    assert found == search_store(store, model, bank.select(list(LABELS)), top_k=4)


@pytest.mark.parametrize("method", METHODS)
def test_labels_are_the_probabilities_of_the_method(tmp_path, method):
    import pyarrow.parquet as pq

    model, features = filled(tmp_path / "s", method)
    bank, path = bank_of(model, method), tmp_path / "scores.parquet"
    assert label_store(StoreReader(tmp_path / "s"), model, bank, path) == 12
    table = pq.read_table(path)
    with torch.inference_mode():
        expected = model.score(features, bank).softmax(-1)
    assert table.column_names == ["id", "source", "start", "end", "label", "score", *LABELS]
    assert table["id"].to_pylist() == [f"v{n}" for n in range(12)]
    assert torch.allclose(torch.tensor([table[label].to_pylist() for label in LABELS]).T, expected, atol=1e-6)
    assert table["label"].to_pylist() == [LABELS[n] for n in expected.argmax(1)]
    assert table["score"].to_pylist() == pytest.approx(expected.max(1).values.tolist(), abs=1e-6)


def test_the_best_labels_as_lists(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    model, features = filled(tmp_path / "s")
    bank = bank_of(model)
    monkeypatch.setattr(retrieval, "ROWS_AT_ONCE", 6)
    for top_k, length in ((2, 2), (9, 5)):
        assert label_store(StoreReader(tmp_path / "s"), model, bank, tmp_path / "t.parquet", top_k) == 12
        table = pq.read_table(tmp_path / "t.parquet")
        with torch.inference_mode():
            scores, order = model.score(features, bank).softmax(-1).topk(length)
        assert table.column_names == ["id", "source", "start", "end", "label", "score", "labels", "scores"]
        assert table["labels"].to_pylist() == [[LABELS[n] for n in row] for row in order.tolist()]
        assert torch.allclose(torch.tensor(table["scores"].to_pylist()), scores, atol=1e-6)
        assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups == 3, "5 and 2 rows are more than 6"


def test_a_calibrated_bank_gives_its_probabilities(tmp_path):
    import pyarrow.parquet as pq

    model, features = filled(tmp_path / "s")
    bank = bank_of(model)
    plain, warm = tmp_path / "a.parquet", tmp_path / "b.parquet"
    label_store(StoreReader(tmp_path / "s"), model, bank, plain)
    calibration = Calibration(temperature=7.0)
    label_store(StoreReader(tmp_path / "s"), model, bank.calibrated(calibration), warm)
    with torch.inference_mode():
        expected = (model.score(features, bank) / 7).softmax(-1).max(1).values
    assert pq.read_table(warm)["score"].to_pylist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_only_the_newest_rows_count(tmp_path):
    model, features = filled(tmp_path / "s", shard=12)
    store = FeatureStore.open(tmp_path / "s")
    add(store, [VideoFile("v3", "3.avi", "2-new"), VideoFile("v5", "5.avi", "1-x")], features)
    window = [VideoFile("v7", "7.avi", sign) for sign in ("1-x", "2-y")]
    store.write([window[0].row.stretch(0, 1), window[0].row.stretch(1, 2)], features.select([0, 1]), window[:1])
    store.write([window[1].row.stretch(0, 1)], features.select([2]), window[1:])
    reader, kept = StoreReader(tmp_path / "s"), FeatureStore.open(tmp_path / "s").rows
    parts = list(reader.parts())
    assert sorted(str(row) for part in parts for row in reader.rows(part.numbers.tolist())) == sorted(map(str, kept))
    assert len(reader) == len(kept) == 12
    by_id = {
        name: value
        for part in parts
        for name, value in zip(part.table["id"].to_pylist(), part.features.video_embeds, strict=True)
    }
    assert torch.equal(by_id["v7#t=0.000,1.000"], features.video_embeds[2]) and "v7" not in by_id


def test_a_damaged_shard_is_said_and_the_others_are_asked(tmp_path):
    model, _ = filled(tmp_path / "s")
    second = sorted((tmp_path / "s" / "data").iterdir())[1]
    second.write_bytes(second.read_bytes()[:100])
    with pytest.warns(UserWarning, match=second.name):
        reader = StoreReader(tmp_path / "s")
    assert len(reader) == 7
    (found,) = search_store(reader, model, bank_of(model, labels=["cooking"]), top_k=20)
    assert sorted(each.row.id for each in found) == sorted(f"v{n}" for n in (0, 1, 2, 3, 4, 10, 11))


def test_memory_is_that_of_parts(tmp_path, monkeypatch):
    model, _ = filled(tmp_path / "s", shard=2)
    alive, most = [], 0
    load = asking.read_part

    def counted(*args):
        import gc
        import weakref

        nonlocal most
        table, features = load(*args)
        alive.append(weakref.ref(features))
        gc.collect()
        most = max(most, sum(ref() is not None for ref in alive))
        return table, features

    monkeypatch.setattr(asking, "read_part", counted)
    label_store(StoreReader(tmp_path / "s"), model, bank_of(model), tmp_path / "t.parquet")
    assert len(alive) == 6 and most <= 4


@pytest.mark.parametrize("method", ["stdd", "dasti", "actionclip"])
def test_what_was_not_kept_is_refused(tmp_path, method):
    model, _ = filled(tmp_path / "s", method, keeps=("video_embeds",))
    bank, store = bank_of(model, method), StoreReader(tmp_path / "s")
    for ask in (lambda: search_store(store, model, bank), lambda: label_store(store, model, bank, tmp_path / "t")):
        with pytest.raises(StoreError, match=f"keeps video_embeds alone, and {type(model).__name__} scores with"):
            ask()
    assert not (tmp_path / "t").exists()


def test_wrong_models_and_labels_are_refused(tmp_path):
    model, _ = filled(tmp_path / "s")
    store, other = StoreReader(tmp_path / "s"), tiny_model("actionclip", seed=1)
    with pytest.raises(ValueError, match="another model"):
        label_store(store, other, bank_of(other), tmp_path / "t")
    for label in ("id", "score"):
        with pytest.raises(ValueError, match=f"called '{label}'"):
            label_store(store, model, bank_of(model, labels=["cooking", label]), tmp_path / "t")
    FeatureStore.claim(tmp_path / "empty", Header({"identity": "m"}, {}))
    with pytest.raises(StoreError, match="holds no video"):
        StoreReader(tmp_path / "empty")


def test_the_command_writes_the_table(tmp_path, capsys):
    import pyarrow.parquet as pq

    folder = tiny_folder("actionclip", tmp_path / "model")
    model, features = filled(tmp_path / "s")
    out = tmp_path / "scores.parquet"
    words = ["label", str(tmp_path / "s"), "--model", str(folder), "--out", str(out)]
    assert main([*words, "--labels", *LABELS]) == 0
    assert "12 rows, 5 labels" in capsys.readouterr().err
    first = pq.read_table(out)
    bank_of(model).save(tmp_path / "bank.safetensors")
    assert main([*words, "--bank", str(tmp_path / "bank.safetensors")]) == 0
    assert pq.read_table(out).select(first.column_names[:5]).equals(first.select(first.column_names[:5]))
    assert main([*words, "--bank", "x", "--labels", "a"]) == 2 and main(words) == 2
    assert main([*words[:-1], str(tmp_path / "t.csv"), "--labels", "a"]) == 2
    index = VideoIndex.load(tmp_path / "s")
    assert index.search(model, bank_of(model)).shape == (5, 12)


# candidates

needs_faiss = pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="FAISS is not installed")


@needs_faiss
def test_candidates_are_scored_exactly_and_the_index_is_kept(tmp_path, monkeypatch):
    import datasets

    from hf_zsar.features import shortlist
    from hf_zsar.features.shortlist import Shortlist

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    model, _ = filled(tmp_path / "s", "actionclip", count=12)
    bank, store = bank_of(model), StoreReader(tmp_path / "s")
    exact = search_store(store, model, bank, top_k=3)
    index = Shortlist.of(store)
    (file,) = (tmp_path / "s").glob("index-*.faiss")
    for _ in range(2):
        found = search_store(store, model, bank, 3, index)
        assert [[each.row.id for each in rows] for rows in found] == [[e.row.id for e in rows] for rows in exact]
        index = Shortlist.of(store)
    monkeypatch.setattr(shortlist, "CANDIDATES", 5)
    numbers, features = index.candidates(bank.select([0])["text_embeds"], 5)
    assert len(numbers) == 5 == len(features.view_embeds)
    add(
        FeatureStore.open(tmp_path / "s"),
        [VideoFile("v3", "3.avi", "2-new")],
        VideoIndex.load(tmp_path / "s").features,
    )
    store = StoreReader(tmp_path / "s")
    found = search_store(store, model, bank, 20, Shortlist.of(store))
    assert len(found[0]) == 12, "rows that do not count are no candidates"
    assert [path.name for path in (tmp_path / "s").glob("index-*.faiss")] != [file.name]


@needs_faiss
def test_no_common_space_is_said(tmp_path, monkeypatch):
    import datasets

    from hf_zsar.features.shortlist import Shortlist

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    filled(tmp_path / "s")
    with pytest.raises(StoreError, match="no common space"):
        Shortlist.of(StoreReader(tmp_path / "s")).candidates(torch.zeros(1, 3))


def test_candidates_are_for_large_stores_with_faiss(tmp_path, monkeypatch, capsys):
    from hf_zsar.cli import search

    filled(tmp_path / "s")
    store = StoreReader(tmp_path / "s")
    monkeypatch.setattr(search, "find_spec", lambda name: None)
    assert search.shortlist_of(store, "auto") is None and search.shortlist_of(store, "all") is None
    monkeypatch.setattr(search, "MANY_ROWS", 10)
    assert search.shortlist_of(store, "auto") is None and "pip install faiss-cpu" in capsys.readouterr().err
    assert main(["search", str(tmp_path / "s"), "a", "--candidates", "faiss"]) == 2
    assert "pip install faiss-cpu" in capsys.readouterr().err
    monkeypatch.setattr(search, "find_spec", lambda name: True)
    monkeypatch.setattr("hf_zsar.features.shortlist.Shortlist.of", lambda store: "an index")
    assert search.shortlist_of(store, "auto") == "an index" and search.shortlist_of(store, "all") is None
