"""ActionCLIP in the hands of transformers, accelerate, peft and torch, beyond what all methods are tested for."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import Dataset, default_collate
from transformers import AutoProcessor, Trainer, TrainingArguments, pipeline

from hf_zsar import ActionCLIPModel
from tests.modeling.test_all_methods import SLOW
from tests.tiny_models import LABELS, TINY, tiny_folder, tiny_inputs, tiny_model, tiny_processor, tiny_videos
from tests.videos import write_video


VARIANTS = {name: fields for name, fields in TINY["actionclip"].variants.items() if name not in SLOW}
variants = pytest.mark.parametrize("variant", VARIANTS)


def model_of(variant: str = "Transf", **overrides) -> ActionCLIPModel:
    return tiny_model("actionclip", **{**VARIANTS[variant], **overrides})


def training_inputs(batch: int = 2) -> dict[str, torch.Tensor]:
    classes = torch.arange(batch)
    tokens = tiny_processor("actionclip").tokenize([LABELS[i] for i in classes])
    return dict(pixel_values_videos=tiny_videos(batch), input_ids=tokens["input_ids"], labels=classes)


@variants
def test_pipeline(variant, tmp_path):
    tiny_folder("actionclip", tmp_path / "model", **VARIANTS[variant])
    write_video(tmp_path / "clip.mp4", num_frames=12)
    classifier = pipeline("zero-shot-video-classification", model=str(tmp_path / "model"), device="cpu")
    results = classifier(str(tmp_path / "clip.mp4"), candidate_labels=list(LABELS))
    assert {result["label"] for result in results} == set(LABELS)
    assert sum(result["score"] for result in results) == pytest.approx(1, abs=1e-4)
    processor = AutoProcessor.from_pretrained(tmp_path / "model")
    inputs = processor(videos=str(tmp_path / "clip.mp4"), labels=list(LABELS))
    with torch.no_grad():
        expected = model_of(variant)(**inputs).logits_per_video.softmax(-1)[0]
    found = {result["label"]: result["score"] for result in results}
    assert [found[label] for label in LABELS] == pytest.approx(expected.tolist(), abs=1e-5)


class Clips(Dataset):
    """Each clip with the sentence of its class."""

    def __init__(self, count: int = 4):
        tokens = tiny_processor("actionclip").tokenize([LABELS[i % 2] for i in range(count)])
        self.rows = [
            dict(pixel_values_videos=video, input_ids=ids, labels=i % 2, label_ids=i % 2)
            for i, (video, ids) in enumerate(zip(tiny_videos(count), tokens["input_ids"], strict=True))
        ]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


@variants
def test_one_step_of_the_stock_trainer(variant, tmp_path):
    model = model_of(variant)
    before = {name: p.clone() for name, p in model.named_parameters()}
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        gradient_checkpointing=True,
        disable_tqdm=True,
    )
    result = Trainer(model=model, args=arguments, train_dataset=Clips(), data_collator=default_collate).train()
    assert 0 < result.training_loss < 10
    still = [name for name, p in model.named_parameters() if torch.equal(p, before[name])]
    # Rows of a table that no frame or token reads keep their place, but no table is still as a whole. A softmax over
    # labels does not depend on SigLIP's bias.
    assert set(still) <= {"backbone.model.logit_bias"}


@variants
def test_attention_implementations_agree(variant):
    inputs = tiny_inputs("actionclip", views=2)
    logits, used = {}, {}
    for implementation in ("sdpa", "eager"):
        model = model_of(variant)
        model.set_attn_implementation(implementation)
        used[implementation] = _count_sdpa(model, inputs, logits, implementation)
    assert torch.allclose(logits["sdpa"], logits["eager"], atol=1e-4)
    blocks = [m for m in model.modules() if hasattr(m, "q_proj")]
    assert used["sdpa"] >= len(blocks) > 0
    assert used["eager"] == 0


def _count_sdpa(model, inputs, logits, name) -> int:
    calls = []
    original = torch.nn.functional.scaled_dot_product_attention
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(
            torch.nn.functional,
            "scaled_dot_product_attention",
            lambda *args, **kwargs: calls.append(1) or original(*args, **kwargs),
        )
        logits[name] = model(**inputs).logits_per_video
    return len(calls)


@variants
def test_half_precision(variant):
    inputs = tiny_inputs("actionclip", views=2)
    with torch.no_grad():
        exact = model_of(variant)(**inputs)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = model_of(variant)(**inputs)
        half = model_of(variant).to(torch.bfloat16)(**inputs)
    for output in (mixed, half):
        assert output.logits_per_video.dtype == torch.float32
        assert torch.allclose(output.video_embeds.float(), exact.video_embeds, atol=0.01)
        assert torch.allclose(output.logits_per_video.exp().sum(-1), torch.ones(2), atol=1e-4)


@variants
def test_training_under_autocast(variant):
    model = model_of(variant).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(**training_inputs()).loss
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@variants
def test_device_map_and_offloading_to_disk(variant, tmp_path):
    if "siglip" in variant:
        pytest.skip("torch's attention in SigLIP's pooling head cannot be offloaded, in SiglipModel itself neither")
    pytest.importorskip("accelerate")
    from accelerate import cpu_offload

    tiny_model("actionclip", **VARIANTS[variant]).save_pretrained(tmp_path)
    inputs = tiny_inputs("actionclip")
    with torch.no_grad():
        exact = model_of(variant)(**inputs).logits_per_video
        mapped = ActionCLIPModel.from_pretrained(tmp_path, device_map={"": "cpu"})
        assert torch.equal(mapped(**inputs).logits_per_video, exact)
        offloaded = cpu_offload(ActionCLIPModel.from_pretrained(tmp_path), execution_device=torch.device("cpu"))
        assert offloaded.backbone.model.vision_model.post_layernorm.weight.device.type == "meta"
        assert torch.equal(offloaded(**inputs).logits_per_video, exact)


@variants
def test_low_rank_adapters(variant, tmp_path):
    peft = pytest.importorskip("peft")
    inputs = training_inputs()
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    model = peft.get_peft_model(model_of(variant), config)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained and all("lora_" in name for name in trained)
    assert any("vision_model" in name for name in trained) and any("text_model" in name for name in trained)
    assert any("temporal_head" in name for name in trained) == (
        VARIANTS[variant].get("sim_header", "Transf") in ("Transf", "Transf_cls")
    )
    model(**inputs).loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    model.eval().save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(model_of(variant), tmp_path).eval()
    merged = again.merge_and_unload()
    with torch.no_grad():
        adapted, plain = model(**inputs), model_of(variant)(**inputs)
        assert not torch.allclose(adapted.video_embeds, plain.video_embeds, atol=1e-3)
        assert torch.allclose(merged(**inputs).video_embeds, adapted.video_embeds, atol=1e-5)


def test_bank_of_an_adapted_model_is_another_bank():
    """A bank must not be taken for one of other weights."""
    model, inputs = model_of(), tiny_processor("actionclip").prepare_labels(list(LABELS))
    with torch.no_grad():
        first, again = model.encode_labels(**inputs), model.encode_labels(**inputs)
        model.backbone.model.text_projection.weight.mul_(1.01)
        changed = model.encode_labels(**inputs)
    assert first.fingerprint == again.fingerprint != changed.fingerprint != ""


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["Transf", "Transf_cls", "temporal_shift"])
def test_compiled(variant):
    torch._dynamo.reset()
    model = model_of(variant)
    compiled = torch.compile(model.encode_videos)
    with torch.no_grad():
        found, expected = compiled(tiny_videos()).video_embeds, model.encode_videos(tiny_videos()).video_embeds
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.slow
def test_compiled_training_step():
    torch._dynamo.reset()
    model, same = model_of(), model_of()
    loss, expected = torch.compile(model)(**training_inputs()).loss, same(**training_inputs()).loss
    loss.backward()
    expected.backward()
    assert torch.allclose(loss, expected, atol=1e-3)
    for (name, found), wanted in zip(model.named_parameters(), same.parameters(), strict=True):
        assert torch.allclose(found.grad, wanted.grad, atol=1e-3), name
