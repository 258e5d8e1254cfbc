"""STDD against the numbers of the official implementation, loaded from its file layouts through the converter.

A case is any folder of the golden data whose `config.json` has an `stca` section; everything is read from its files.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from hf_zsar.conversion import stdd as conversion
from hf_zsar.modeling import modeling_stdd
from hf_zsar.modeling.configuration_stdd import patch_grid
from hf_zsar.modeling.modeling_stdd import STDDModel, distillation_loss
from hf_zsar.modeling.modeling_zsar import LabelBank, normalize
from hf_zsar.modeling.space_time_attention import kept_count, kept_patches, window_mask, window_order
from tests.conftest import GOLDEN_DIR


class Case:
    """One folder of the golden data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.inputs = load_file(folder / "inputs.safetensors")
        self.expected = load_file(folder / "expected.safetensors")
        self.checkpoint = folder / self.config["files"]["checkpoint"]
        self.labels = [f"class {i}" for i in range(self.config["num_classes"])]

    @property
    def settings(self) -> dict[str, Any]:
        stca = self.config["stca"]
        return dict(
            window_size=stca["window"],
            mask_rate=stca["mask_rate"],
            channel_fold=stca["channel_fold"],
            temporal_scales=stca["temporal_scales"],
        )

    def model(self, **overrides: Any) -> STDDModel:
        return conversion.convert(self.checkpoint, **{**self.settings, **overrides}).model

    def bank(self) -> LabelBank:
        return conversion.import_text_features(self.folder / self.config["files"]["text_features"], self.labels)

    def videos(self, num_frames: int | None = None) -> torch.Tensor:
        return self.inputs["pixel_values"].float()[:, :num_frames]


@cache
def load_case(name: str) -> Case:
    return Case(GOLDEN_DIR / name)


def find_cases() -> list[str]:
    folders = sorted(path.parent for path in GOLDEN_DIR.glob("*/config.json"))
    return [folder.name for folder in folders if "stca" in json.loads((folder / "config.json").read_text())]


def find_runs() -> list[tuple[str, str]]:
    """(case, prefix) of every forward pass of the vision tower in the expected tensors."""
    runs = []
    for name in CASES:
        with safe_open(GOLDEN_DIR / name / "expected.safetensors", framework="pt") as file:
            keys = sorted(file.keys())
        runs += [(name, key.removesuffix(".frame_features")) for key in keys if key.endswith(".frame_features")]
    return runs


CASES = find_cases()
NO_CASES = pytest.param(None, marks=pytest.mark.skip(reason=f"no STDD cases in {GOLDEN_DIR}: set HF_ZSAR_GOLDEN"))
each_case = pytest.mark.parametrize("name", CASES or [NO_CASES])
each_run = pytest.mark.parametrize("run", [pytest.param(run, id="-".join(run)) for run in find_runs()] or [NO_CASES])


def assert_close(actual: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    """Features and losses: 1e-5 of the scale of the reference (golden README)."""
    tolerance = 1e-5 * max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance, msg=lambda text: f"{what}: {text}")


def assert_logits_close(actual: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4, msg=lambda text: f"{what}: {text}")


@pytest.fixture
def block_outputs(monkeypatch):
    """Collects the output of every space-time block."""
    outputs: list[torch.Tensor] = []
    block = modeling_stdd.space_time_block

    def recording(*args: Any, **kwargs: Any) -> torch.Tensor:
        outputs.append(block(*args, **kwargs))
        return outputs[-1]

    monkeypatch.setattr(modeling_stdd, "space_time_block", recording)
    return outputs


@torch.no_grad()
@each_run
def test_golden_forward(run, block_outputs):
    """Every recorded pass: deterministic, shuffled, training masks, other mask rates; T as the prefix says."""
    case, prefix = load_case(run[0]), run[1]
    rate = re.match(r"rate([\d.]+)\.", prefix)
    model = case.model(**({"mask_rate": float(rate[1])} if rate else {}))
    num_frames = int(re.search(r"T(\d+)$", prefix)[1])
    masks = case.expected.get(f"{prefix}.masked_raster")
    explicit = masks is not None and masks.ndim == 4
    features = model.encode_videos(case.videos(num_frames), patch_masks=masks if explicit else None)
    assert_close(features.frame_embeds[:, 0], case.expected[f"{prefix}.frame_features"], "frame_features")
    logits, bank = model.score(features, case.bank()), case.bank()
    assert_logits_close(logits, case.expected[f"{prefix}.logits_aug"], "logits_aug")
    recorded = [key for key in case.expected if re.fullmatch(rf"{re.escape(prefix)}\.block_\d+_out", key)]
    for key in recorded:
        expected = case.expected[key]
        assert_close(block_outputs[int(key.split("_")[-2])].view_as(expected), expected, key)
    if (similarity := case.expected.get(f"{prefix}.similarity")) is not None:
        frames = normalize(features.frame_embeds[:, 0]) * model.backbone.logit_scale.exp()
        assert_logits_close(torch.einsum("btd,kad->btka", frames, bank["prompt_embeds"]), similarity, "similarity")


@torch.no_grad()
@each_run
def test_golden_masks(run):
    """The masks themselves, rebuilt from the recorded draws, and what the first block keeps."""
    case, prefix = load_case(run[0]), run[1]
    model, num_frames = case.model(), int(re.search(r"T(\d+)$", prefix)[1])
    config, grid = model.config, patch_grid(model.config.backbone_config.vision_config)
    rate = re.match(r"rate([\d.]+)\.", prefix)
    rate = float(rate[1]) if rate else config.mask_rate
    draws = [case.expected.get(f"{prefix}.{name}") for name in ("offset", "frame_permutation")]
    mask = window_mask(num_frames, grid, config.window_size, rate, *draws)
    window_major = case.expected[f"{prefix}.masked_windowmajor"].bool()
    assert torch.equal(mask[..., window_order(grid, config.window_size)].expand_as(window_major), window_major)
    if (raster := case.expected.get(f"{prefix}.masked_raster")) is not None:
        assert torch.equal(mask.expand(raster.shape), raster.bool())
    if (tokens := case.expected.get(f"{prefix}.kept_tokens_block0")) is not None:
        kept = kept_patches(mask, grid, config.window_size, kept_count(grid, config.window_size, rate))
        hidden = model.backbone.embed_frames(case.videos(num_frames).flatten(0, 1))
        hidden = model.backbone.model.vision_model.pre_layrnorm(hidden).unflatten(0, (-1, num_frames))
        index = torch.cat([torch.zeros_like(kept[:, :1]), kept + 1], dim=1)
        assert_close(hidden[:, torch.arange(num_frames)[:, None], index], tokens, "kept_tokens_block0")


@torch.no_grad()
@each_case
def test_golden_text_side(name):
    """The imported feature file, and the template-averaged classifier that the text tower gives."""
    case = load_case(name)
    assert_close(case.bank()["prompt_embeds"], case.expected["classifier_aug"], "classifier_aug")
    model = case.model(matching="mean")
    ids, classes = case.inputs["template_input_ids"], len(case.labels)
    prompt_index = torch.arange(len(ids)).view(-1, classes).t()  # row p * C + c is template p of class c
    bank = model.encode_labels(ids, prompt_index=prompt_index, labels=case.labels)
    assert_close(bank["text_embeds"], case.expected["classifier_base"], "classifier_base")
    for num_frames in case.config["num_frames_tested"]:
        logits = model.score(model.encode_videos(case.videos(num_frames)), bank)
        assert_logits_close(logits, case.expected[f"T{num_frames}.logits_base"], f"T{num_frames}.logits_base")


@each_case
def test_golden_settings_come_from_the_file(name):
    """An epoch file says how it was trained; an averaged one does not, and the converter says that it guesses."""
    case = load_case(name)
    converted = conversion.convert(case.checkpoint)
    if "cfg" in torch.load(case.checkpoint, weights_only=True):
        found = {key: getattr(converted.model.config, key) for key in case.settings}
        assert found == case.settings
    else:
        assert any("no settings" in note for note in converted.notes)
    assert converted.model.config.source_license == "none"


# -- training step ------------------------------------------------------------------------------------------------------


def training_model(case: Case, **overrides: Any) -> STDDModel:
    """The student in training mode, with its projector and teacher from wherever the case keeps them."""
    train = case.config["expected_scalars"]["train_intent"]
    settings = dict(distill_weight=train["distill_weight"], distill_alpha=train["distill_alpha"]) | overrides
    model = case.model(**settings)
    projector = case.folder / "projector_v.safetensors"
    if projector.is_file() and model.distill_projector is not None:
        state = {key.removeprefix("projector_v."): tensor for key, tensor in load_file(projector).items()}
        model.distill_projector.load_state_dict(state)
    model.set_teacher(conversion.load_teacher(case.checkpoint))
    return model.train()


def run_training_step(case: Case, model: STDDModel) -> Any:
    masks = case.expected["train.masked_raster"]
    output = model(
        case.videos(masks.shape[2]), label_bank=case.bank(), labels=case.inputs["labels"], patch_masks=masks
    )
    output.loss.backward()
    return output


def official_gradient_norm(model: STDDModel, name: str) -> float | None:
    """Norm of the gradient of the parameter that the official code calls `name`; None without a gradient."""
    weights = dict(model.named_parameters())
    if name.startswith("projector_v."):
        names = [name.replace("projector_v.", "distill_projector.")]
    else:
        names = [f"backbone.model.{part}" for part in clip_names(name.removeprefix("model."))]
    grads = [weights[part].grad for part in names if part in weights and weights[part].grad is not None]
    return float(torch.stack([grad.norm() for grad in grads]).norm()) if grads else None


def clip_names(name: str) -> list[str]:
    """OpenAI's name of a CLIP weight -> transformers' names (three for packed attention)."""
    renamed = {
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "visual.proj": "visual_projection.weight",
    }
    block = re.match(r"visual\.transformer\.resblocks\.(\d+)\.(.+)\.(\w+)$", name)
    if block is None:
        name = re.sub(r"^visual\.ln_pre", "vision_model.pre_layrnorm", renamed.get(name, name))
        return [re.sub(r"^visual\.ln_post", "vision_model.post_layernorm", name)]
    index, part, kind = block.groups()
    prefix = f"vision_model.encoder.layers.{index}"
    if kind.startswith("in_proj_"):
        return [f"{prefix}.self_attn.{letter}_proj.{kind.removeprefix('in_proj_')}" for letter in "qkv"]
    parts = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    return [f"{prefix}.{parts.get(part, part.replace('attn.', 'self_attn.'))}.{kind}"]


def assert_gradient_norms(model: STDDModel, expected: dict[str, float | None]) -> None:
    for name, norm in expected.items():
        found = official_gradient_norm(model, name)
        assert (found is None) == (norm is None), f"{name}: {found} instead of {norm}"
        assert norm is None or found == pytest.approx(norm, rel=1e-4), name


@each_case
def test_golden_training_step(name):
    """Loss, its parts and gradients where distillation trains the student, as the paper means it."""
    case = load_case(name)
    model, expected = training_model(case), case.config["expected_scalars"]["train_intent"]
    output = run_training_step(case, model)
    assert_logits_close(output.logits_per_video, case.expected["train.logits"], "train.logits")
    assert_close(output.loss, case.expected["train.loss_total"], "train.loss_total")
    assert output.loss.item() == pytest.approx(expected["total"], rel=1e-5)
    assert_gradient_norms(model, expected["gradient_norms"])


@torch.no_grad()
@each_case
def test_golden_distillation(name):
    case = load_case(name)
    model, masks = training_model(case), case.expected["train.masked_raster"]
    videos = case.videos(masks.shape[2])
    student = normalize(model.encode_videos(videos, patch_masks=masks).frame_embeds)
    correction = model.config.distill_alpha * model.distill_projector(student)
    expected = case.expected["train.student_plus_projection"]
    assert_close((student + correction).view_as(expected), expected, "student_plus_projection")
    teacher = model.teacher_frame_embeds(videos)
    assert_close(teacher.view_as(expected), case.expected["train.teacher_frame_features_normalised"], "teacher")
    assert_close(distillation_loss(student, correction, teacher), case.expected["train.loss_distill"], "loss_distill")


@each_case
def test_golden_without_distillation_gives_the_gradients_of_the_released_code(name):
    case = load_case(name)
    model, expected = training_model(case, distill_weight=0.0), case.config["expected_scalars"]["train_released"]
    output = run_training_step(case, model)
    assert_close(output.loss, case.expected["train.loss_ce"], "train.loss_ce")
    assert_gradient_norms(model, expected["gradient_norms"])
