"""`import hf_zsar` is all that transformers needs to know our types, whichever of the two is imported first.

Every piece of code runs in a process that has imported neither, since what was imported before is what is tested.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from hf_zsar import METHODS, ZSARVideoProcessor, registration
from tests.conftest import REPO_ROOT
from tests.tiny_models import tiny_folder


# What a program may import before it uses the auto classes. Our own modules may be the ones that load transformers.
ORDERS = {
    "ours first": "import hf_zsar, transformers",
    "transformers first": "from transformers import AutoModel, AutoProcessor, pipeline\nimport hf_zsar",
    "some before, some after": "from transformers import AutoConfig\nimport hf_zsar",
    "pipeline before the auto classes": "import hf_zsar\nfrom transformers import pipeline",
    "a backbone before the auto classes": "import hf_zsar\nfrom transformers import CLIPModel",
    "a class of ours": "from hf_zsar import ResTModel",
    "our pipeline": "from hf_zsar import ZeroShotVideoClassificationPipeline",
    "a module of ours": "import hf_zsar.modeling.configuration_rest",
    "registered twice": "import hf_zsar\nhf_zsar.register()\nimport transformers\nhf_zsar.register()",
}
OTHERS = (
    *("eager", "a method of others", "an encoder of others"),
    *("folder loads", "folder is unknown", "names are public"),
)
EVERYTHING_IS_KNOWN = """
import hf_zsar, transformers
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.pipelines import PIPELINE_REGISTRY
for spec in hf_zsar.METHODS.values():
    assert type(transformers.AutoConfig.for_model(spec.model_type)) is spec.config_class
    assert transformers.AutoModel._model_mapping[spec.config_class] is spec.model_class
    assert PROCESSOR_MAPPING[spec.config_class] is spec.processor_class
implementation = PIPELINE_REGISTRY.check_task("zero-shot-video-classification")[1]["impl"]
assert implementation is hf_zsar.ZeroShotVideoClassificationPipeline
"""
FOLDER_LOADS = """
import hf_zsar
from transformers import AutoConfig, AutoModel, AutoProcessor, pipeline
folder = FOLDER
assert type(AutoConfig.from_pretrained(folder)) is hf_zsar.ResTConfig
assert type(AutoModel.from_pretrained(folder)) is hf_zsar.ResTModel
assert type(AutoProcessor.from_pretrained(folder)) is hf_zsar.ResTProcessor
loaded = pipeline("zero-shot-video-classification", model=folder)
assert type(loaded) is hf_zsar.ZeroShotVideoClassificationPipeline
"""
FOLDER_IS_UNKNOWN = """
from transformers import AutoConfig
try:
    AutoConfig.from_pretrained(FOLDER)
except ValueError as error:
    assert "zsar_rest" in str(error)
else:
    raise AssertionError("known without the import")
"""
EAGER = """
import os, sys
os.environ["HF_ZSAR_EAGER"] = "1"
import hf_zsar
assert "transformers.pipelines" in sys.modules
assert not [finder for finder in sys.meta_path if type(finder).__module__ == "hf_zsar.import_hook"]
"""
METHOD_OF_OTHERS = """
import sys, warnings
sys.path.insert(0, FOLDER)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    import hf_zsar
assert list(hf_zsar.METHODS) == ["actionclip", "dasti", "rest", "stdd", "video_text", "toy"]
assert sorted(str(each.message).split(" is left out: ")[0] for each in said) == [
    "The method 'broken' (toy_method:NOTHING)", "The method 'missing' (no_such_module:SPEC)",
    "The method 'taken' (toy_method:TAKEN)",
]
from transformers import AutoConfig, AutoModel, AutoProcessor
assert type(AutoConfig.for_model("zsar_toy")).__name__ == "ToyConfig"
import toy_classes
assert AutoModel._model_mapping[toy_classes.ToyConfig] is toy_classes.ToyModel
"""
TOY_METHOD = """
from hf_zsar.methods import MethodSpec
SPEC = MethodSpec("toy", "Toy", ("toy_classes",) * 3)
TAKEN = MethodSpec("rest", "Mine")
"""
TOY_CLASSES = """
from hf_zsar import ActionCLIPConfig, ActionCLIPModel, ActionCLIPProcessor
class ToyConfig(ActionCLIPConfig):
    model_type = "zsar_toy"
class ToyModel(ActionCLIPModel):
    config_class = ToyConfig
class ToyProcessor(ActionCLIPProcessor):
    pass
"""
TOY_ENCODER = """
from hf_zsar.encoders import EncoderSpec
SPEC = EncoderSpec("clipseg", "CLIPSeg", "toy_adapter:ToyEncoder")
"""
TOY_ADAPTER = """
from hf_zsar.modeling.encoder_clip import CLIPEncoder
class ToyEncoder(CLIPEncoder):
    pass
"""
ENTRY_POINTS = """[hf_zsar.encoders]
toy = toy_encoder:SPEC
[hf_zsar.methods]
toy = toy_method:SPEC
broken = toy_method:NOTHING
taken = toy_method:TAKEN
missing = no_such_module:SPEC
"""
ENCODER_OF_OTHERS = """
import sys, warnings
sys.path.insert(0, FOLDER)
import numpy, hf_zsar
assert "clipseg" in hf_zsar.encoders.ENCODERS
from tests.tiny_models import tiny_clip_config, tiny_clip_tokenizer
from transformers import AutoConfig, AutoModel, CLIPImageProcessorPil
config = tiny_clip_config()
config.pop("model_type")
AutoModel.from_config(AutoConfig.for_model("clipseg", **config)).save_pretrained(FOLDER + "/model")
tiny_clip_tokenizer().save_pretrained(FOLDER + "/model")
size = {"height": 32, "width": 32}
CLIPImageProcessorPil(size=size, crop_size=size).save_pretrained(FOLDER + "/model")
classifier = hf_zsar.pipeline(FOLDER + "/model")
assert type(classifier.model.backbone).__name__ == "ToyEncoder"
video = numpy.zeros((8, 32, 32, 3), dtype="uint8")
assert len(classifier(video, candidate_labels=["cooking", "surfing"])) == 2
"""
NAMES_ARE_PUBLIC = """
import hf_zsar
assert [name for name in hf_zsar.__all__ if getattr(hf_zsar, name) is None] == []
assert set(hf_zsar.__all__) <= set(dir(hf_zsar))
"""
# Runs every piece of code of a JSON mapping in a child of its own and prints the names of those that fail. What takes
# most of the time to import and knows nothing of transformers is imported once, before.
FORKS = """
import importlib, json, os, sys, traceback
for name in ("torch._dynamo", "torch.distributed.tensor", "scipy.optimize", "huggingface_hub", "tokenizers", "av"):
    try:
        importlib.import_module(name)
    except ImportError:
        pass
assert "transformers" not in sys.modules
failed = []
for name, code in json.load(sys.stdin).items():
    child = os.fork()
    if child == 0:
        try:
            exec(code, {})
        except BaseException:
            print(name, file=sys.stderr)
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
print(json.dumps(failed))
"""


def run(code: str, stdin: str = "") -> subprocess.CompletedProcess:
    process = subprocess.run(
        [sys.executable, "-c", code], input=stdin, capture_output=True, text=True, timeout=600, cwd=REPO_ROOT
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return process


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    folder = repr(str(tiny_folder("rest", tmp_path_factory.mktemp("rest"))))
    others = tmp_path_factory.mktemp("others")
    (others / "toy_method.py").write_text(TOY_METHOD, encoding="utf-8")
    (others / "toy_classes.py").write_text(TOY_CLASSES, encoding="utf-8")
    (others / "toy_encoder.py").write_text(TOY_ENCODER, encoding="utf-8")
    (others / "toy_adapter.py").write_text(TOY_ADAPTER, encoding="utf-8")
    (others / "toy_method-1.0.dist-info").mkdir()
    (others / "toy_method-1.0.dist-info/METADATA").write_text("Name: toy-method\nVersion: 1.0\n", encoding="utf-8")
    (others / "toy_method-1.0.dist-info/entry_points.txt").write_text(ENTRY_POINTS, encoding="utf-8")
    codes = {
        "eager": f"{EAGER}\n{EVERYTHING_IS_KNOWN}",
        "a method of others": METHOD_OF_OTHERS.replace("FOLDER", repr(str(others))),
        "an encoder of others": ENCODER_OF_OTHERS.replace("FOLDER", repr(str(others))),
        **{order: f"{code}\n{EVERYTHING_IS_KNOWN}" for order, code in ORDERS.items()},
        "folder loads": FOLDER_LOADS.replace("FOLDER", folder),
        "folder is unknown": FOLDER_IS_UNKNOWN.replace("FOLDER", folder),
        "names are public": NAMES_ARE_PUBLIC,
        "must fail": "import transformers\n" + EVERYTHING_IS_KNOWN.replace("import hf_zsar, ", "import "),
    }
    process = run(FORKS, json.dumps(codes))
    return SimpleNamespace(failed=json.loads(process.stdout.splitlines()[-1]), errors=process.stderr)


@pytest.mark.parametrize(
    "name",
    [
        *ORDERS,
        "eager",
        "a method of others",
        "an encoder of others",
        "folder loads",
        "folder is unknown",
        "names are public",
    ],
)
def test_transformers_knows_our_types(name, outcome):
    assert name not in outcome.failed, outcome.errors[-5000:]


def test_a_failure_would_be_noticed(outcome):
    assert "must fail" in outcome.failed


def test_importing_loads_neither_torch_nor_transformers():
    code = "import sys, hf_zsar\nprint(sorted({'torch', 'transformers', 'av'} & set(sys.modules)))"
    assert run(code).stdout.strip() == "[]"


@pytest.mark.parametrize("present", [True, False])
def test_video_processor_is_registered_only_where_torchvision_is(present, monkeypatch):
    """torchvision is played by a stub: what matters is which way the registration goes."""
    import transformers

    calls = []

    def register(config_class, video_processor_class, exist_ok):
        calls.append((config_class, video_processor_class))

    monkeypatch.setattr(transformers.utils, "is_torchvision_available", lambda: present)
    monkeypatch.setattr(transformers, "AutoVideoProcessor", SimpleNamespace(register=register))
    registration._register_video_processor()
    assert dict(calls) == ({spec.config_class: ZSARVideoProcessor for spec in METHODS.values()} if present else {})


def test_an_editor_sees_every_public_name():
    """The names that are loaded lazily stand in the block for type checkers, each from the module that defines it."""
    import ast

    import hf_zsar

    tree = ast.parse((REPO_ROOT / "hf_zsar/__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and node.test.id == "TYPE_CHECKING")
    shown = {alias.asname: node.module for node in block.body for alias in node.names}
    assert shown == hf_zsar._NAMES
