"""Archives: labels and searches over a large store, and how fast real clips get into one.

Run `python -m tests.benchmarks.bench_archive`. The store is synthetic: 1,000,000 rows of 512 numbers in float16 around
2,000 centers. Peers, over the same rows: the product of float32 blocks with 400 labels, from the store (read and
converted, results dropped) and in memory alone; for a search of one text, exact scores of all rows. Seconds are those
of the processor, which other work changes least. Embedding (only with `--clips FOLDER`, which has a manifest) is
compared with decoding alone followed by encoding alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hf_zsar import LabelBank
from hf_zsar.features.asking import StoreReader
from hf_zsar.features.shards import Row, read_features, write_shard
from hf_zsar.features.store import FeatureStore, Header, shard_paths
from hf_zsar.modeling.modeling_zsar import VideoFeatures
from hf_zsar.retrieval import label_store, search_store
from tests.benchmarks.measuring import ratio, report, take_turns
from tests.tiny_models import tiny_model


WIDTH, CENTERS, SHARD, BLOCK = 512, 2000, 4096, 4096


def centers() -> torch.Tensor:
    return nn.functional.normalize(torch.randn(CENTERS, WIDTH, generator=torch.Generator().manual_seed(0)), dim=-1)


def blocks(rows: int) -> Iterator[torch.Tensor]:
    """Unit vectors around the centers, float16, a shard at a time."""
    generator, around = torch.Generator().manual_seed(1), centers()
    for start in range(0, rows, SHARD):
        count = min(SHARD, rows - start)
        noise = torch.randn(count, WIDTH, generator=generator) / WIDTH**0.5
        yield nn.functional.normalize(
            around[torch.randint(CENTERS, (count,), generator=generator)] + noise, dim=-1
        ).half()


def fill(folder: Path, rows: int, identity: str) -> None:
    header = Header({"identity": identity}, {"keeps": ["video_embeds"]})
    FeatureStore.claim(folder, header)
    (folder / "data").mkdir(exist_ok=True)
    for number, block in enumerate(blocks(rows)):
        path = folder / "data" / f"{number:06d}.parquet"
        if not path.exists():
            names = [Row(f"clip-{number}-{place}", f"/archive/{number}/{place}.mp4") for place in range(len(block))]
            about = {"fingerprint": header.fingerprint, "complete": []}
            write_shard(path, names, VideoFeatures(video_embeds=block), about)


def texts_of(model: Any, count: int) -> LabelBank:
    """Texts near some of the centers."""
    noise = torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(2)) / WIDTH**0.5
    embeds = nn.functional.normalize(centers()[:count] + 0.5 * noise, dim=-1)
    return LabelBank(tuple(f"label {number}" for number in range(count)), {"text_embeds": embeds}).admitted_by(model)


def bench_labels(folder: Path, model: Any, labels: int, rounds: int, work: Path) -> list[dict[str, Any]]:
    bank = texts_of(model, labels)
    weights = bank["text_embeds"].T.contiguous()

    def label(top_k: int | None = None) -> None:
        label_store(StoreReader(folder), model, bank, work / "scores.parquet", top_k)

    def from_store() -> None:
        for path in shard_paths(folder):
            read_features(path).video_embeds.float() @ weights

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    label()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"  labels: peak memory grew by {grown / 1024:.0f} MB")
    kept = torch.cat([read_features(path).video_embeds for path in shard_paths(folder)]).float()

    def in_memory() -> None:
        for block in kept.split(BLOCK):
            block @ weights

    sides = {"all": label, "best": lambda: label(5), "store": from_store, "memory": in_memory}
    times = take_turns(sides, rounds, warm_up=0, clock=time.process_time)
    print({name: [round(value, 1) for value in values] for name, values in times.items()})
    return [
        {"name": f"blocked product, {where} / label, {what}", **ratio(times[where], times[what])}
        for where in ("store", "memory")
        for what in ("all", "best")
    ]


def bench_search(folder: Path, model: Any, rounds: int) -> list[dict[str, Any]]:
    from hf_zsar.features.shortlist import Shortlist

    bank, store, started = texts_of(model, 10), StoreReader(folder), time.perf_counter()
    shortlist = Shortlist.of(store)
    print(f"  index: {time.perf_counter() - started:.0f} s")
    exact = search_store(store, model, bank, 10)
    near = search_store(store, model, bank, 10, shortlist)
    hits = [len({e.row.id for e in a} & {e.row.id for e in b}) / 10 for a, b in zip(exact, near, strict=True)]
    print(f"  shortlist: {sum(hits) / len(hits):.4f} of the exact top 10 of 10 texts")
    text = bank.select([0])
    kept = torch.cat([part.features.video_embeds for part in store.parts()]).float()
    sides = {
        "shortlist": lambda: search_store(store, model, text, 10, shortlist),
        "exact": lambda: search_store(store, model, text, 10),
        "memory": lambda: (kept @ text["text_embeds"].T).topk(10, dim=0),
    }
    times = take_turns(sides, rounds, clock=time.process_time)
    return [
        {"name": "exact search of the store / shortlist", **ratio(times["exact"], times["shortlist"])},
        {"name": "exact product in memory / shortlist", **ratio(times["memory"], times["shortlist"])},
    ]


def bench_embed(clips: Path, rounds: int, work: Path) -> list[dict[str, Any]]:
    import hf_zsar
    from hf_zsar.features.encoding import EncodingOptions, encode_batch, encode_videos, feature_header
    from hf_zsar.features.store import VideoFile

    pipe = hf_zsar.pipeline()
    manifest = json.loads((clips / "manifest.json").read_text(encoding="utf-8"))
    videos = [VideoFile(path, path) for path in (str(clips / entry["file"]) for entry in manifest["clips"])]
    options = EncodingOptions(dtype="float16", num_workers=os.cpu_count() or 1)
    reader = pipe.processor.video_processor
    pixels = [reader(video.source)["pixel_values_videos"] for video in videos]
    number = iter(range(10_000))

    def embed() -> None:
        store = FeatureStore.claim(work / f"embed{next(number)}", feature_header(pipe.model, pipe.processor, options))
        assert not encode_videos(pipe.model, pipe.processor, videos, store, options)

    def decode() -> None:
        for _ in reader.prefetch(reader, [video.source for video in videos], options.num_workers):
            pass

    def encode() -> None:
        for start in range(0, len(pixels), options.batch_size):
            encode_batch(pipe.model, pixels[start : start + options.batch_size])

    times = take_turns({"embed": embed, "decode": decode, "encode": encode}, rounds)
    both = [sum(pair) for pair in zip(times["decode"], times["encode"], strict=True)]
    rate = len(videos) / sorted(times["embed"])[rounds // 2]
    print(f"  embed: {rate:.1f} clips a second")
    return [{"name": "decoding and then encoding / embed", **ratio(both, times["embed"])}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--labels", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--store", type=Path, help="where the synthetic store is kept; default: forgotten")
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--parts", nargs="*", default=["labels", "search", "embed"])
    parser.add_argument("--json")
    args = parser.parse_args()
    print(f"  load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        work, model = Path(scratch), tiny_model("video_text")
        folder = args.store or work / "store"
        if {"labels", "search"} & set(args.parts):
            fill(folder, args.rows, str(model.identity()))
        if "labels" in args.parts:
            rows += bench_labels(folder, model, args.labels, args.rounds, work)
        if "search" in args.parts:
            rows += bench_search(folder, model, args.rounds)
        if "embed" in args.parts and args.clips is not None:
            rows += bench_embed(args.clips, args.rounds, work)
    report("archives (peer / ours)", rows, args.json)


if __name__ == "__main__":
    main()
