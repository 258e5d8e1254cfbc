"""STDD against the numbers of the official implementation, loaded from its file layouts through the converter.

A case is any folder of the golden data whose `config.json` has an `stca` section; all else is read from its files.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from hf_zsar.conversion import stdd as conversion
from hf_zsar.modeling import modeling_stdd
from hf_zsar.modeling.configuration_stdd import patch_grid
from hf_zsar.modeling.distillation import distillation_loss, teacher_frame_embeds
from hf_zsar.modeling.modeling_stdd import STDDModel, text_tensors
from hf_zsar.modeling.modeling_zsar import LabelBank, normalize
from hf_zsar.modeling.space_time_attention import kept_count, kept_patches, window_mask, window_order
from tests.conftest import GOLDEN_DIR
from tests.golden_cases import GoldenCase, case_id, golden_cases
from tests.tiny_models import score_any


CASES = golden_cases(lambda case: "stca" in case.config)
NO_CASES = pytest.param(None, marks=pytest.mark.skip(reason=f"no STDD cases in {GOLDEN_DIR}: set HF_ZSAR_GOLDEN"))


def passes() -> list[Any]:
    """(case, prefix) of every pass through the vision tower that the expected tensors record."""
    found = []
    for case in CASES:
        with safe_open(case.path / "expected.safetensors", framework="pt") as file:
            names = [name for name in file.keys() if name.endswith(".frame_features")]
        for name in sorted(names):
            prefix = name.removesuffix(".frame_features")
            found.append(pytest.param((case, prefix), id=f"{case_id(case)}-{prefix}"))
    return found


each_case = pytest.mark.parametrize("case", CASES or [NO_CASES], ids=case_id if CASES else None)
each_pass = pytest.mark.parametrize("recorded", passes() or [NO_CASES])


def settings(case: GoldenCase) -> dict[str, Any]:
    """What `config.json` says of the attention, as fields of our configuration."""
    stca = case.config["stca"]
    names = dict(window_size="window", mask_rate="mask_rate", channel_fold="channel_fold")
    return {field: stca[name] for field, name in names.items()} | {"temporal_scales": stca["temporal_scales"]}


def load_model(case: GoldenCase, **overrides: Any) -> STDDModel:
    path = case.path / case.config["files"]["checkpoint"]
    return conversion.convert(path, **{**settings(case), **overrides}).model


def load_bank(case: GoldenCase) -> LabelBank:
    labels = [f"class {i}" for i in range(case.config["num_classes"])]
    features = torch.load(case.path / case.config["files"]["text_features"], weights_only=True).float()
    return LabelBank(labels, text_tensors(normalize(features), torch.ones(features.shape[:2], dtype=torch.bool)))


def videos(case: GoldenCase, num_frames: int) -> torch.Tensor:
    return case.inputs["pixel_values"][:, :num_frames]


def frames_and_rate(prefix: str) -> tuple[int, dict[str, float]]:
    """`"rate0.25.T4"` -> 4 frames, and the mask rate that differs from the case's."""
    rate = re.match(r"rate([\d.]+)\.", prefix)
    return int(re.search(r"T(\d+)$", prefix)[1]), {"mask_rate": float(rate[1])} if rate else {}


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
@each_pass
def test_golden_forward(recorded, block_outputs):
    """Every recorded pass: deterministic, shuffled, training masks, other mask rates; T as the prefix says."""
    case, prefix = recorded
    num_frames, rate = frames_and_rate(prefix)
    model, bank = load_model(case, **rate), load_bank(case)
    masks = case.expected.get(f"{prefix}.masked_raster")
    random = masks is not None and masks.ndim == 4
    features = model.encode_videos(videos(case, num_frames), patch_masks=masks if random else None)
    case.check(f"{prefix}.frame_features", features.frame_embeds[:, 0])
    case.check(f"{prefix}.logits_aug", score_any(model, features, bank))
    for name in case.expected:
        if match := re.fullmatch(rf"{re.escape(prefix)}\.block_(\d+)_out", name):
            case.check(name, block_outputs[int(match[1])].view_as(case.expected[name]))
    if f"{prefix}.similarity" in case.expected:
        frames = normalize(features.frame_embeds[:, 0]) * model.backbone.model.logit_scale.exp()
        case.check(f"{prefix}.similarity", torch.einsum("btd,kad->btka", frames, bank["prompt_embeds"]))


@torch.no_grad()
@each_pass
def test_golden_masks(recorded):
    """The masks themselves, rebuilt from the recorded draws, and what the first block keeps."""
    case, prefix = recorded
    num_frames, rate = frames_and_rate(prefix)
    model = load_model(case, **rate)
    window, rate = model.config.window_size, model.config.mask_rate
    grid = patch_grid(model.config.backbone_config.vision_config)
    draws = [case.expected.get(f"{prefix}.{name}") for name in ("offset", "frame_permutation")]
    mask = window_mask(num_frames, grid, window, rate, *draws)
    window_major = case.expected[f"{prefix}.masked_windowmajor"].bool()
    assert torch.equal(mask[..., window_order(grid, window)].expand_as(window_major), window_major)
    if (raster := case.expected.get(f"{prefix}.masked_raster")) is not None:
        assert torch.equal(mask.expand(raster.shape), raster.bool())
    if f"{prefix}.kept_tokens_block0" in case.expected:
        kept = kept_patches(mask, grid, window, kept_count(grid, window, rate))
        hidden = model.backbone.embed_patches(videos(case, num_frames).flatten(0, 1))
        hidden = model.backbone.model.vision_model.pre_layrnorm(hidden).unflatten(0, (-1, num_frames))
        index = torch.cat([torch.zeros_like(kept[:, :1]), kept + 1], dim=1)
        case.check(f"{prefix}.kept_tokens_block0", hidden[:, torch.arange(num_frames)[:, None], index])


@torch.no_grad()
@each_case
def test_golden_text_side(case):
    """The imported feature file, and the template-averaged classifier that the text tower gives."""
    case.check("classifier_aug", load_bank(case)["prompt_embeds"])
    model = load_model(case, matching="mean")
    ids = case.inputs["template_input_ids"]
    prompt_index = torch.arange(len(ids)).view(-1, case.config["num_classes"]).t()  # row p * C + c
    bank = model.encode_labels(ids, prompt_index=prompt_index)
    case.check("classifier_base", bank["text_embeds"])
    for num_frames in case.config["num_frames_tested"]:
        logits = score_any(model, model.encode_videos(videos(case, num_frames)), bank)
        case.check(f"T{num_frames}.logits_base", logits)


@each_case
def test_golden_settings_come_from_the_file(case):
    """An epoch file says how it was trained; an averaged one does not, and the converter says that it guesses."""
    path = case.path / case.config["files"]["checkpoint"]
    converted = conversion.convert(path)
    if "cfg" in torch.load(path, weights_only=True):
        assert {name: getattr(converted.model.config, name) for name in settings(case)} == settings(case)
    else:
        assert any("no settings" in note for note in converted.notes)
    assert converted.model.config.source_license == "none"


# -- training step ----------------------------------------------------------------------------------


def training_model(case: GoldenCase, **overrides: Any) -> STDDModel:
    """The student in training mode, with its projector and teacher from wherever the case keeps them."""
    train = case.config["expected_scalars"]["train_intent"]
    weights = dict(distill_weight=train["distill_weight"], distill_alpha=train["distill_alpha"])
    model = load_model(case, **(weights | overrides))
    projector = case.path / "projector_v.safetensors"
    if projector.is_file() and model.distill_projector is not None:
        state = {key.removeprefix("projector_v."): tensor for key, tensor in load_file(projector).items()}
        model.distill_projector.load_state_dict(state)
    model.set_teacher(conversion.load_teacher(case.path / case.config["files"]["checkpoint"]))
    return model.train()


def run_training_step(case: GoldenCase, model: STDDModel) -> Any:
    masks = case.expected["train.masked_raster"]
    inputs = dict(label_bank=load_bank(case), labels=case.inputs["labels"], patch_masks=masks)
    output = model(videos(case, masks.shape[2]), **inputs)
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
def test_golden_training_step(case):
    """Loss and gradients where distillation trains the student, as the paper means it."""
    model, expected = training_model(case), case.config["expected_scalars"]["train_intent"]
    output = run_training_step(case, model)
    case.check("train.logits", output.logits_per_video)
    case.check("train.loss_total", output.loss)
    assert output.loss.item() == pytest.approx(expected["total"], rel=1e-5)
    assert_gradient_norms(model, expected["gradient_norms"])


@torch.no_grad()
@each_case
def test_golden_distillation(case):
    model, masks = training_model(case), case.expected["train.masked_raster"]
    clips = videos(case, masks.shape[2])
    student = normalize(model.encode_videos(clips, patch_masks=masks).frame_embeds)
    correction = model.config.distill_alpha * model.distill_projector(student)
    teacher = teacher_frame_embeds(model.teacher, clips)
    case.check("train.student_plus_projection", (student + correction).flatten(0, 2))
    case.check("train.teacher_frame_features_normalised", teacher.flatten(0, 2))
    case.check("train.loss_distill", distillation_loss(student, correction, teacher))


@each_case
def test_golden_without_distillation_gives_the_gradients_of_the_released_code(case):
    model, expected = training_model(case, distill_weight=0.0), case.config["expected_scalars"]["train_released"]
    output = run_training_step(case, model)
    case.check("train.loss_ce", output.loss)
    assert_gradient_norms(model, expected["gradient_norms"])
