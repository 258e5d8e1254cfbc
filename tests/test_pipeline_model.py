"""A pipeline and its model: it is left as it was found, banks of others are refused, and no number leaves that is
none."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from safetensors import safe_open
from torch import nn

from hf_zsar import METHODS
from hf_zsar.cli import main
from hf_zsar.pipeline_video_scoring import bf16_pays
from hf_zsar.pipeline_zero_shot_video_classification import ZeroShotVideoClassificationPipeline as Pipe
from tests.evaluation.toy import write_clip
from tests.tiny_models import LABELS, parameters_of, tiny_inputs, tiny_model, tiny_processor, tiny_videos
from tests.videos import write_video


HALF_METHODS = sorted(set(METHODS) - {"rest"})  # the tiny ResT has batch norms
every_method = pytest.mark.parametrize("method", sorted(METHODS))
in_bf16 = pytest.mark.parametrize("method", HALF_METHODS)


@pytest.fixture(scope="module")
def clip():
    return np.random.default_rng(0).integers(0, 256, (6, 40, 40, 3), dtype=np.uint8)


def pipe_of(model, method="actionclip", **options):
    return Pipe(model=model, processor=tiny_processor(method), **options)


def ask(pipe, clip, **options):
    scores = pipe(clip, candidate_labels=LABELS, function_to_apply="none", **options)
    return {entry["label"]: entry["score"] for entry in scores}


def state_of(model):
    modes = {name: module.training for name, module in model.named_modules()}
    weights = {name: (t.dtype, t.device, t.data_ptr()) for name, t in model.state_dict(keep_vars=True).items()}
    return modes, weights, {name: p.requires_grad for name, p in model.named_parameters()}


# -- the caller's model --------------------------------------------------------------------------------------


@in_bf16
def test_bfloat16_is_computed_in_a_copy(method, clip, tmp_path):
    model = tiny_model(method)
    before = state_of(model)
    pipe = pipe_of(model, method, precision="bf16")
    half = ask(pipe, clip)
    assert pipe.encode_videos(tiny_videos()).frame_embeds.dtype == torch.bfloat16
    assert pipe.model is model and state_of(model) == before
    exact = ask(pipe_of(model, method, precision="fp32"), clip)
    assert half != exact and half == pytest.approx(exact, abs=0.1 * max(map(abs, exact.values())))
    pipe.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {p.dtype for p in model.state_dict().values()}
    assert model(**tiny_inputs(method), labels=torch.tensor([0, 1])).loss.dtype == torch.float32


def test_the_choice_of_bfloat16_by_itself_is_a_copy_as_well(monkeypatch, clip):
    monkeypatch.setattr("hf_zsar.pipeline_video_scoring.bf16_pays", lambda model: True)
    model = tiny_model("actionclip")
    before = state_of(model)
    ask(pipe_of(model), clip)
    assert state_of(model) == before


def test_the_copy_follows_its_model(clip):
    pytest.importorskip("peft")
    from peft import LoraConfig

    model = tiny_model("actionclip")
    pipe = pipe_of(model, precision="bf16")
    answers = [ask(pipe, clip)]
    copy_before = pipe._copy[1]
    assert ask(pipe, clip) == answers[0] and pipe._copy[1] is copy_before
    for parameter in model.parameters():  # averaged weights swapped in
        parameter.data.copy_(parameter.data * 1.1)
    answers.append(ask(pipe, clip))
    torch.manual_seed(0)
    model.add_adapter(LoraConfig(target_modules=r".*text_model.*q_proj", r=4, init_lora_weights=False))
    model.eval()
    answers.append(ask(pipe, clip))
    model.disable_adapters()
    assert ask(pipe, clip) == answers[1]
    assert len({tuple(answer.values()) for answer in answers}) == 3


def test_what_hangs_on_a_model_is_not_copied(clip):
    model = tiny_model("stdd", distill_weight=2.0)
    model.set_teacher()
    pipe = pipe_of(model, "stdd", precision="bf16")
    ask(pipe, clip)
    assert model.teacher is not None and pipe._copy[1].teacher is None


def test_weights_that_are_kept_elsewhere_are_no_copy(monkeypatch):
    model = cpu_offload(tiny_model("actionclip"), execution_device=torch.device("cpu"))
    model.hf_device_map = {"": "cpu"}
    with pytest.raises(ValueError, match="kept elsewhere"):
        Pipe(model=model, processor=tiny_processor("actionclip"), precision="bf16")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    model.backbone.extra = nn.utils.skip_init(nn.Linear, 8000, 8000)
    assert not bf16_pays(model)


@every_method
def test_a_model_in_training_is_asked_in_evaluation_mode(method, clip):
    model = tiny_model(method)
    expected = ask(pipe_of(model, method), clip)
    model.train()
    frozen = next(module for module in model.modules() if isinstance(module, (nn.LayerNorm, nn.BatchNorm2d)))
    frozen.eval()  # as those do who freeze its statistics
    before = state_of(model)
    assert ask(pipe_of(model, method), clip) == pytest.approx(expected, abs=1e-4)
    assert state_of(model) == before
    with pytest.raises(RuntimeError, match="stop"), model.evaluating():
        assert not any(module.training for module in model.modules())
        raise RuntimeError("stop")
    assert state_of(model) == before


def test_a_bank_of_the_pipeline_may_take_part_in_training():
    model = tiny_model("actionclip")
    bank = pipe_of(model).label_bank(LABELS)
    output = model.train()(tiny_videos(), label_bank=bank, labels=torch.tensor([0, 1]))
    output.loss.backward()
    assert parameters_of(model, "vision")[0].grad is not None


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_pipelines_answer_the_same(precision, clip, monkeypatch):
    compiled = []

    def compile(function):
        compiled.append(function)
        return function

    monkeypatch.setattr(torch, "compile", compile)
    model = tiny_model("actionclip")
    pipe = pipe_of(model, precision=precision, compile=True)
    assert ask(pipe, clip) == ask(pipe_of(model, precision=precision), clip) == ask(pipe, clip)
    assert len(compiled) == 1
    with torch.no_grad():
        model.backbone.model.logit_scale.add_(1)
    ask(pipe, clip)
    assert len(compiled) == (2 if precision == "bf16" else 1)


# -- stale and foreign banks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_other_peoples_banks_are_refused(precision, clip):
    model = tiny_model("actionclip")
    pipe = pipe_of(model, precision=precision)
    own, other = pipe.label_bank(LABELS), pipe_of(tiny_model("actionclip", seed=1)).label_bank(LABELS)
    foreign = pipe_of(tiny_model("stdd"), "stdd").label_bank(LABELS)
    assert pipe(clip, label_bank=own) == pipe(clip, candidate_labels=LABELS)
    with pytest.raises(ValueError, match="weights or adapters"):
        pipe(clip, label_bank=other)
    with pytest.raises(ValueError, match="it is a zsar_stdd model"):
        pipe(clip, label_bank=foreign)
    # One that says float32 serves bfloat16 and the other way round.
    twin = pipe_of(copy.deepcopy(model), precision="fp32" if precision == "bf16" else "bf16")
    assert twin(clip, label_bank=own)
    model.config.eval_logit_scale = 20.0
    with pytest.raises(ValueError, match="configuration"):
        pipe(clip, label_bank=own)


# -- numbers that are none -----------------------------------------------------------------------------------


def spoil(model, part, value):
    """Make one weight of a tower useless, and give its name."""
    name, weight = next((n, p) for n, p in model.named_parameters() if part in n and p.ndim > 1)
    with torch.no_grad():
        weight.fill_(value)
    return name


def video_part(method):
    return "backbone" if method == "rest" else "vision"


@every_method
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(method, value, clip):
    model = tiny_model(method)
    model.config._name_or_path = "org/broken"
    name = spoil(model, video_part(method), value)
    message = f"1 of the .* weights of org/broken hold NaN or infinity, {name}"
    with pytest.raises(ValueError, match=message):
        model.encode_videos(tiny_videos())
    with pytest.raises(ValueError, match=message):
        model(**tiny_inputs(method))
    with pytest.raises(ValueError, match=message):
        pipe_of(model, method)([clip, clip], candidate_labels=LABELS, on_error="return")
    model.train()(**tiny_inputs(method), labels=torch.tensor([0, 1]))  # training has its own checks


@every_method
def test_banks_that_are_no_numbers_are_refused(method, clip):
    model = tiny_model(method)
    name = spoil(model, "text_model", float("nan"))
    with pytest.raises(ValueError, match=name):
        pipe_of(model, method).label_bank(LABELS)
    with pytest.raises(ValueError, match=name):
        model.get_text_features(**tiny_processor(method).prepare_labels(list(LABELS)))


@every_method
def test_scores_that_are_no_numbers_are_refused(method, monkeypatch):
    model = tiny_model(method)
    features = model.encode_videos(tiny_videos())
    bank = pipe_of(model, method).label_bank(LABELS)
    compute = model.compute_scores

    def second_is_infinite(features, bank):
        parts = compute(features, bank)
        parts["logits_per_video"] = parts["logits_per_video"].clone()
        parts["logits_per_video"][1, 0] = -torch.inf
        return parts

    monkeypatch.setattr(model, "compute_scores", second_is_infinite)
    with pytest.raises(FloatingPointError, match=r"scores of videos .*\(number 1 of 2"):
        model.score(features, bank)
    with pytest.raises(FloatingPointError, match="weights are finite"):
        model(tiny_videos(), label_bank=bank)


def test_huge_numbers_are_numbers(monkeypatch):
    model = tiny_model("actionclip")
    features = model.encode_videos(tiny_videos())
    huge = torch.full_like(features.frame_embeds, 3e38)  # their sum is beyond float32
    model.check_finite({"frame_embeds": huge, "ids": torch.ones(2, dtype=torch.long)}, "features")
    with pytest.raises(FloatingPointError):
        model.check_finite({"frame_embeds": huge * 10}, "features")


@pytest.fixture
def half_broken(monkeypatch):
    """A pipeline whose model fails on dark videos alone."""
    pipe = pipe_of(tiny_model("actionclip"))
    encode = pipe.model.compute_features

    def compute_features(pixels, **kwargs):
        features = encode(pixels, **kwargs)
        dark = pixels.mean(dim=(1, 2, 3, 4)) < -1
        return features.map(lambda tensor: torch.where(dark.view(-1, *[1] * (tensor.ndim - 1)), torch.nan, tensor))

    monkeypatch.setattr(pipe.model, "compute_features", compute_features)
    return pipe


def test_the_video_that_gives_no_number_is_named(half_broken, clip, tmp_path):
    dark = np.zeros_like(clip)
    scores = ask(half_broken, clip)
    results = half_broken([clip, dark, clip, dark], candidate_labels=LABELS, on_error="return", batch_size=4)
    assert [type(result) for result in results] == [list, FloatingPointError, list, FloatingPointError]
    assert {entry["label"] for entry in results[0]} == set(scores)
    assert "video number 3 (counted from 0)" in str(results[3])
    with pytest.raises(FloatingPointError, match="video number 1"):
        half_broken([clip, dark], candidate_labels=LABELS, batch_size=2)
    path = write_clip(tmp_path / "dark.mp4", 0, frames=20)
    with open(path, "rb") as file:
        for video in (path, {"path": str(path), "bytes": None}, file):
            with pytest.raises(FloatingPointError, match="dark.mp4: "):
                half_broken([video], candidate_labels=LABELS)
    address = {"path": "https://me:s3cret@example.org/dark.mp4?token=s3cret", "bytes": path.read_bytes()}
    with pytest.raises(FloatingPointError, match="dark.mp4") as refused:
        half_broken([address], candidate_labels=LABELS)
    assert "s3cret" not in str(refused.value)
    with pytest.raises(FloatingPointError, match="dark.mp4, 0 to 1 s: "):
        list(half_broken.timeline(path, LABELS, window=1.0, batch_size=1))[0]
    error = half_broken([path], candidate_labels=LABELS, window=1.0, on_error="return")[0]
    assert isinstance(error, FloatingPointError)


@pytest.mark.parametrize("part", ["vision_model", "text_model"])
def test_the_command_line_says_it_in_one_line(part, tmp_path, capsys):
    model = tiny_model("actionclip")
    name = spoil(model, part, float("nan"))
    model.save_pretrained(tmp_path / "model")
    tiny_processor("actionclip").save_pretrained(tmp_path / "model")
    video = write_video(tmp_path / "clip.mp4", num_frames=12)
    command = ["classify", str(video), "--labels", "a", "b", "--model", str(tmp_path / "model"), "--json"]
    assert main(command) == 2
    output = capsys.readouterr()
    assert "NaN" not in output.out and name in output.err and "Traceback" not in output.err


def test_one_bad_video_does_not_end_a_run(half_broken, tmp_path, capsys, monkeypatch):
    for name, number in (("a_dark.mp4", 0), ("b_bright.mp4", 215)):
        write_clip(tmp_path / name, number)
    monkeypatch.setattr("hf_zsar.cli.common.load_pipeline", lambda args: half_broken)
    assert main(["classify", str(tmp_path), "--labels", "a", "b", "--json"]) == 1
    dark, bright = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert "a_dark.mp4" in dark["error"] and "scores" not in dark
    assert len(bright["scores"]) == 2
