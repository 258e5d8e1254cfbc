"""Which model made a bank: what changes a model changes its identity, what does not keeps it; others are refused."""

from __future__ import annotations

import copy
import json
import warnings

import pytest
import torch
from accelerate import cpu_offload, disk_offload
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModel

from hf_zsar import METHODS, LabelBank
from hf_zsar.modeling.model_identity import SAMPLES, _sample
from hf_zsar.modeling.modeling_zsar import ModelIdentity
from tests.tiny_models import LABELS, TINY, tiny_inputs, tiny_model, tiny_processor, tiny_videos


every_method = pytest.mark.parametrize("method", sorted(METHODS))
TOWER = r".*text_model.*(q_proj|query)"


@torch.no_grad()
def bank_of(model, method="actionclip"):
    return model.encode_labels(**tiny_processor(method).prepare_labels(list(LABELS)), labels=LABELS)


@torch.no_grad()
def score(model, bank):
    return model.score(model.encode_videos(tiny_videos().to(model.dtype)), bank)


def adapted(method="actionclip", **options):
    """A model with the active adapter "one" and another, "two"."""
    peft = pytest.importorskip("peft")
    model = tiny_model(method)
    torch.manual_seed(1)
    for name in ("one", "two"):
        model.add_adapter(peft.LoraConfig(target_modules=TOWER, r=2, init_lora_weights=False, **options), name)
    model.set_adapter("one")
    return model.eval()


# -- what is the same model ------------------------------------------------------------------------------------------


@every_method
def test_the_same_model_wherever_it_came_from(method, tmp_path):
    model = tiny_model(method)
    identity = model.identity()
    model.save_pretrained(tmp_path)
    assert identity == tiny_model(method).identity() == copy.deepcopy(model).identity()
    assert identity == AutoModel.from_pretrained(tmp_path).identity()
    assert ModelIdentity.parse(str(identity)) == identity
    assert identity.method == model.config.model_type
    model.train()(**tiny_inputs(method))  # statistics of batch norms move
    moved = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    assert (model.identity() != identity) is moved


@pytest.mark.parametrize(("method", "variant"), [(m, v) for m in sorted(METHODS) for v in TINY[m].variants])
def test_saving_keeps_the_identity_of_every_variant(method, variant, tmp_path):
    model = tiny_model(method, **TINY[method].variants[variant])
    model.save_pretrained(tmp_path)
    assert AutoModel.from_pretrained(tmp_path).identity() == model.identity()


@every_method
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_saved_bank_serves_copies_in_other_types(method, dtype, tmp_path):
    model = tiny_model(method)
    model.save_pretrained(tmp_path / "model")
    bank_of(model, method).save(tmp_path / "bank")
    bank = LabelBank.load(tmp_path / "bank").select(LABELS[::2])
    assert bank.identity == model.identity()
    loaded = AutoModel.from_pretrained(tmp_path / "model", dtype=dtype)
    for half in (loaded, copy.deepcopy(model).to(dtype)):
        assert half.identity() != model.identity() and half.identity().difference(model.identity()) is None
        assert torch.isfinite(score(half, bank.to(dtype))).all()
        # ... and the other way round.
        assert torch.isfinite(score(model, bank_of(half, method))).all()
    other = tiny_model(method, seed=1)
    with pytest.raises(ValueError, match="weights or adapters"):
        score(other.to(dtype), bank)
    with pytest.raises(ValueError, match="weights or adapters"):
        score(tiny_model(method, seed=1), bank_of(loaded, method))


@every_method
def test_weights_that_live_elsewhere_are_found(method, tmp_path):
    model = tiny_model(method)
    device = torch.device("cpu")
    on_cpu = cpu_offload(copy.deepcopy(model), execution_device=device)
    on_disk = disk_offload(copy.deepcopy(model), str(tmp_path), execution_device=device)
    assert all(parameter.is_meta for parameter in on_disk.parameters())
    assert model.identity() == on_cpu.identity() == on_disk.identity()
    other = disk_offload(tiny_model(method, seed=1), str(tmp_path / "other"), execution_device=device)
    assert "weights" in model.identity().difference(other.identity())
    with torch.device("meta"):
        nowhere = METHODS[method].model_class(model.config)
    assert nowhere.identity() != model.identity()


def test_layout_in_memory_does_not_matter():
    model = tiny_model("actionclip")
    identity = model.identity()
    assert model.to(memory_format=torch.channels_last).identity() == identity
    layer = model.backbone.text_layers[0].mlp.fc1
    layer.weight.data = layer.weight.data.t().contiguous().t()
    assert not layer.weight.is_contiguous() and model.identity() == identity


def test_tied_weights_count_by_their_content():
    model = tiny_model("actionclip")
    first, second = model.backbone.text_layers[0].mlp, model.backbone.text_layers[1].mlp
    second.fc1.weight = first.fc1.weight
    tied = model.identity()
    second.fc1.weight = nn.Parameter(first.fc1.weight.detach().clone())
    assert model.identity() == tied
    with torch.no_grad():
        second.fc1.weight.mul_(1.01)
    assert model.identity() != tied


# -- what is another model -------------------------------------------------------------------------------------------


def _average(model):
    """As the swap of averaged weights does, past autograd's version counter."""
    for parameter in model.parameters():
        parameter.data.copy_(parameter.data * 1.001)


def _assign(model):
    model.load_state_dict(tiny_model("actionclip", seed=1).state_dict(), assign=True)


def _in_inference(model):
    with torch.inference_mode():
        for layer in model.backbone.text_layers:
            layer.mlp.fc1.weight = nn.Parameter(torch.zeros_like(layer.mlp.fc1.weight), requires_grad=False)


def _inference_tensor(model):
    _in_inference(model)
    with torch.inference_mode():
        model.backbone.text_layers[0].mlp.fc1.weight.add_(1)


def _new_storage(model):
    weight = model.backbone.text_layers[0].mlp.fc1.weight
    weight.data = weight.data + 1


CHANGES = {
    "p.data.copy_": _average,
    "p.data =": _new_storage,
    "load_state_dict(assign=True)": _assign,
    "weights made in inference mode": _in_inference,
    "weights changed in inference mode": _inference_tensor,
    "a bias alone": lambda m: m.backbone.text_layers[1].mlp.fc2.bias.data.add_(1),
    "a scalar": lambda m: m.backbone.model.logit_scale.data.add_(0.1),
    "a buffer": lambda m: m.register_buffer("extra", torch.ones(3)),
    "a field of the configuration": lambda m: setattr(m.config, "eval_logit_scale", 50.0),
    "a field of a part's configuration": lambda m: setattr(m.config.backbone_config.text_config, "hidden_act", "gelu"),
    "new tokens": lambda m: m.resize_token_embeddings(m.get_input_embeddings().num_embeddings + 3),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_model_refuses_its_older_banks(change):
    model = tiny_model("actionclip")
    bank, before = bank_of(model), model.weights_fingerprint()
    score(model, bank)
    change(model)
    assert model.weights_fingerprint() != before
    with pytest.raises(ValueError, match="made by another model"):
        score(model, bank)
    with pytest.raises(ValueError, match="made by another model"), torch.no_grad():
        model(tiny_videos(), label_bank=bank)
    score(model, bank_of(model))


def _merge(model):
    for module in model.modules():
        if hasattr(module, "merge"):
            module.merge()


def _rescale(model):
    for module in model.modules():
        if hasattr(module, "set_scale"):
            module.set_scale("one", 5.0)


SWITCHES = {
    "disable_adapters": lambda model: model.disable_adapters(),
    "set_adapter": lambda model: model.set_adapter("two"),
    "both adapters": lambda model: model.set_adapter(["one", "two"]),
    "merge": _merge,
    "scale of an adapter": _rescale,
    "delete_adapter": lambda model: model.delete_adapter("one"),
}


@pytest.mark.parametrize("switch", SWITCHES.values(), ids=SWITCHES)
def test_switching_adapters_makes_another_model(switch):
    model = adapted()
    bank = bank_of(model)
    switch(model)
    with pytest.raises(ValueError, match="weights or adapters"):
        score(model, bank)
    score(model, bank_of(model))


@every_method
def test_a_model_without_its_adapters_is_the_model_that_it_was(method):
    model = adapted(method)
    bank = bank_of(tiny_model(method), method)
    with pytest.raises(ValueError, match="weights or adapters"):
        score(model, bank)
    active = model.identity()
    model.disable_adapters()
    torch.testing.assert_close(score(model, bank), score(tiny_model(method), bank))
    model.enable_adapters()
    assert model.identity() == active
    model.delete_adapter("two")  # which took no part
    assert model.identity() == active


def test_modules_that_an_adapter_replaces_count_while_it_is_active():
    peft = pytest.importorskip("peft")
    settings = peft.LoraConfig(target_modules=TOWER, r=2, modules_to_save=["text_projection"])
    model = peft.get_peft_model(tiny_model("actionclip"), settings).eval()
    base = tiny_model("actionclip").identity()
    active = model.identity()
    assert active != base
    with torch.no_grad():
        model.backbone.model.text_projection.modules_to_save["default"].weight.add_(1)
    assert model.identity() != active
    with model.disable_adapter():
        assert model.identity() == base


def test_dynamically_quantized_weights_count():
    def quantized(change=None):
        model = tiny_model("actionclip")
        if change:
            with torch.no_grad():
                model.backbone.text_layers[0].mlp.fc1.weight.mul_(change)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.ao.quantization.quantize_dynamic(model, {nn.Linear})

    model = quantized()
    bank = bank_of(model)
    score(model, bank)
    assert model.identity() == quantized().identity()
    with pytest.raises(ValueError, match="weights or adapters"):
        score(quantized(change=-1), bank)
    with pytest.raises(ValueError, match="weights or adapters"):
        score(model, bank_of(tiny_model("actionclip")))
    swapped = quantized()
    swapped.identity()
    swapped.backbone.text_layers[0].mlp.fc1 = quantized(change=-1).backbone.text_layers[0].mlp.fc1
    assert swapped.identity() != model.identity()


def test_one_changed_element_is_seen_by_the_full_fingerprint_only():
    model = tiny_model("actionclip")
    sampled, full = model.weights_fingerprint(), model.weights_fingerprint(full=True)
    assert full == tiny_model("actionclip").weights_fingerprint(full=True) != sampled
    weight = model.get_input_embeddings().weight
    assert weight.numel() > 1000
    seen = 0
    for place in range(1, 60, 7):
        with torch.no_grad():
            weight.view(-1)[place] += 1
        seen += model.weights_fingerprint() != sampled
        assert model.weights_fingerprint(full=True) != full
    assert seen == 0, "then say so in the documentation"


# -- refusals ------------------------------------------------------------------------------------------------------


@every_method
def test_banks_of_other_methods_are_refused_in_words(method):
    model = tiny_model(method)
    for other in set(METHODS) - {method}:
        bank = bank_of(tiny_model(other), other)
        with pytest.raises(ValueError, match=f"it is a zsar_{other} model, this one is zsar_{method}"):
            score(model, bank)


@every_method
def test_a_bank_of_unknown_origin_is_admitted_in_so_many_words(method):
    model = tiny_model(method)
    made = bank_of(model, method)
    by_hand = LabelBank(made.labels, made.tensors)
    with pytest.raises(ValueError, match="does not say which model"):
        score(model, by_hand)
    torch.testing.assert_close(score(model, by_hand.admitted_by(model)), score(model, made))
    in_training = bank_of(model.train(), method)
    assert in_training.identity is None and in_training.fingerprint == ""
    with pytest.raises(ValueError, match="does not say which model"):
        score(model.eval(), in_training)


@every_method
def test_training_and_compiling_ask_nothing(method, monkeypatch):
    model, inputs = tiny_model(method), tiny_inputs(method)
    bank = bank_of(model, method)
    calls = []
    monkeypatch.setattr(type(model), "identity", lambda self: calls.append(1))
    with torch.no_grad():
        features = model.encode_videos(tiny_videos())
        torch.compile(model.score, backend="eager", fullgraph=True)(features, bank)
    model.train()(**inputs, labels=torch.tensor([0, 1])).loss.backward()
    assert not calls


def test_an_explanation_is_of_the_models_own_bank():
    model = tiny_model("dasti")
    features = model.encode_videos(tiny_videos())
    assert model.explain(features, bank_of(model, "dasti"))
    with pytest.raises(ValueError, match="made by another model"):
        model.explain(features, bank_of(tiny_model("dasti", seed=1), "dasti"))


# -- files ---------------------------------------------------------------------------------------------------------


def _rewritten(path, header=None, tensors=None):
    """The file with parts of its header or tensors replaced (`None`: left out)."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata() | (header or {})
        content = {name: file.get_tensor(name) for name in file.keys()} | (tensors or {})
    metadata = {name: value for name, value in metadata.items() if value is not None}
    save_file({name: value for name, value in content.items() if value is not None}, path, metadata=metadata)


FAULTS = {
    "another format": dict(header={"format": "other/1"}),
    "no labels": dict(header={"labels": None}),
    "no model": dict(header={"model": None}),
    "labels that are numbers": dict(header={"labels": json.dumps([1] * len(LABELS))}),
    "labels that are not list": dict(header={"labels": json.dumps("a" * len(LABELS))}),
    "too few labels": dict(header={"labels": json.dumps(LABELS[1:])}),
    "labels that are not JSON": dict(header={"labels": "["}),
    "a model that is none": dict(header={"model": "zsar_actionclip/x"}),
    "metadata that is not a table": dict(header={"metadata": "[]"}),
    "no text embeddings": dict(tensors={"text_embeds": None}),
    "text embeddings of another shape": dict(tensors={"text_embeds": torch.zeros(len(LABELS))}),
    "a tensor without axes": dict(tensors={"prompt_embeds": torch.tensor(1.0)}),
    "NaN": dict(tensors={"prompt_embeds": torch.full((len(LABELS), 1, 4), torch.nan)}),
    "infinity": dict(tensors={"text_embeds": torch.full((len(LABELS), 4), torch.inf)}),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_file_that_was_tampered_with_is_refused_by_name(fault, tmp_path):
    path = tmp_path / "bank.safetensors"
    bank_of(tiny_model("actionclip")).save(path)
    LabelBank.load(path)
    _rewritten(path, **fault)
    with pytest.raises(ValueError, match="bank.safetensors"):
        LabelBank.load(path)


def test_labels_of_a_bank_are_strings():
    with pytest.raises(ValueError, match="labels must be strings, got 3"):
        LabelBank(("a", 3), {"text_embeds": torch.ones(2, 4)})


def test_files_that_are_cut_or_missing(tmp_path):
    path = tmp_path / "bank.safetensors"
    bank_of(tiny_model("actionclip")).save(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="bank.safetensors"):
        LabelBank.load(path)
    with pytest.raises(FileNotFoundError):
        LabelBank.load(tmp_path / "nothing")


def test_a_bank_that_is_not_finite_is_not_saved(tmp_path):
    bank = LabelBank(("a",), {"text_embeds": torch.full((1, 4), torch.nan)})
    with pytest.raises(ValueError, match="text_embeds"):
        bank.save(tmp_path / "bank")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "a/b", None, "zsar_rest//float32/a/b/c"])
def test_what_is_no_identity_is_said(text):
    with pytest.raises(ValueError, match="is not the identity"):
        ModelIdentity.parse(text)


def test_a_tensor_of_any_size_is_sampled_within_its_bounds():
    """Whatever its storage; from 65 elements on some are left out."""
    for count in range(1, 400):
        for tensor in (torch.arange(count), torch.arange(2 * count)[::2] // 2):
            sample = _sample(tensor)
            assert len(sample) == (SAMPLES if count > 64 else count)
            assert sample.diff().gt(0).all() and sample[-1] < count
