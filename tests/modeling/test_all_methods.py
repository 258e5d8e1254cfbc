"""What every method and every variant of it must be able to do, beyond transformers' own suites (tests/common)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from accelerate import cpu_offload, disk_offload, infer_auto_device_map
from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers import AutoModel, PreTrainedModel

from hf_zsar import METHODS
from tests.tiny_models import LABELS, TINY, tiny_config, tiny_inputs, tiny_model, tiny_processor, tiny_videos


# Methods over these encoders, beside CLIP and SigLIP, are tried in full only.
SLOW = ("metaclip_2", "tipsv2")
VARIANTS = [
    pytest.param(method, name, id=f"{method}-{name}", marks=pytest.mark.slow if name in SLOW else ())
    for method in METHODS
    for name in ("default", *TINY[method].variants)
]
every_method = pytest.mark.parametrize("method", METHODS)
every_variant = pytest.mark.parametrize(("method", "variant"), VARIANTS)


def build(method: str, variant: str = "default") -> PreTrainedModel:
    return tiny_model(method, **TINY[method].variants.get(variant, {}))


def score(model: PreTrainedModel, method: str, **inputs: Any) -> torch.Tensor:
    torch.manual_seed(0)  # a variant may be random even in evaluation
    with torch.no_grad():
        return model(**{**tiny_inputs(method), **inputs}).logits_per_video.float()


@every_variant
def test_saved_and_loaded_model_scores_the_same(method, variant, tmp_path):
    model = build(method, variant)
    model.save_pretrained(tmp_path)
    loaded, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is METHODS[method].model_class
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    assert torch.equal(score(loaded, method), score(model, method))


@every_variant
def test_attention_implementations_agree(method, variant):
    model = build(method, variant)
    reference = score(model, method)
    model.set_attn_implementation("eager")
    torch.testing.assert_close(score(model, method), reference, atol=2e-4, rtol=1e-4)


@every_variant
def test_nothing_missing_stays_without_a_value(method, variant):
    """A model that finds none of its weights in the checkpoint starts like a fresh one: finite, and able to train."""
    config = build(method, variant).config
    model = METHODS[method].model_class.from_pretrained(None, config=config, state_dict={})
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        assert tensor.device.type == "cpu", name
        assert torch.isfinite(tensor.float()).all(), name
        assert tensor.float().abs().max() < 1e4, name


@every_variant
def test_gradient_checkpointing_changes_no_gradient(method, variant):
    model, inputs = build(method, variant).train(), tiny_inputs(method)
    gradients = []
    for enabled in (False, True):
        if enabled:
            model.gradient_checkpointing_enable()
        model.zero_grad()
        torch.manual_seed(0)
        model(**inputs, labels=torch.tensor([0, 1])).loss.backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and gradients[0]
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-4, msg=name)


@torch.no_grad()
def sides(model: PreTrainedModel, method: str) -> dict[str, torch.Tensor]:
    """What the scores are made of: every tensor of the features and of the bank."""
    inputs = tiny_inputs(method)
    videos = inputs.pop("pixel_values_videos").to(model.dtype)
    torch.manual_seed(0)  # a variant may be random even in evaluation
    features, bank = model.encode_videos(videos), model.encode_labels(**inputs)
    found = {**features, **{f"bank {name}": tensor for name, tensor in bank.tensors.items()}}
    return {name: tensor.float() for name, tensor in found.items() if tensor.is_floating_point()}


def relative_error(value: torch.Tensor, reference: torch.Tensor) -> float:
    return ((value - reference).norm() / reference.norm()).item()


@every_method
@pytest.mark.parametrize(("dtype", "limit"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_half_precision_keeps_features_and_banks(method, dtype, limit):
    reference, found = sides(build(method), method), sides(build(method).to(dtype), method)
    assert {name: relative_error(found[name], reference[name]) for name in found} == {
        name: pytest.approx(0, abs=limit) for name in reference
    }


@every_method
def test_half_precision_keeps_the_differences_of_scores(method):
    reference = score(build(method), method)
    model = build(method).to(torch.float16)
    logits = score(model, method, pixel_values_videos=tiny_videos().to(torch.float16))
    # What labels have in common tells none of them from another.
    centered = [each - each.mean(dim=-1, keepdim=True) for each in (logits, reference)]
    assert relative_error(*centered) < 0.25


@every_method
def test_weights_can_live_elsewhere_between_layers(method, tmp_path):
    reference = score(build(method), method)
    on_cpu = cpu_offload(build(method), execution_device=torch.device("cpu"))
    assert torch.equal(score(on_cpu, method), reference)
    on_disk = disk_offload(build(method), str(tmp_path), execution_device=torch.device("cpu"))
    assert next(on_disk.parameters()).is_meta
    assert torch.equal(score(on_disk, method), reference)


@every_method
def test_device_map_splits_no_block(method, tmp_path):
    model = build(method)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    whole = set(model._no_split_modules or ())
    device_map = infer_auto_device_map(model, {0: size // 3, "cpu": 10 * size}, no_split_module_classes=sorted(whole))
    assert len(set(device_map.values())) == 2
    for name, module in model.named_modules():
        if type(module).__name__ in whole:
            assert not [key for key in device_map if key.startswith(f"{name}.")], f"{name} is split"
    model.save_pretrained(tmp_path)
    placed = AutoModel.from_pretrained(tmp_path, device_map={"": "cpu"})
    assert torch.equal(score(placed, method), score(model, method))


@every_method
def test_video_side_and_score_compile_without_a_graph_break(method):
    model, inputs = build(method), tiny_inputs(method)
    videos = inputs.pop("pixel_values_videos")

    def probabilities(videos: torch.Tensor) -> torch.Tensor:
        return model.score(model.encode_videos(videos), bank).softmax(dim=-1)

    with torch.no_grad():
        bank = model.encode_labels(**inputs)
        compiled = torch.compile(probabilities, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(videos), probabilities(videos))


@every_method
def test_low_rank_adapters_train_alone_and_merge(method):
    peft = pytest.importorskip("peft")
    model, inputs = build(method), tiny_inputs(method)
    before = copy.deepcopy(model.state_dict())
    settings = peft.LoraConfig(r=2, target_modules=r".*\.(q_proj|v_proj|query|value)", init_lora_weights=False)
    adapted = peft.get_peft_model(model, settings)
    adapted(**inputs, labels=torch.tensor([0, 1])).loss.backward()
    trained = {name for name, p in adapted.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert trained and all("lora_" in name for name in trained)
    logits = score(adapted, method)
    merged = adapted.merge_and_unload()
    assert type(merged) is METHODS[method].model_class
    torch.testing.assert_close(score(merged, method), logits, atol=1e-4, rtol=1e-4)
    assert any(not torch.equal(merged.state_dict()[name], before[name]) for name in before)


@every_method
def test_types_of_configuration_fields_are_checked(method):
    with pytest.raises(StrictDataclassFieldValidationError, match="num_frames"):
        tiny_config(method, num_frames="many")
    assert tiny_config(method, initializer_range=1).initializer_range == 1


@every_variant
def test_autocast_trains_and_scores_as_float32_does(method, variant):
    model, inputs = build(method, variant), tiny_inputs(method)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.train()(**inputs, labels=torch.tensor([0, 1])).loss
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert torch.isfinite(loss) and gradients and all(torch.isfinite(each).all() for each in gradients)

    model = build(method, variant)
    reference = sides(model, method)
    with torch.autocast("cpu", torch.bfloat16):
        found = sides(model, method)
        assert model(**tiny_inputs(method)).logits_per_video.dtype == torch.float32
    assert {name: relative_error(found[name], reference[name]) for name in found} == {
        name: pytest.approx(0, abs=0.05) for name in reference
    }


@every_method
def test_a_label_bank_in_one_call_is_that_of_the_two_steps(method):
    model, processor = build(method), tiny_processor(method)
    bank = model.build_label_bank(processor, (label for label in LABELS), templates=["a video of {}"])
    steps = model.encode_labels(**processor.prepare_labels(LABELS, templates=["a video of {}"]), labels=LABELS)
    assert bank.labels == tuple(LABELS) and bank.fingerprint == steps.fingerprint
    assert not any(tensor.requires_grad for tensor in bank.tensors.values())
    assert {name: torch.equal(bank[name], steps[name]) for name in bank.tensors} == dict.fromkeys(steps.tensors, True)
