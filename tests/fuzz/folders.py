"""Inputs of the fuzz targets: small folders as bytes, and random faults in them that keep their form.

An input is a row of files, each a line `name bytes` and so many bytes: text stays readable, and one input can hold all
that a parser reads. Random bytes are hardly ever JSON, so most faults are put into values rather than into bytes.
"""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml


Files = dict[str, bytes]
DEEP = "<deep>"
MOST_PLACES = 10_000
ODD = [
    None, True, False, 0, 1, -1, 2, 0.5, 1e308, float("nan"), float("inf"), 2**31, 2**63, 2**70, "", " ", "0", "\0",
    "\ud800", "\u202e", "é", "🏄", "..", "/", "\\", "{}", "%s", "a" * 20_000, "https://me:secret@host/?key=secret",
    [], {}, [[]], [None], ["a", "a"], [0], {"": ""}, {"a": None}, DEEP,
]  # fmt: skip
LINES = [
    "",
    ",",
    "\t",
    '"',
    "\r",
    "a b 1",
    "a/b.mp4 0",
    "a\tb\tc",
    "&a [*a]",
    "*b",
    "? ",
    "- ",
    "!!python/name:os.system",
]


def pack(files: Files) -> bytes:
    """The input that holds these files."""
    return b"".join(b"%s %d\n%s\n" % (name.encode(), len(data), data) for name, data in files.items())


def unpack(data: bytes) -> Files:
    """The files of an input; what does not have its form ends it."""
    files: Files = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, _, size = line.rpartition(b" ")
        if not size.isdigit() or not name or len(size) > 7:
            break
        files[name.decode("utf-8", "replace")] = rest[: int(size)]
        data = rest[int(size) + 1 :]
    return files


def write(data: bytes, folder: Path) -> list[Path]:
    """Write the files of an input into an empty folder; their paths."""
    paths = []
    for name, content in unpack(data).items():
        plain = "".join(letter for letter in name if letter.isalnum() or letter in "._-").lstrip(".")[:40]
        if plain:
            paths.append(folder / plain)
            paths[-1].write_bytes(content)
    return paths


def mutated(data: bytes, rng: random.Random, bend: Callable[[bytes], bytes], names: list[str]) -> bytes:
    """An input with a fault more.

    Args:
        bend: changes bytes without knowing what they mean.
        names: other names that a file may get, as a name can decide how it is read.
    """
    files = unpack(data)
    if not files:
        return bend(data)
    name = rng.choice(list(files))
    if names and rng.random() < 0.05:
        content = files.pop(name)
        files[rng.choice(names)] = content
        return pack(files)
    suffix = name.rpartition(".")[2].lower()
    try:
        files[name] = FAULTS.get(suffix, _text)(files[name], rng, bend)
    except (
        ValueError,
        struct.error,
        zipfile.BadZipFile,
        yaml.YAMLError,
        RecursionError,
        AttributeError,
        pa.ArrowException,
        TypeError,
        OSError,
    ):
        files[name] = bend(files[name])
    return pack(files)


def _text(data: bytes, rng: random.Random, bend: Callable[[bytes], bytes]) -> bytes:
    """Lines left out, repeated, joined, or with something odd in them."""
    if rng.random() < 0.4:
        return bend(data)
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    kind = rng.randrange(5)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(place, lines[rng.randrange(len(lines))])
    elif kind == 2:
        lines[place] += rng.choice(LINES).encode()
    elif kind == 3:
        lines[place] = rng.choice(LINES).encode() + lines[place]
    else:
        words = lines[place].replace(b",", b" ").split() or [b""]
        odd = json.dumps(rng.choice(ODD)).strip('"').encode()
        lines[place] = lines[place].replace(rng.choice(words), odd, 1)
    return b"\n".join(lines)


def _json(data: bytes, rng: random.Random, bend: Callable[[bytes], bytes]) -> bytes:
    return bend(data) if rng.random() < 0.1 else _dumped(_with_odd_value(json.loads(data), rng), rng)


def _json_lines(data: bytes, rng: random.Random, bend: Callable[[bytes], bytes]) -> bytes:
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    lines[place] = _json(lines[place], rng, bend)
    return b"\n".join(lines)


def _yaml(data: bytes, rng: random.Random, bend: Callable[[bytes], bytes]) -> bytes:
    if rng.random() < 0.5:
        return _text(data, rng, bend)
    return _dumped(_with_odd_value(yaml.safe_load(data), rng), rng)


def _safetensors(data: bytes, rng: random.Random, bend: Callable[[bytes], bytes]) -> bytes:
    """Header and values; values in the header that are JSON themselves are opened, too."""
    (size,) = struct.unpack("<Q", data[:8])
    if rng.random() < 0.2:
        return data[: 8 + size] + bend(data[8 + size :])
    header = json.loads(data[8 : 8 + size])
    about = header.get("__metadata__")
    key = rng.choice(list(about)) if isinstance(about, dict) and about else ""
    if key and rng.random() < 0.6 and about[key][:1] in ("[", "{"):
        about[key] = _dumped(_with_odd_value(json.loads(about[key]), rng), rng).decode("utf-8", "surrogatepass")
    else:
        header = _with_odd_value(header, rng)
    text = _dumped(header, rng)
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def _zip(data: bytes, rng: random.Random, bend: Callable[[bytes], bytes]) -> bytes:
    """A record changed, in an archive whose checksums are right again."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    pickled = [name for name in records if name.endswith(".pkl")]
    name = rng.choice(pickled if pickled and rng.random() < 0.7 else list(records))
    if rng.random() < 0.1:
        records[rng.choice([f"{name}x", name.replace("data", "constants")])] = records.pop(name)
    else:
        records[name] = bend(records[name])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for each, content in records.items():
            archive.writestr(zipfile.ZipInfo(each), content)
    return packed.getvalue()


def _parquet(data: bytes, rng: random.Random, bend: Callable[[bytes], bytes]) -> bytes:
    """A table with another column or other words about it, well written."""
    if rng.random() < 0.3:
        return bend(data)
    table = pq.read_table(io.BytesIO(data))
    about = {key.decode(): value for key, value in (table.schema.metadata or {}).items() if b"ARROW" not in key}
    name = rng.choice(table.column_names)
    kind = rng.randrange(5)
    if kind == 0:
        table = table.drop_columns([name])
    elif kind == 1:
        values = [rng.choice([None, each]) for each in table[name].to_pylist()]
        table = table.set_column(table.column_names.index(name), name, pa.array(values, table[name].type))
    elif kind == 2:
        kinds = [pa.string(), pa.int64(), pa.float64(), pa.list_(pa.string()), pa.list_(pa.float32()), pa.binary()]
        table = table.set_column(table.column_names.index(name), name, pa.nulls(len(table), rng.choice(kinds)))
    elif kind == 3:
        table = table.slice(rng.randrange(len(table) + 1))
    elif about:
        key = rng.choice(list(about))
        about[key] = _json(about[key], rng, bend)
    packed = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(about), packed)
    return packed.getvalue()


FAULTS: dict[str, Callable[[bytes, random.Random, Callable[[bytes], bytes]], bytes]] = {
    "json": _json,
    "jsonl": _json_lines,
    "yaml": _yaml,
    "safetensors": _safetensors,
    "pt": _zip,
    "parquet": _parquet,
    "url": _text,
}


def _with_odd_value(value: Any, rng: random.Random) -> Any:
    """A JSON value in which one place is another value, left out, repeated or renamed."""
    places: list[tuple[Any, Any]] = []
    rest = [value]
    while rest and len(places) < MOST_PLACES:  # an alias in YAML may stand within what it names
        each = rest.pop()
        items = each.items() if isinstance(each, dict) else enumerate(each) if isinstance(each, list) else ()
        for key, inner in items:
            places.append((each, key))
            rest.append(inner)
    if not places or rng.random() < 0.02:
        return rng.choice(ODD)
    parent, key = rng.choice(places)
    other, other_key = rng.choice(places)
    kind = rng.randrange(8)
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[str(rng.choice([*ODD, other_key]))] = parent.pop(key)
    elif kind == 2:
        parent[key] = json.loads(json.dumps(other[other_key]))
    elif kind == 3 and isinstance(parent, list):
        parent.append(json.loads(json.dumps(parent[key])))
    elif kind == 4:
        parent[key] = [parent[key]]
    elif kind == 5 and isinstance(parent[key], str):
        parent[key] += str(rng.choice(ODD))
    else:
        parent[key] = rng.choice(ODD)
    return value


def _dumped(value: Any, rng: random.Random) -> bytes:
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    depth = rng.choice([3, 40, 100, 5000, 100_000])
    brackets = rng.choice(["[]", "[]", '{"a":}'])
    opening, closing = brackets[:-1], brackets[-1]
    return text.replace(f'"{DEEP}"', opening * depth + "1" + closing * depth).encode("utf-8", "surrogatepass")
