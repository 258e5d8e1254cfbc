"""The temporal heads: analytic properties, sizes, initialization and the errors of clips that do not fit."""

from __future__ import annotations

import pytest
import torch

from hf_zsar import ActionCLIPConfig
from hf_zsar.modeling.modeling_actionclip import ActionCLIPModel
from hf_zsar.modeling.temporal_heads import build_temporal_head
from hf_zsar.modeling.temporal_transformer import TemporalTransformer
from tests.tiny_models import tiny_config, tiny_model


DIM, FRAMES = 64, 4


def head_of(header: str, **config) -> torch.nn.Module:
    return tiny_model("actionclip", sim_header=header, **config).temporal_head


def frames(count: int = FRAMES, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, count, DIM, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("header", "parameters"),
    # Without the position table of 77 x 512 that the official heads carry along and only Transf uses.
    [("meanP", 0), ("LSTM", 2_101_248), ("Conv_1D", 1_536), ("Transf", 18_953_728), ("Transf_cls", 18_920_448)],
)
def test_sizes_are_those_of_the_official_heads(header, parameters):
    with torch.device("meta"):
        head = build_temporal_head(ActionCLIPConfig(sim_header=header), dim=512, text_width=512)
    assert sum(p.numel() for p in head.parameters()) == parameters


def test_heads_of_the_attention_follow_the_text_tower():
    config = ActionCLIPConfig()
    with torch.device("meta"):
        assert build_temporal_head(config, 512, 512).layers[0].self_attn.num_heads == 8
        assert build_temporal_head(config, 768, 768).layers[0].self_attn.num_heads == 12
        config.temporal_heads = 4
        assert build_temporal_head(config, 512, 512).layers[0].self_attn.num_heads == 4
        config.temporal_heads = 7
        with pytest.raises(ValueError, match="7 attention heads do not divide the joint space of 512"):
            build_temporal_head(config, 512, 512)
        with pytest.raises(ValueError, match="8 heads, which do not divide 36"):
            build_temporal_head(ActionCLIPConfig(sim_header="Transf_cls"), 36, 512)


def test_mean():
    x = frames()
    head = head_of("meanP")
    assert torch.equal(head(x), x.mean(1))
    assert torch.allclose(head(x[:, [2, 0, 3, 1]]), head(x), atol=1e-6)
    assert torch.equal(head(x[:, :1]), x[:, 0])


@torch.no_grad()
def test_transformer_whose_branches_are_silent():
    head, x = head_of("Transf"), frames()
    for layer in head.layers:
        for linear in (layer.self_attn.out_proj, layer.mlp.fc2):
            linear.weight.zero_()
            linear.bias.zero_()
    expected = 2 * x.mean(1) + head.position_embedding.weight[:FRAMES].mean(0)
    assert torch.allclose(head(x), expected, atol=1e-5)


@torch.no_grad()
def test_transformer_knows_the_order_through_its_positions_only():
    head, x = head_of("Transf"), frames()
    swapped = x[:, [1, 0, 2, 3]]
    assert (head(x) - head(swapped)).abs().max() > 1e-4
    head.position_embedding.weight.zero_()
    assert torch.allclose(head(x), head(swapped), atol=1e-5)


@torch.no_grad()
def test_temporal_transformer_gives_a_vector_per_frame():
    config = tiny_config("actionclip")
    torch.manual_seed(0)
    module = TemporalTransformer(config, DIM, num_layers=2, num_heads=2, num_positions=5, eps=1e-12)
    config._attn_implementation = "sdpa"
    output = module(frames())
    assert output.shape == (2, FRAMES, DIM)
    config._attn_implementation = "eager"
    assert torch.allclose(module(frames()), output, atol=1e-5)
    assert module.layers[1].layer_norm1.eps == 1e-12


@torch.no_grad()
def test_lstm_with_no_weights_is_the_mean():
    head, x = head_of("LSTM"), frames()
    assert (head(x) - x.mean(1)).abs().max() > 1e-3
    for weight in head.parameters():
        weight.zero_()
    assert torch.allclose(head(x), x.mean(1), atol=1e-6)


@torch.no_grad()
def test_convolution_that_looks_at_one_frame():
    head, x = head_of("Conv_1D"), frames()
    for tap, neighbor in enumerate((-1, 0, 1)):
        head.conv.weight.zero_()
        head.conv.weight[:, 0, tap] = 1
        moved = torch.zeros_like(x)
        for t in range(FRAMES):
            if 0 <= t + neighbor < FRAMES:
                moved[:, t] = x[:, t + neighbor]
        assert torch.allclose(head(x), (moved + x).mean(1), atol=1e-6)


@torch.no_grad()
def test_legacy_layout_of_the_convolution_reads_the_memory_as_it_lies():
    x = frames()
    legacy, right = (head_of("Conv_1D", conv1d_legacy_view=flag) for flag in (True, False))
    for head in (legacy, right):
        head.conv.weight.copy_(torch.tensor([0.0, 1.0, 0.0]).expand_as(head.conv.weight))
    relabeled = x.reshape(2, DIM, FRAMES).transpose(1, 2)
    assert torch.allclose(legacy(x), (relabeled + x).mean(1), atol=1e-6)
    assert (legacy(x) - right(x)).abs().max() > 0.1


@torch.no_grad()
def test_class_token_does_not_add_the_frames_again():
    head, x = head_of("Transf_cls"), frames()
    bright = x.clone()
    bright[:, 0] += 5
    assert (head(bright) - head(x)).abs().max() > 1e-3
    # The last operation is a norm: without its weights nothing of the frames is left.
    head.norm.weight.zero_()
    head.norm.bias.fill_(3)
    assert torch.allclose(head(x), torch.full((2, DIM), 3.0))


def test_clips_that_do_not_fit():
    with pytest.raises(ValueError, match="9 frames, but the temporal transformer has positions for 8"):
        head_of("Transf")(frames(9))
    with pytest.raises(ValueError, match="positions for exactly 4 frames, got 3"):
        head_of("Transf_cls")(frames(3))
    for header in ("meanP", "LSTM", "Conv_1D"):
        assert head_of(header)(frames(9)).shape == (2, DIM)


# -- initialization ---------------------------------------------------------------------------------------------------


def bounded_by(weight: torch.Tensor, bound: float) -> bool:
    return 0.9 * bound < weight.abs().max() <= bound


def test_initialization_of_the_transformer():
    head = head_of("Transf")
    attention, mlp = head.layers[0].self_attn, head.layers[0].mlp
    for linear in (attention.out_proj, mlp.fc1, mlp.fc2, head.position_embedding):
        assert linear.weight.std().item() == pytest.approx(0.02, rel=0.15)
    # Packed query, key and value are Xavier-uniform: fan in dim, fan out 3 dim.
    for linear in (attention.q_proj, attention.k_proj, attention.v_proj):
        assert bounded_by(linear.weight, (6 / (4 * DIM)) ** 0.5)
    assert not any(m.bias.any() for m in head.modules() if isinstance(m, torch.nn.Linear))


def test_initialization_of_the_other_heads():
    assert all(bounded_by(weight, DIM**-0.5) for weight in head_of("LSTM").parameters() if weight.ndim == 2)
    kernel = head_of("Conv_1D").conv.weight[:, 0]
    taps = torch.tensor([DIM // 4, DIM // 2, DIM // 4])
    assert torch.equal(kernel.sum(0), taps.float()) and torch.equal(kernel.argmax(1).bincount(), taps)
    head = head_of("Transf_cls")
    assert bounded_by(head.layers[0].linear1.weight, 0.04) and bounded_by(
        head.layers[0].self_attn.out_proj.weight, 0.04
    )
    assert 0 < head.cls_token.abs().max() <= 0.04 and 0 < head.pos_embed.abs().max() <= 0.04
    assert bounded_by(head.layers[0].self_attn.k_proj.weight, (6 / (4 * DIM)) ** 0.5)


@pytest.mark.parametrize("header", ["Conv_1D", "LSTM", "Transf", "Transf_cls"])
def test_missing_head_is_initialized_when_loading(header, tmp_path):
    """Loading starts without storage, so whatever a checkpoint lacks has to be made."""
    tiny_model("actionclip", sim_header="meanP").save_pretrained(tmp_path)
    loaded = ActionCLIPModel.from_pretrained(tmp_path, sim_header=header)
    fresh = head_of(header)
    for (name, weight), other in zip(loaded.temporal_head.named_parameters(), fresh.parameters(), strict=True):
        assert weight.isfinite().all(), name
        assert weight.std().item() == pytest.approx(other.std().item(), rel=0.3, abs=1e-7), name
