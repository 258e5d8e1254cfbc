"""Encoding on a cluster, by Ray Data: a pool of actors, each with the model; this process writes the store.

Ray retries what an actor or a machine that died had in hand; killed itself, the run goes on from the shards that are
there. Actors need this package and a way to the videos; only this process needs one to the store.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .encoding import missing_batches
from .rows import RowEncoder, columns_of, step_of
from .store import FeatureStore, VideoFile
from .writing import Progress, Say, ShardWriter


if TYPE_CHECKING:
    import pyarrow as pa

# A task ends with the batch that reaches one of these: batches, bytes of videos.
TASK_BATCHES, TASK_BYTES = 16, 256 * 2**20
_BATCH = "batch"


@dataclass(frozen=True)
class RayOptions:
    """
    Args:
        address: of the cluster; `"auto"`: the one that this machine belongs to; None: a new one on this machine.
        num_actors: copies of the model.
        gpus_per_actor: 0 for the CPU; less than 1 for several copies on a GPU.
    """

    address: str | None = None
    num_actors: int = 1
    gpus_per_actor: float = 0.0


class _Actor:
    def __init__(self, encoder: Any, on_gpu: bool) -> None:
        import ray

        self.encode: RowEncoder = ray.get(encoder)
        if on_gpu:
            self.encode.to("cuda")

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        numbers = table[_BATCH].to_pylist()
        for number in dict.fromkeys(numbers):
            first = numbers.index(number)
            yield self.encode(table.slice(first, numbers.count(number)))


def encode_with_ray(
    encoder: RowEncoder,
    videos: Sequence[VideoFile],
    store: FeatureStore,
    options: RayOptions,
    say: Say | None = None,
) -> dict[str, str]:
    """As [`encode_videos`], by the actors of a cluster.

    Args:
        say: told of every video that cannot be read, or only in part.

    Raises:
        ImportError: Ray is missing.
        ConnectionError: no cluster there.
        OSError: a shard cannot be written.
    """
    import ray

    given = encoder.encoder.options
    batches = missing_batches(videos, store, given.batch_size)
    progress = Progress(sum(map(len, batches)), given.progress, say)
    with ShardWriter(store, say, progress) as writer:
        if batches:
            if not ray.is_initialized():
                ray.init(address=options.address, log_to_driver=False, logging_level=logging.WARNING)
            ray.data.DataContext.get_current().enable_progress_bars = False  # there is one of ours
            keys = {video.key: video for batch in batches for video in batch}
            for table, dtypes in _encoded(encoder, batches, options):
                writer.add(step_of(table, dtypes, keys))
    store.refresh()
    return dict(writer.broken)


def _encoded(
    encoder: RowEncoder, batches: Sequence[Sequence[VideoFile]], options: RayOptions
) -> Iterator[tuple[pa.Table, dict[str, str]]]:
    import ray

    encoded = ray.data.from_arrow(tasks_of(batches)).map_batches(
        _Actor,
        fn_constructor_args=(ray.put(encoder), options.gpus_per_actor > 0),
        batch_size=None,  # a task; the actor cuts it
        batch_format="pyarrow",
        zero_copy_batch=True,
        compute=ray.data.ActorPoolStrategy(size=options.num_actors),
        num_gpus=options.gpus_per_actor or None,
    )
    for table in encoded.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield table, _types(table)


def tasks_of(batches: Sequence[Sequence[VideoFile]]) -> list[pa.Table]:
    """The batches as they are handed out, several at a time; large videos stand alone. A column numbers the batches,
    which are encoded as they are, however the engine joins or retries them."""
    import pyarrow as pa

    tasks: list[list[tuple[int, VideoFile]]] = []
    size = count = 0
    for number, batch in enumerate(batches):
        if not tasks or count >= TASK_BATCHES or size >= TASK_BYTES:
            tasks.append([])
            size = count = 0
        tasks[-1] += [(number, video) for video in batch]
        size, count = size + sum(video.size for video in batch), count + 1
    numbers = {"first_byte", "bytes", _BATCH}
    return [
        pa.table(
            {
                name: pa.array(values, pa.int64() if name in numbers else pa.string())
                for name, values in {**columns_of([v for _, v in task]), _BATCH: [n for n, _ in task]}.items()
            }
        )
        for task in tasks
    ]


def _types(table: pa.Table) -> dict[str, str]:
    """The types of the tensors in a table: of its columns of lists of numbers."""
    types = {}
    for name, kind in zip(table.schema.names, table.schema.types, strict=True):
        while hasattr(kind, "list_size"):
            kind = kind.value_type
            types[name] = {"halffloat": "float16", "float": "float32", "double": "float64"}.get(str(kind), "")
    return types
