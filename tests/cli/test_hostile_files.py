"""What somebody else wrote, damaged or made to harm, given to every command that reads a file: one line, status 2."""

from __future__ import annotations

import importlib.util
import json
import pickle
import shutil
import struct
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import hf_zsar
from hf_zsar import LabelBank
from hf_zsar.cli import main
from hf_zsar.descriptions import LanguageModel
from hf_zsar.features.store import ERRORS, HEADER
from hf_zsar.hub.loading import load
from hf_zsar.modeling.tensor_files import read_tensors
from hf_zsar.processing.text_files import TextFileError, read_json, read_text
from hf_zsar.training.recipe import RecipeError, load_recipe
from hf_zsar.yaml_files import read_yaml
from tests.descriptions.tiny_language_models import tiny_causal_model, tiny_tokenizer
from tests.tiny_models import tiny_folder
from tests.videos import write_video


SECONDS = 10  # far above what any of these takes, far below what a bomb does


def tensors(header: bytes | dict, data: bytes = b"") -> bytes:
    """A safetensors file."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + data


def one(dtype: str, shape: list[int], end: int) -> dict:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}


WRONG_TYPES = {"labels": {"a": 1}, "clips": [3, None, {"file": 3}], "model": 3, "model_type": 3, "classes": 7}
ALIASES = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(9)
)
FILES: dict[str, bytes | None] = {
    "folder": None,
    "empty": b"",
    "binary": bytes(range(256)) * 20,
    "cut off": b'{"a": [1, 2',
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "list": b"[]",
    "lists": b"[[[]]]",
    "null": b"null",
    "number": b"3",
    "object": b"{}",
    "nothing in fields": json.dumps(dict.fromkeys("labels clips model classes data method".split())).encode(),
    "wrong types": json.dumps({**WRONG_TYPES, "data": [], "method": {}, "format": [], "vocab": 3}).encode(),
    "digits": b"[" + b"9" * 10_000 + b"]",
    "no number": b'{"a": NaN, "num_frames": NaN}',
    "half a character": b'{"\\ud800": "\\udfff"}',
    "key twice": b'{"a": 1, "a": 2}',
    "UTF-16 without its mark": "[1]".encode("utf-16-le"),
    "pickle": pickle.dumps({"a": print}),
    "aliases": ALIASES,
    "alias in itself": b"&a [*a]",
    "deep YAML": b"".join(b" " * n + b"a:\n" for n in range(500)),
    "flow YAML": b"{a: " * 3000,
    "tag": b"!!python/object/apply:os.system ['true']",
    "header too long": struct.pack("<Q", 2**62) + b"{}",
    "header deep": tensors(b"[" * 90_000 + b"]" * 90_000),
    "tensor cut off": tensors(one("F32", [4], 16), bytes(7)),
    "tensor too large": tensors(one("F32", [2**40, 2**40], 16), bytes(16)),
    "tensor of no type": tensors(one("F13", [4], 16), bytes(16)),
    "no tensor": tensors({}),
    "zip": b"PK\x03\x04" + bytes(100),
    "quote without end": b'name,label\n"a\n',
    "page": b"<!doctype html><html>sign in</html>",
}


def put(path: Path, content: bytes | None) -> str:
    if path.is_file():
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    return str(path)


@pytest.fixture(scope="module")
def video(clips: Path) -> str:
    return str(clips / "b.mp4")


@pytest.fixture(scope="module")
def described(tmp_path_factory) -> str:
    """A model that reads descriptions."""
    return str(tiny_folder("dasti", tmp_path_factory.mktemp("described")))


LABELS = ["--labels", "cooking", "surfing"]
# name of the file -> the command; words in capitals are filled in
COMMANDS: dict[str, list[str]] = {
    "labels.json": ["classify", "VIDEO", "--model", "MODEL", "--labels-file"],
    "labels.csv": ["classify", "VIDEO", "--model", "MODEL", "--labels-file"],
    "descriptions.json": ["classify", "VIDEO", *LABELS, "--model", "DESCRIBED", "--descriptions"],
    "bank.json": ["embed", *LABELS, "--model", "DESCRIBED", "--label-bank", "OUT", "--descriptions"],
    "model": ["classify", "VIDEO", *LABELS, "--model"],
    "manifest.json": ["evaluate", "--model", "MODEL", "--manifest"],
    "manifest.csv": ["evaluate", "--model", "MODEL", "--manifest"],
    "manifest.jsonl": ["evaluate", "--model", "MODEL", "--manifest"],
    "manifest.txt": ["evaluate", "--model", "MODEL", "--manifest"],
    "store": ["search", "--model", "MODEL", "--", "FILE", "words"],
    "examples.safetensors": ["classify", "VIDEO", "--model", "MODEL", "--bank"],
    "examples.json": ["adapt", "FILE", "--model", "MODEL", "--out", "BANK"],
    "recipe.yaml": ["train"],
    "recipe.json": ["train", "--dry-run"],
    "source.json": ["cache", "FILE", "OUT"],
    "source.csv": ["cache", "FILE", "OUT"],
    "record.json": ["compare", "FILE"],
    **{
        f"segments.{suffix}": ["find", "--format", "csv", "--output", "OUT", "--read"]
        for suffix in ("json", "csv", "xml", "eaf", "vtt", "srt")
    },
    "truth.json": ["evaluate", "--protocol", "thumos14", "--annotations", "FILE", "--predictions", "FILE"],
    "overlap.json": ["filter-overlap", "--train", "FILE", "--test"],
    "overlap.csv": ["filter-overlap", "--train", "FILE", "--test"],
    "prototypes.json": ["fit-prototypes", "MODEL", "OUT", "--data"],
    "reviewed.json": ["describe", "--validate"],
    "texts.json": ["describe", "--kind", "attributes", "--out", "OUT", "--texts"],
    "talker": ["describe", "--kind", "attributes", "--labels", "cooking", "--out", "OUT", "--llm"],
    "stdd.yaml": ["describe", "--kind", "graph", "--out", "OUT", "--import-from"],
    "clip.pt": ["convert", "--from", "openai-clip", "FILE", "OUT"],
    "epoch.pth": ["convert", "--from", "stdd", "FILE", "OUT"],
    "clip.safetensors": ["convert", "--from", "openai-clip", "FILE", "OUT"],
    "explained": ["explain-transfer", "--label", "cooking", "--model"],
    "pushed": ["push", "FILE", "org/name"],
    "exported": ["export-onnx", "FILE", "OUT"],
    "shown": ["demo", "--model"],
}


def complaint(argv: list[str], capsys: pytest.CaptureFixture) -> str | None:
    """What is wrong with how a command ends: None where it says why it does nothing, in a line."""
    began = time.monotonic()
    try:
        status = main(argv)
    except BaseException as error:  # noqa: BLE001 - that is what is looked for
        return f"raises {type(error).__name__}"
    out, err = capsys.readouterr()
    last = err.splitlines()[-1] if err else ""
    if status != 2 or not last.startswith(f"hf-zsar {argv[0]}: ") or "Traceback" in err:
        return f"ends with {status}: {err[-200:]}{out[-200:]}"
    # A line of a library about the model may stand before it.
    if len(err.splitlines()) > 2 or time.monotonic() - began > SECONDS:
        return f"says too much or takes too long: {err}"
    return None


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_in_a_line_what_it_cannot_read(
    name, video, described, tiny_model_folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    faults = {}
    for number, (kind, content) in enumerate(FILES.items()):
        file = put(tmp_path / str(number) / name, content)
        words = {"VIDEO": video, "MODEL": tiny_model_folder, "DESCRIBED": described, "OUT": str(tmp_path / "out")}
        words["BANK"] = str(tmp_path / "out.safetensors")
        argv = [words.get(word, word).replace("FILE", file) for word in COMMANDS[name]]
        argv += [file] if file not in argv or "compare" in argv or "filter-overlap" in argv else []
        if found := complaint(argv, capsys):
            faults[kind] = found
        assert not list(tmp_path.glob("out*")), kind
    assert faults == {}


HARMLESS = ("object", "no number", "half a character", "nothing in fields", "wrong types")
PARTS = ["config.json", "tokenizer.json", "model.safetensors"]


@pytest.mark.parametrize("part", [*PARTS, "processor_config.json"])
def test_every_part_of_a_model_folder(part, video, described, tmp_path, capsys, monkeypatch):
    """Given to a command that answers and, where Gradio is installed, to one that serves, by turns."""
    commands = [["classify", video, *LABELS]]
    if importlib.util.find_spec("gradio"):
        monkeypatch.setattr("hf_zsar.demo.app.launch", lambda *_, **__: pytest.fail("served"))
        commands.append(["demo"])
    faults = {}
    for number, (kind, content) in enumerate(FILES.items()):
        folder = shutil.copytree(described, tmp_path / str(number))
        put(folder / part, content)
        command = commands[number % len(commands)]
        if found := complaint([*command, "--model", str(folder)], capsys):
            faults[command[0], kind] = found
        shutil.rmtree(folder)
    assert faults == {}


@pytest.mark.parametrize("part", [*PARTS, "generation_config.json", "tokenizer_config.json"])
def test_every_part_of_a_language_model(part, tmp_path, capsys):
    whole, out = tmp_path / "whole", tmp_path / "out.json"
    tiny_causal_model(positions=512).save_pretrained(whole)
    tiny_tokenizer().save_pretrained(whole)
    question = ["describe", "--kind", "attributes", "--labels", "cooking", "--out", str(out), "--device", "cpu"]
    capsys.readouterr()
    faults = {}
    for number, (kind, content) in enumerate(FILES.items()):
        folder = shutil.copytree(whole, tmp_path / str(number))
        put(folder / part, content)
        found = complaint([*question, "--llm", str(folder)], capsys)
        unneeded = part not in PARTS and kind in HARMLESS
        if found and not (unneeded and found.startswith("ends with 0")):
            faults[kind] = found
        shutil.rmtree(folder)
        for file in tmp_path.glob("out.json*"):
            file.unlink()
    assert faults == {}


def test_a_language_model_that_lacks_weights_or_words_is_refused(tmp_path):
    tiny_causal_model().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert LanguageModel.of(str(tmp_path), device="cpu").reply([{"role": "user", "content": "?"}], 1) is not None
    weights = load_file(tmp_path / "model.safetensors")
    save_file({name: weights[name] for name in sorted(weights)[1:]}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="lacks 1 of its weights, such as lm_head"):
        LanguageModel.of(str(tmp_path))
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="without its vocabulary"):
        LanguageModel.of(str(tmp_path))


def test_a_language_model_of_a_billion_layers_is_refused(tmp_path):
    tiny_causal_model().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 10**9}))
    with pytest.raises(ValueError, match="num_hidden_layers.*more than layers allows"):
        LanguageModel.of(str(tmp_path))


@pytest.mark.parametrize("part", [HEADER, ERRORS, "data/000001-x.parquet"])
def test_every_part_of_a_store(part, video, tiny_model_folder, tmp_path, capsys):
    store = tmp_path / "store"
    assert main(["embed", video, "--out", str(store), "--model", tiny_model_folder]) == 0
    if "/" in part:
        shutil.rmtree(store / "data")
    capsys.readouterr()
    faults = {}
    for number, (kind, content) in enumerate(FILES.items()):
        if part == ERRORS and content is not None and b"\n" not in content:
            content += b"\n"
        folder = shutil.copytree(store, tmp_path / str(number))
        put(folder / part, content)
        with pytest.warns(UserWarning) if "/" in part else nullcontext():
            # Only who adds to a store reads what could not be read before.
            command = ["embed", video, "--out"] if part == ERRORS else ["search"]
            words = [] if part == ERRORS else ["words"]
            found = complaint([*command, str(folder), *words, "--model", tiny_model_folder], capsys)
        if found and not (part == ERRORS and kind == "folder"):  # not looked at
            faults[kind] = found
    assert faults == {}


@pytest.mark.parametrize("part", [HEADER, "data/000001-x.parquet"])
def test_every_part_of_a_store_that_evaluation_keeps(part, tiny_model_folder, tmp_path, capsys):
    """A damaged header ends the evaluation; a damaged shard is written again."""
    write_video(tmp_path / "a.mp4", num_frames=8)
    manifest = tmp_path / "clips.json"
    manifest.write_text(json.dumps({"labels": ["a", "b"], "clips": [{"file": "a.mp4", "label": "a"}]}))
    command = ["evaluate", "--manifest", str(manifest), "--model", tiny_model_folder, "--store"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    [name] = [path.name for path in (tmp_path / "whole").iterdir()]
    faults = {}
    for number, (kind, content) in enumerate([*FILES.items()][:: 8 if "/" in part else 1]):
        store = shutil.copytree(tmp_path / "whole" / name, tmp_path / str(number) / name)
        for shard in (store / "data").iterdir() if "/" in part else ():
            shard.unlink()
        put(store / part, content)
        capsys.readouterr()
        if "/" in part:
            with pytest.warns(UserWarning, match="encoded again"):
                status = main([*command, str(store.parent)])
            whole = status == 0 and len(list((store / "data").iterdir())) == 2
            found = None if whole else f"ends with {status}"
        else:
            found = complaint([*command, str(store.parent)], capsys)
        if found:
            faults[kind] = found
    assert faults == {}


READERS: dict[str, Callable[[str], object]] = {
    "read_text": read_text,
    "read_json": read_json,
    "read_yaml": read_yaml,
    "read_tensors": read_tensors,
    "LabelBank.load": LabelBank.load,
    "load_recipe": load_recipe,
    "load": load,
    "pipeline": hf_zsar.pipeline,
}


@pytest.mark.parametrize("name", READERS)
def test_readers_raise_what_they_say(name, tmp_path):
    """Values that are what a format can hold may come back; anything else is one of the documented errors."""
    for number, (kind, content) in enumerate(FILES.items()):
        path = put(tmp_path / f"{number}", content)
        try:
            READERS[name](path)
        except (ValueError, OSError) as error:
            assert str(error) and "\n" not in str(error), kind
        else:
            assert name.startswith("read_"), kind


@pytest.mark.parametrize("method", hf_zsar.METHODS)
@pytest.mark.parametrize("change", ["layers", "all"])
def test_a_model_that_lacks_weights_is_refused(method, change, tmp_path):
    folder = tiny_folder(method, tmp_path)
    hf_zsar.pipeline(folder)
    weights = load_file(folder / "model.safetensors")
    lacking = sorted(weights)[:: 3 if change == "layers" else 1]
    save_file({name: value for name, value in weights.items() if name not in lacking}, folder / "model.safetensors")
    for read in (hf_zsar.pipeline, load):
        with pytest.raises(ValueError, match=r"lacks \d+ of its weights, such as .*: its file is not whole"):
            read(folder)
    # The class itself does as transformers does: it warns, and what is missing can be looked up.
    model, info = hf_zsar.METHODS[method].model_class.from_pretrained(folder, output_loading_info=True)
    assert list(model.missing_weights) == sorted(info["missing_keys"]) and model.missing_weights


@pytest.mark.parametrize("method", hf_zsar.METHODS)
@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.uint8, torch.bool, torch.complex64], ids=str)
def test_weights_of_another_kind_of_number_are_refused(method, dtype, tmp_path):
    """Of fractions that were made integers, zeros are left: a model that says nothing, without a word."""
    folder = tiny_folder(method, tmp_path)
    weights = load_file(folder / "model.safetensors")
    name = max(weights, key=lambda name: weights[name].numel())
    save_file({**weights, name: weights[name].to(dtype)}, folder / "model.safetensors")
    for read in (hf_zsar.METHODS[method].model_class.from_pretrained, hf_zsar.pipeline, load):
        with pytest.raises(ValueError, match=f"{name} is stored as [IUBC].* where float32"):
            read(folder)


def test_weights_of_another_kind_elsewhere(tmp_path):
    """Fractions in the place of integers, a pickle, weights given by hand; half precision is the same kind."""
    folder, model_class = tiny_folder("rest", tmp_path), hf_zsar.METHODS["rest"].model_class
    weights = load_file(folder / "model.safetensors")
    with pytest.raises(ValueError, match="seen_counts is stored as float32 where int64 belongs"):
        counts = weights["seen_counts"].float()
        model_class.from_pretrained(None, config=folder, state_dict={**weights, "seen_counts": counts})
    half = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    save_file(half, folder / "model.safetensors")
    assert model_class.from_pretrained(folder).dtype == torch.float32
    (folder / "model.safetensors").unlink()
    torch.save({name: value.to(torch.int8) for name, value in weights.items()}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="is stored as int8"):
        model_class.from_pretrained(folder, use_safetensors=False)


@pytest.mark.parametrize("method", hf_zsar.METHODS)
def test_a_tokenizer_without_a_vocabulary_is_refused(method, tmp_path):
    folder = tiny_folder(method, tmp_path)
    for name in ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(ValueError, match="without its vocabulary"):
        hf_zsar.pipeline(folder)


@pytest.mark.parametrize("value", [3, "words", [1], True])
def test_what_is_set_inside_of_a_value_of_a_recipe(value, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({"data": value}))
    with pytest.raises(RecipeError, match=r"data: expected fields and values.*data\.source cannot be set"):
        load_recipe(path, {"data.source": "clips"})


def test_what_a_training_left(tmp_path):
    from hf_zsar.training.trainer import epoch_of

    put(tmp_path / "trainer_state.json", FILES["deep lists"])
    with pytest.raises(TextFileError, match="json_depth"):
        epoch_of(tmp_path)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(3, device="meta"),
        torch.sparse_coo_tensor([[0, 1]], torch.ones(2), (3,)),
        torch.zeros(2**20).expand(2**10, 2**20),
    ],
    ids=["meta", "sparse", "repeats its memory"],
)
def test_checkpoints_of_strange_tensors(tensor, tmp_path, capsys):
    torch.save({"visual.proj": tensor, "positional_embedding": torch.zeros(77, 8)}, tmp_path / "clip.pt")
    argv = ["convert", "--from", "openai-clip", str(tmp_path / "clip.pt"), str(tmp_path / "out")]
    assert complaint(argv, capsys) is None
