"""What is fuzzed: each parser of what strangers write, and the errors that its documentation names.

A target reads a folder and ends, or raises: any exception that is not documented, that has no message, or that is a
relative of the documented one from deep inside a library.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import os
import random
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from hf_zsar import METHODS, VideoReadError, ZSARVideoProcessor
from hf_zsar.cli.common import CommandError, read_labels_file
from hf_zsar.clips.lists import labeled_files
from hf_zsar.clips.overlap import read_word_vectors
from hf_zsar.conversion import SOURCES
from hf_zsar.conversion.checkpoint_files import ConversionError, read_checkpoint, tensors_of
from hf_zsar.data import VideoDatasetError
from hf_zsar.descriptions.sources import read_texts
from hf_zsar.descriptions.stdd_yaml import import_stdd_yaml
from hf_zsar.evaluation.manifest import MANIFEST_PROTOCOLS, manifest_protocol
from hf_zsar.evaluation.records import load_record
from hf_zsar.features.store import FeatureStore, Header, VideoFile
from hf_zsar.modeling.examples import METHODS as EXAMPLES
from hf_zsar.modeling.label_bank import LabelBank
from hf_zsar.modeling.outputs import VideoFeatures
from hf_zsar.processing.descriptions import DescriptionError, Descriptions
from hf_zsar.processing.urls import HIDDEN, redacted
from hf_zsar.processing.video_download import _joined, _split
from hf_zsar.retrieval import VideoIndex
from hf_zsar.segments.annotations import VideoSegments
from hf_zsar.segments.formats import FORMATS, format_of, read_segments
from hf_zsar.training.recipe import RecipeError, load_recipe
from tests.fuzz.folders import pack, unpack, write
from tests.processing.mutation import mutated as broken
from tests.videos import write_video


ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Target:
    """A parser, or several of one kind.

    Args:
        read: of a folder with the files of an input.
        seeds: inputs to begin with.
        names: that files get, where the name decides how they are read.
        mutate: another way to make an input with a fault more; see `tests.fuzz.folders.mutated`.
    """

    read: Callable[[list[Path]], None]
    seeds: Callable[[], list[bytes]]
    names: tuple[str, ...] = ()
    mutate: Callable[[bytes, random.Random], bytes] | None = None

    def check(self, data: bytes) -> None:
        """Read an input.

        Raises:
            Exception: whatever is not documented.
        """
        with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_MEMORY) as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.read(write(data, Path(folder)))


def expect(errors: tuple[type[Exception], ...], call: Callable[..., Any], *args: Any) -> Any:
    """What `call` gives; None where it refuses as documented: by one of the errors, or our own kind of it, in words.

    A `UnicodeDecodeError` is a `ValueError`, too, but nobody meant it.
    """
    try:
        return call(*args)
    except errors as error:
        ours = type(error).__module__.startswith("hf_zsar")
        if not (ours or type(error) in errors or isinstance(error, OSError)) or not str(error).strip():
            raise
        return None


def _lists(paths: list[Path]) -> None:
    for path in paths:
        for split in ("train", "test"):
            expect((VideoDatasetError,), labeled_files, path, None, (split,))
        labels = expect((CommandError,), read_labels_file, str(path))
        assert labels is None or (labels and all(isinstance(label, str) for label in labels))
        expect((ValueError,), read_word_vectors, path)


def _list_seeds() -> list[bytes]:
    clips = [{"file": "a/x.mp4", "label": "a"}, {"file": "b/y.avi", "label": "b c"}]
    entry = {"subset": "training", "annotations": [{"label": "a", "segment": [0, 1]}]}
    files = {
        "list.json": json.dumps({"labels": ["a", "b c"], "clips": clips}),
        "clips.json": json.dumps(clips),
        "database.json": json.dumps({"database": {"x": entry, "y": {**entry, "subset": "validation"}}}),
        "list.jsonl": "\n".join(map(json.dumps, clips)),
        "list.csv": 'file,label\na/x.mp4,a\n"b,/y.avi","b c"\n',
        "labels.csv": "id,name\n1,a\n2,b c\n",
        "kinetics.csv": "label,youtube_id,time_start,time_end,split\na,xyz,1,11,train\nb c,uvw,2,12,test\n",
        "list.tsv": "video\tlabel\na/x.mp4\ta\n",
        "trainlist01.txt": "A/v_A_g01_c01.avi 1\nB/v_B_g01_c02.avi 2\n",
        "list.txt": "a/x.mp4 30 1\nb/y.mp4 40 2\n",
        "words.txt": "a b/x.mp4\triding a bike\n",
        "brush_hair_test_split1.txt": "x.avi 1\ny.avi 2\nz.avi 0\n",
        "vectors.vec": "2 3\nriding 0.1 0.2 0.3\nbike 1 2 3\n",
        "labels.json": json.dumps({"classes": ["a", "b c"]}),
    }
    return [pack({name: text.encode()}) for name, text in files.items()]


def _manifests(paths: list[Path]) -> None:
    for path in paths:
        for protocol in MANIFEST_PROTOCOLS:
            expect((VideoDatasetError,), manifest_protocol, path, protocol)
        expect((ValueError,), load_record, path)


def _manifest_seeds() -> list[bytes]:
    clips = [{"file": f"{name}.mp4", "label": name} for name in "abcd"]
    whole = {"labels": list("abcd"), "clips": clips, "seen": ["a", "b"]}
    several = {"clips": [{"file": "x.mp4", "labels": ["a", "b"]}, {"file": "y.mp4", "labels": ["c"]}]}
    record = {"format": "hf_zsar/result/1", "summary": {"top1": 0.5}}
    return [pack({"m.json": json.dumps(each).encode()}) for each in (whole, several, record)]


def _descriptions(paths: list[Path]) -> None:
    for path in paths:
        for kind in (None, "attributes", "graph"):
            found = expect((DescriptionError,), Descriptions.load, path, kind)
            if found is not None:
                assert Descriptions.from_dict(found.to_dict()) == found
                assert found.fingerprint and all(key in found for key in found)
        if path.suffix in (".json", ".jsonl", ".txt"):
            expect((DescriptionError,), read_texts, path)
    if yamls := [path for path in paths if path.suffix == ".yaml"]:
        expect((DescriptionError,), import_stdd_yaml, yamls)


def _description_seeds() -> list[bytes]:
    graph = {"clauses": {"ao": ["a person rides a bike"], "oo": ["wheel on road"]}, "objects": ["bike", "person"]}
    graph = {**graph, "sub_actions": ["pedal"], "name": "riding"}
    documents = {
        "attributes.json": {"riding a bike": ["wheel", "road"], "cooking": ["pan"]},
        "graph.json": {"riding a bike": graph},
        "full.json": {
            "schema": "hf_zsar/attributes/1",
            "dataset": "d",
            "language": "en",
            "num_attributes": 4,
            "generator": {"kind": "manual"},
            "classes": {"a": {"attributes": ["b"], "name": "A", "id": 1}},
        },
        "texts.json": [{"label": "a", "text": "A person runs."}, {"text": "b", "defn": "To swim."}],
    }
    seeds = [pack({name: json.dumps(value).encode()}) for name, value in documents.items()]
    seeds.append(pack({"texts.jsonl": b'{"label": "a", "text": "A person runs."}\n'}))
    seeds.append(pack({"glossary.txt": b"run: to move fast\nswim: to move in water\n"}))
    parts = {
        "labels.yaml": {"classes": ["fall floor", "ride bike"]},
        "graphs.yaml": {"fall_floor": {"obj_en_li": ["floor", "person"]}, "ride_bike": {"obj_en_li": ["bike"]}},
        "prompts.yaml": {"fall_floor": {"xprompt_oo": ["person on floor"], "xprompt_ao": ["falling person"]}},
    }
    return [*seeds, pack({name: yaml.safe_dump(value).encode() for name, value in parts.items()})]


def _banks(paths: list[Path]) -> None:
    for path in paths:
        bank = expect((ValueError,), LabelBank.load, path)
        if bank is not None:
            bank.save(path.with_name("again.safetensors"))
            bank.select(list(bank.labels)[:1])
            if bank.examples is not None:
                examples = bank.examples
                found = examples.add_to(torch.zeros(1, int(examples.named.sum())), examples.embeds[:1])
                assert found.shape == (1, len(bank))
            assert str(LabelBank.load(path.with_name("again.safetensors")).identity) == str(bank.identity)


def _bank_seeds() -> list[bytes]:
    from tests.tiny_models import tiny_model

    tensors = {"text_embeds": torch.eye(2, 3), "word_mask": torch.ones(2, 2, dtype=torch.bool)}
    bank = LabelBank(("a", "b c"), tensors, "f" * 64, {"prompt": "a {}"}, tiny_model("rest").identity())
    banks = [bank, *(bank.with_examples(torch.eye(3)[[0, 1, 0]], ["a", "b c", "d"], method=each) for each in EXAMPLES)]
    return [pack({"bank.safetensors": _saved(each.save)}) for each in banks]


def _stores(paths: list[Path]) -> None:
    if not paths:
        return
    folder = paths[0].parent
    (folder / "data").mkdir()
    for path in paths:
        if path.suffix == ".parquet":
            path.rename(folder / "data" / path.name)
    index = expect((ValueError,), VideoIndex.load, folder)
    if index is not None:
        assert len(index) == len(index.features.video_embeds)
    with contextlib.suppress(ValueError):
        header = Header({"identity": "m"}, {"video": {"num_frames": 8}})
        expect((ValueError,), FeatureStore.claim, folder, header)


def _store_seeds() -> list[bytes]:
    def save(folder: Path) -> None:
        store = FeatureStore.claim(folder, Header({"id": "org/model", "identity": "m"}, {"video": {"num_frames": 8}}))
        videos = [VideoFile(name, f"/{name}.avi", f"1-{name}") for name in "ab"]
        features = VideoFeatures(video_embeds=torch.eye(2, 3), frame_embeds=torch.ones(2, 1, 2, 3).half())
        store.write([video.row for video in videos], features, videos)
        store.add_error(VideoFile("c", "c"), "broken")

    return [pack(_saved_files(save))]


def _recipes(paths: list[Path]) -> None:
    for path in paths:
        expect((RecipeError,), load_recipe, path)


def _recipe_seeds() -> list[bytes]:
    found = sorted((ROOT / "train_scripts" / "recipes").glob("*.yaml"))
    return [pack({"recipe.yaml": path.read_bytes()}) for path in found]


def _segments(paths: list[Path]) -> None:
    for path in paths:
        for name in {format_of(path), *(each for each, form in FORMATS.items() if form.suffix == path.suffix)}:
            for video in expect((ValueError,), read_segments, path, name, 25.0) or []:
                for each in video.segments:
                    assert each["label"] and 0 <= each["start"] <= each["end"] < float("inf")


def _segment_seeds() -> list[bytes]:
    cuts = tuple({"label": label, "start": 1.0, "end": 2.5, "score": 0.5} for label in ("riding a bike", "a & <b>"))
    video = VideoSegments("x.mp4", cuts, 9.0, 25.0, 64, 48)
    return [pack({f"x{form.suffix}": form.write([video]).encode()}) for form in FORMATS.values()]


SECRET = "s3cr3t"


def _urls(paths: list[Path]) -> None:
    for path in paths:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        assert isinstance(redacted(text), str)
        # Whatever stands around it, a password and a signed query are not shown.
        for url in (f"https://me:{SECRET}@{text}", f"http://host/{text.replace('#', '')}?sign={SECRET}"):
            shown = redacted(url)
            assert SECRET not in shown and HIDDEN in shown, shown
        parts = expect((VideoReadError,), _split, redacted(text), text)
        joined = expect((VideoReadError,), _joined, "name", "https://host/a/b.mp4", text)
        for split in (parts, joined and expect((VideoReadError,), _split, "name", joined)):
            assert split is None or (split[0].hostname and 0 <= split[1] < 65536)
        expect((VideoReadError,), ZSARVideoProcessor(), text.replace("://", ":")[:200])


def _url_seeds() -> list[bytes]:
    urls = (
        "https://host/a.mp4",
        "http://me:secret@host:8080/a/b.mp4?token=abc&page=2#part",
        "https://[2001:db8::1]:443/a.mp4",
        "http://xn--bcher-kva.example/%20a.mp4",
        "http://bücher.example/a b.mp4",
        "//host/path",
        "../up?x=1",
        "rtsp://host/live",
    )
    return [pack({"a.url": url.encode()}) for url in urls]


def _configurations(paths: list[Path]) -> None:
    for path in paths:
        with contextlib.suppress(ValueError, RecursionError):
            values = json.loads(path.read_bytes())
            if isinstance(values, dict):
                _configured(values)


def _configured(values: dict[str, Any]) -> None:
    if "num_crops" in values:
        expect((ValueError,), ZSARVideoProcessor.from_dict, values)
        return
    for method, classes in METHODS.items():
        if values.get("model_type") == method:
            config = expect((ValueError,), classes.config_class.from_dict, values)
            if config is not None:
                with torch.device("meta"):
                    expect((ValueError,), classes.model_class, config)


def _configuration_seeds() -> list[bytes]:
    from tests.tiny_models import TINY, tiny_config

    configs = [tiny_config(method).to_dict() for method in TINY] + [ZSARVideoProcessor().to_dict()]
    return [pack({"config.json": json.dumps(config).encode()}) for config in configs]


def _checkpoints(paths: list[Path]) -> None:
    for path in paths:
        content = expect((ConversionError,), read_checkpoint, path)
        if content is not None:
            expect((ConversionError,), tensors_of, content, "file")
        for source in SOURCES.values():
            expect((ConversionError, ValueError), source.load(), path)


def _checkpoint_seeds() -> list[bytes]:
    from safetensors.torch import save

    state = {"visual.conv1.weight": torch.ones(2, 3, 2, 2), "logit_scale": torch.tensor(1.0)}
    plain, script = io.BytesIO(), io.BytesIO()
    torch.save({"epoch": 1, "model_state_dict": state, "args": [1, None, "a"]}, plain)
    module = torch.nn.Module()
    module.weight, module.visual = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Linear(2, 2)
    torch.jit.save(torch.jit.script(module), script)
    return [
        pack({"a.pt": plain.getvalue()}),
        pack({"a.pt": script.getvalue()}),
        pack({"a.safetensors": save(state)}),
    ]


# A clip stands for itself by what it is made from: a name of `CLIPS` and the seeds of the faults put into it.
CLIPS: dict[str, dict[str, Any]] = {
    "h264.mp4": {},
    "h264.ts": {},
    "h264.h264": {"container": "h264"},
    "fragments.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "vp8.webm": {"codec": "libvpx", "bit_rate": 100_000},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "fps": 25},
    "ffv1.mkv": {"codec": "ffv1"},
    "animated.gif": {"codec": "gif", "pix_fmt": "rgb8"},
}


@functools.cache
def _clip(name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write_video(Path(folder, name), 16, height=48, width=64, gop=5, **CLIPS[name]).read_bytes()


def _clips(paths: list[Path]) -> None:
    for path in paths:
        name, *seeds = json.loads(path.read_bytes())
        data = _clip(name)
        for seed in seeds:
            data = broken(data, _clip("h264.mp4"), random.Random(seed))
        processor = ZSARVideoProcessor(num_frames=4, size={"shortest_edge": 32}, crop_size=32)
        file = path.with_name(f"broken{Path(name).suffix}")
        file.write_bytes(data)
        expect((VideoReadError,), processor, str(file))
        expect((VideoReadError,), functools.partial(processor, mode="keyframe"), data)
        expect((VideoReadError,), list, itertools.islice(processor.iter_windows(data, 0.2), 6))


def _clip_seeds() -> list[bytes]:
    return [pack({"clip.json": json.dumps([name]).encode()}) for name in CLIPS]


def _other_clip(data: bytes, rng: random.Random) -> bytes:
    """Another fault, or one fewer."""
    name, *seeds = json.loads(unpack(data)["clip.json"])
    if len(seeds) > 5 or (seeds and rng.random() < 0.3):
        seeds.pop(rng.randrange(len(seeds)))
    return pack({"clip.json": json.dumps([name, *seeds, rng.randrange(2**31)]).encode()})


def _saved(save: Callable[[str], Any]) -> bytes:
    """What is written to a file of the name that `save` gets."""
    with tempfile.TemporaryDirectory() as folder:
        save(str(Path(folder, "file")))
        return Path(folder, "file").read_bytes()


def _saved_files(save: Callable[[Path], Any]) -> dict[str, bytes]:
    """What is written into a folder, by the names of the files."""
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder, "a"))
        return {path.name: path.read_bytes() for path in sorted(Path(folder, "a").rglob("*")) if path.is_file()}


_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # where there is one, files cost no disk
_LISTS = ("x.json", "x.jsonl", "x.csv", "x.tsv", "x.txt", "x.vec", "x_test_split1.txt")
TARGETS: dict[str, Target] = {
    "lists": Target(_lists, _list_seeds, _LISTS),
    "manifests": Target(_manifests, _manifest_seeds),
    "descriptions": Target(_descriptions, _description_seeds, ("x.json", "x.jsonl", "x.txt", "x.yaml")),
    "banks": Target(_banks, _bank_seeds),
    "stores": Target(_stores, _store_seeds, ("features.json", "errors.jsonl", "README.md")),
    "recipes": Target(_recipes, _recipe_seeds),
    "segments": Target(_segments, _segment_seeds, ("x.json", "x.csv", "x.xml", "x.eaf", "x.vtt", "x.srt")),
    "urls": Target(_urls, _url_seeds),
    "configurations": Target(_configurations, _configuration_seeds),
    "checkpoints": Target(_checkpoints, _checkpoint_seeds, ("x.pt", "x.safetensors", "x.bin")),
    "clips": Target(_clips, _clip_seeds, mutate=_other_clip),
}
