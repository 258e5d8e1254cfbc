"""ActionCLIP against numbers of the official code and of mmaction2's port, through the converters."""

from __future__ import annotations

import re

import pytest
import torch

from hf_zsar.conversion.actionclip import convert, convert_mmaction2
from tests.golden_cases import GoldenCase, case_id, golden_cases


def is_actionclip(case: GoldenCase) -> bool:
    return "sim_header" in case.config and "similarity_per_prompt" in case.expected


CASES = golden_cases(is_actionclip)
OFFICIAL = [case for case in CASES if case.config.get("layout") != "mmaction2"]
MMACTION = [case for case in CASES if case.config.get("layout") == "mmaction2"]


def each(cases):
    return pytest.mark.parametrize("case", cases, ids=case_id)


pytestmark = pytest.mark.usefixtures("golden_dir")


def load(case: GoldenCase, file: str = "checkpoint", **config):
    path = case.path / case.config["files"][file]
    if case in MMACTION:
        return convert_mmaction2(path, **config).model
    return convert(path, num_frames=case.config["num_frames"], **config).model


def template_major_index(case: GoldenCase) -> torch.Tensor:
    """Row p * K + k of the prompts is template p of label k."""
    templates, classes = case.config["num_templates"], case.config["num_classes"]
    return torch.arange(templates * classes).view(templates, classes).t().contiguous()


def encode_labels(model, case: GoldenCase):
    return model.encode_labels(case.inputs["input_ids"], prompt_index=template_major_index(case))


def check_evaluation(model, case: GoldenCase, expected: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        features = model.encode_videos(case.inputs["pixel_values"])
        bank = encode_labels(model, case)
        text = model.backbone.encode_texts(case.inputs["input_ids"], None, 77)
        found = {
            "frame_features": features.frame_embeds,
            "video_features": features.view_embeds,
            "similarity_per_prompt": model.score_prompts(features, bank),
        }
        if case.inputs["pixel_values"].ndim == 5:
            found = {name: tensor[:, 0] for name, tensor in found.items()}
        scores = "class_scores" if "class_scores" in expected else "class_scores_multiview"
        found |= {"text_features": text, scores: model.score(features, bank).softmax(dim=-1)}
    for name, actual in found.items():
        case.check(name, actual, expected=expected[name])


@each(CASES)
def test_evaluation(case):
    check_evaluation(load(case), case, case.expected)


@each([case for case in CASES if "checkpoint_plain" in case.config["files"]])
def test_evaluation_without_module_prefix(case):
    check_evaluation(load(case, "checkpoint_plain"), case, case.expected)


@each([case for case in CASES if (case.path / "expected_fp16.safetensors").is_file()])
def test_evaluation_of_half_precision_checkpoint(case):
    from safetensors.torch import load_file

    model = load(case, "checkpoint_fp16")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    check_evaluation(model, case, load_file(case.path / "expected_fp16.safetensors"))


@each([case for case in CASES if "video_features_transposed_layout" in case.expected])
def test_convolution_with_the_corrected_layout(case):
    model = load(case, conv1d_legacy_view=False)
    with torch.no_grad():
        features = model.encode_videos(case.inputs["pixel_values"])
    case.check("video_features_transposed_layout", features.view_embeds[:, 0])


@each([case for case in CASES if "eps_probe_output" in case.expected])
def test_layer_norm_epsilon_of_the_head(case):
    model = load(case)
    assert model.config.temporal_layer_norm_eps == case.config["temporal_layer_norm_eps"]
    with torch.no_grad():
        output = model.temporal_head(case.inputs["eps_probe_frames"])
    case.check("eps_probe_output", output, atol=1e-4)


@each(MMACTION)
def test_one_view_at_a_time(case):
    model = load(case)
    with torch.no_grad():
        bank = encode_labels(model, case)
        videos = case.inputs["pixel_values"].unbind(1)
        views = [model.score(model.encode_videos(view), bank).softmax(dim=-1) for view in videos]
    case.check("class_scores_per_view", torch.stack(views, dim=1))


@each(CASES)
def test_sizes_are_found_in_the_file(case):
    config, clip = load(case).config, case.config["clip"]
    vision, text = config.backbone_config.vision_config, config.backbone_config.text_config
    found = {
        "embed_dim": config.backbone_config.projection_dim,
        "image_size": vision.image_size,
        "patch_size": vision.patch_size,
        "vision_width": vision.hidden_size,
        "vision_layers": vision.num_hidden_layers,
        "vision_heads": vision.num_attention_heads,
        "text_width": text.hidden_size,
        "text_layers": text.num_hidden_layers,
        "text_heads": text.num_attention_heads,
        "context_length": text.max_position_embeddings,
        "vocab_size": text.vocab_size,
        "sot_id": text.bos_token_id,
        "eot_id": text.eos_token_id,
    }
    assert found == {name: clip[name] for name in found}
    assert (config.sim_header, config.num_frames) == (case.config["sim_header"], case.config["num_frames"])
    assert config.temporal_shift == case.config.get("tsm", False)
    if case.config.get("temporal_layers"):
        assert config.temporal_layers == case.config["temporal_layers"]


# -- the training step -----------------------------------------------------------------------------------------------


def training_step(case: GoldenCase, **config):
    """One step without dropout; the official script draws one template per sample and keeps repeated classes."""
    model = load(case, **config)
    inputs = case.inputs
    targets = {}
    if case in OFFICIAL:
        targets = dict(labels=inputs["train_labels"], label_ids=inputs["train_labels"])
    output = model(
        pixel_values_videos=inputs["train_pixel_values"],
        input_ids=inputs["train_input_ids"],
        return_loss=True,
        **targets,
    )
    output.loss.backward()
    return model, output


def official_gradient(model, name: str) -> list[torch.Tensor]:
    """Gradients of the weights that one official weight became, in the official order."""
    grads = {key: parameter.grad for key, parameter in model.named_parameters()}
    head = name.startswith(("fusion_model.", "adapter."))
    name = re.sub(r"^(fusion_model|adapter|clip)\.", "", name).replace(".net.", ".")
    if head:
        return [grads[f"temporal_head.{part}"] for part in _split_attention(_head_name(name))]
    fixed = {
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "visual.proj": "visual_projection.weight",
        "text_projection": "text_projection.weight",
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "logit_scale": "logit_scale",
    }
    if name in fixed:
        return [grads[f"backbone.model.{fixed[name]}"]]
    tower = "vision_model" if name.startswith("visual.") else "text_model"
    index, rest = re.search(r"resblocks\.(\d+)\.(.+)$", name).groups()
    prefix = f"backbone.model.{tower}.encoder.layers.{index}."
    return [grads[prefix + part] for part in _split_attention(_block_name(rest))]


def _split_attention(name: str) -> list[str]:
    """Query, key and value are one weight in the official files."""
    if "in_proj_" not in name:
        return [name]
    return [name.replace("in_proj_", f"{letter}_proj.") for letter in "qkv"]


def _block_name(rest: str) -> str:
    for old, new in (
        ("attn.", "self_attn."),
        ("ln_", "layer_norm"),
        ("mlp.c_fc", "mlp.fc1"),
        ("mlp.c_proj", "mlp.fc2"),
    ):
        if rest.startswith(old):
            return new + rest.removeprefix(old)
    raise KeyError(rest)


def _head_name(name: str) -> str:
    if match := re.match(r"transformer\.resblocks\.(\d+)\.(.+)$", name):
        return f"layers.{match[1]}.{_block_name(match[2])}"
    names = {"frame_position_embeddings.weight": "position_embedding.weight", "shift.weight": "conv.weight"}
    name = names.get(name, name).replace("lstm_visual.", "lstm.")
    return name.removeprefix("transformer.").removeprefix("transformer_enc.")


def check_gradient_norms(model, case: GoldenCase) -> None:
    norms = case.config["expected_scalars"]["gradient_norms"]
    assert norms
    for name, expected in norms.items():
        found = torch.stack([grad.norm() for grad in official_gradient(model, name)]).norm().item()
        assert found == pytest.approx(expected, rel=1e-4), name


@each(OFFICIAL)
def test_training_step(case):
    model, output = training_step(case)
    inputs, scalars = case.inputs, case.config["expected_scalars"]
    targets = inputs["train_labels"][:, None] == inputs["train_labels"]
    assert torch.equal(targets, case.expected["train_ground_truth"].bool())
    with torch.no_grad():
        features = model.encode_videos(inputs["train_pixel_values"])
        text = model.backbone.encode_texts(inputs["train_input_ids"], None, 77)
        scale = model.backbone.model.logit_scale.exp()
        logits = scale * output.video_embeds @ output.text_embeds.t()
    case.check("train_video_features", features.view_embeds[:, 0])
    case.check("train_text_features", text)
    case.check("train_logits_per_image", logits)
    case.check("train_logits_per_text", logits.t())
    case.check("train_loss", output.loss)
    assert output.loss.item() == pytest.approx(scalars["train_loss"], abs=1e-5 * max(1, scalars["train_loss"]))
    check_gradient_norms(model, case)
    for name in [name for name in case.expected if name.startswith("grad.")]:
        (gradient,) = official_gradient(model, name.removeprefix("grad."))
        transposed = name in ("grad.visual.proj", "grad.text_projection")
        case.check(name, gradient.t() if transposed else gradient)


@each(OFFICIAL)
def test_both_directions_of_the_loss(case):
    from hf_zsar.modeling.losses import contrastive_losses

    logits, targets = case.expected["train_logits_per_image"], case.expected["train_ground_truth"].bool()
    per_video, per_text = contrastive_losses(logits, targets, "kl", case.config["label_temperature"])
    case.check("train_loss_image", per_video)
    case.check("train_loss_text", per_text)


@each(MMACTION)
def test_training_step_of_mmaction2(case):
    from hf_zsar.modeling.losses import contrastive_losses

    model, output = training_step(case, loss_type="ce")
    case.check("train_loss", output.loss)
    logits = model.backbone.model.logit_scale.exp() * output.video_embeds @ output.text_embeds.t()
    halves = contrastive_losses(logits, torch.eye(len(logits), dtype=torch.bool), "ce")
    case.check("train_loss_v2t", halves[0] / 2)
    case.check("train_loss_t2v", halves[1] / 2)
    check_gradient_norms(model, case)
