"""OpenAI's CLIP files to transformers: golden numbers, sizes, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPModel

from hf_zsar.conversion.checkpoint_files import ConversionError
from hf_zsar.conversion.openai_clip import convert, convert_openai_clip, infer_clip_config
from tests.conversion.official_files import DIM, GRID, LAYERS, PATCH, STRANGER, VOCABULARY, WIDTH, openai_clip
from tests.golden_cases import case_id, golden_cases


CASES = golden_cases(lambda case: "logits_per_image" in case.expected and "checkpoint" in case.config)


@pytest.mark.usefixtures("golden_dir")
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_towers_and_every_block(case):
    model = convert(str(case.path / case.config["checkpoint"])).model
    with torch.no_grad():
        output = model(case.inputs["input_ids"], case.inputs["pixel_values"])
        vision = model.vision_model(case.inputs["pixel_values"], output_hidden_states=True).hidden_states
        text = model.text_model(case.inputs["input_ids"], output_hidden_states=True).hidden_states
        image = model.get_image_features(case.inputs["pixel_values"]).pooler_output
        sentence = model.get_text_features(case.inputs["input_ids"]).pooler_output
    case.check("image_features", image)
    case.check("text_features", sentence)
    case.check("logits_per_image", output.logits_per_image)
    case.check("logits_per_text", output.logits_per_text)
    case.check("vision_after_ln_pre", vision[0])
    blocks = [name for name in case.expected if "_block_" in name]
    assert len(blocks) >= 2
    for name in blocks:
        tower, index = name.split("_")[0], int(name.split("_")[2])
        case.check(name, (vision if tower == "vision" else text)[index + 1])
    assert model.logit_scale.exp().item() == pytest.approx(case.config["logit_scale_exp"], rel=1e-6)


def test_sizes_are_read_off_the_shapes():
    config = infer_clip_config(openai_clip())
    vision, text = config.vision_config, config.text_config
    assert (vision.image_size, vision.patch_size) == (GRID * PATCH, PATCH)
    assert vision.num_hidden_layers == text.num_hidden_layers == LAYERS
    assert vision.num_attention_heads == text.num_attention_heads == WIDTH // 64
    assert (text.vocab_size, text.bos_token_id, text.eos_token_id) == (VOCABULARY, VOCABULARY - 2, VOCABULARY - 1)
    assert config.projection_dim == vision.projection_dim == text.projection_dim == DIM


def test_every_weight_arrives_where_it_belongs():
    state = openai_clip()
    config, converted, rest = convert_openai_clip(state)
    assert not rest
    model = CLIPModel(config)
    assert set(converted) == set(model.state_dict())
    attention = "vision_model.encoder.layers.1.self_attn."
    packed = state["visual.transformer.resblocks.1.attn.in_proj_weight"]
    assert torch.equal(torch.cat([converted[f"{attention}{x}_proj.weight"] for x in "qkv"]), packed)
    assert torch.equal(converted["visual_projection.weight"], state["visual.proj"].t())
    assert torch.equal(converted["text_projection.weight"], state["text_projection"].t())
    assert sum(t.numel() for t in converted.values()) == sum(t.numel() for t in state.values())


def test_half_precision_becomes_float32_and_the_source_is_left_alone():
    state = {name: tensor.half() for name, tensor in openai_clip().items()}
    _, converted, _ = convert_openai_clip(state)
    assert {tensor.dtype for tensor in converted.values()} == {torch.float32}
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    assert "visual.proj" in state


class Archive(torch.nn.Module):
    """What an official archive is once scripted: parameters under OpenAI's names, and three sizes among them."""

    def __init__(self, state):
        super().__init__()
        for name, tensor in state.items():
            *path, leaf = name.split(".")
            module = self
            for part in path:
                if not hasattr(module, part):
                    module.add_module(part, torch.nn.Module())
                module = getattr(module, part)
            module.register_buffer(leaf, tensor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_torchscript_archive(tmp_path):
    state = openai_clip()
    sizes = {"input_resolution": GRID * PATCH, "context_length": 77, "vocab_size": VOCABULARY}
    archive = Archive(state | {name: torch.tensor(size) for name, size in sizes.items()})
    torch.jit.trace(archive, torch.zeros(1)).save(tmp_path / "archive.pt")
    torch.save(state, tmp_path / "state.pt")
    save_file({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "state.safetensors")
    models = [convert(str(tmp_path / name)).model for name in ("archive.pt", "state.pt", "state.safetensors")]
    expected = models[1].state_dict()
    for model in models:
        assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_missing_and_unexpected_weights_are_listed(tmp_path):
    state = openai_clip() | {STRANGER: torch.zeros(1)}
    del state["visual.transformer.resblocks.0.mlp.c_fc.bias"]
    torch.save(state, tmp_path / "bad.pt")
    with pytest.raises(ConversionError, match=r"1 missing: vision_model\.encoder\.layers\.0\.mlp\.fc1\.bias") as info:
        convert(str(tmp_path / "bad.pt"))
    assert f"1 unexpected: {STRANGER}" in str(info.value)
    del state["visual.ln_pre.bias"]
    with pytest.raises(ConversionError, match=r"lacks 1 weights: visual\.ln_pre\.bias"):
        convert_openai_clip(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visual.positional_embedding": torch.zeros(4, WIDTH)}, "3 patch positions are not square grid"),
        ({"visual.attnpool.c_proj.weight": torch.zeros(1)}, "ResNet image tower"),
        ({"visual.conv1.weight": torch.zeros(48, 3, PATCH, PATCH)}, "48 wide, not a multiple of 64"),
        ({"epoch": 7}, "entries that are not tensors: epoch"),
    ],
)
def test_states_that_are_refused(change, message):
    with pytest.raises(ConversionError, match=message):
        convert_openai_clip(openai_clip() | change)


def test_wrong_shape_and_numbers_that_are_none(tmp_path):
    torch.save(openai_clip() | {"ln_final.bias": torch.zeros(WIDTH + 1)}, tmp_path / "shape.pt")
    with pytest.raises(ConversionError, match=r"final_layer_norm\.bias is \(65,\), expected \(64,\)"):
        convert(str(tmp_path / "shape.pt"))
    torch.save(openai_clip() | {"ln_final.bias": torch.full((WIDTH,), math.nan)}, tmp_path / "nan.pt")
    with pytest.raises(ConversionError, match=r"not finite numbers: text_model\.final_layer_norm\.bias"):
        convert(str(tmp_path / "nan.pt"))
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ConversionError, match="is not an OpenAI CLIP"):
        convert(str(tmp_path / "other.pt"))
