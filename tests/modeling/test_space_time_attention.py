"""Masks, channel mixing and the block of STDD: tables made by the official code, and what must hold for any size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from hf_zsar.modeling.encoder_clip import CLIPEncoder
from hf_zsar.modeling.space_time_attention import (
    check_grid,
    kept_count,
    kept_patches,
    masked_slots,
    mix_channels,
    random_window_mask,
    space_time_block,
    window_mask,
    window_order,
)


@st.composite
def mask_settings(draw):
    window = draw(st.integers(1, 3))
    grid = (window * draw(st.integers(1, 3)), window * draw(st.integers(1, 3)))
    rate = draw(st.sampled_from([0, 0.25, 0.5, 0.75, 0.9]))
    return draw(st.integers(1, 9)), grid, window, rate


def test_mask_table_of_the_official_code():
    """Slots 0..3 of a 2 x 2 window in frames 0..4 (card of STDD, S3)."""
    expected = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1], [1, 1, 0, 0]]).bool()
    assert torch.equal(window_mask(5, (2, 2), 2, 0.5), expected)


@pytest.mark.parametrize(("rate", "masked"), [(0, 0), (0.25, 1), (0.5, 2), (0.75, 3), (0.74, 2)])
def test_masked_slots(rate, masked):
    assert masked_slots(2, rate) == masked


def test_window_order_is_row_by_row_in_windows_and_slots():
    assert window_order((2, 4), 2).tolist() == [0, 1, 4, 5, 2, 3, 6, 7]


@given(mask_settings())
def test_every_frame_keeps_the_same_number(settings):
    num_frames, grid, window, rate = settings
    count = kept_count(grid, window, rate)
    assert ((~window_mask(*settings)).sum(-1) == count).all()
    random = random_window_mask((2, 3), *settings, spatial_repeat=False)
    assert random.shape == (2, 3, num_frames, grid[0] * grid[1])
    assert ((~random).sum(-1) == count).all()


@given(mask_settings())
def test_kept_patches_are_the_kept_ones_in_window_major_order(settings):
    num_frames, grid, window, rate = settings
    mask = random_window_mask((2,), *settings, spatial_repeat=False)
    kept = kept_patches(mask, grid, window, kept_count(grid, window, rate))
    order = window_order(grid, window).tolist()
    for video in range(2):
        for frame in range(num_frames):
            expected = [patch for patch in order if not mask[video, frame, patch]]
            assert kept[video, frame].tolist() == expected


def test_half_rate_keeps_every_slot_in_two_of_four_frames():
    mask = window_mask(9, (4, 6), 2, 0.5)
    for start in range(6):
        assert (mask[start : start + 4].sum(0) == 2).all()


def test_offset_rotates_and_permutation_moves_rows():
    plain = window_mask(8, (4, 4), 2, 0.5)
    assert torch.equal(window_mask(4, (4, 4), 2, 0.5, offset=torch.tensor([3])), plain[3:7])
    permutation = torch.tensor([2, 0, 3, 1])
    assert torch.equal(window_mask(4, (4, 4), 2, 0.5, frame_permutation=permutation), plain[permutation])


def test_random_masks_follow_their_generator_and_differ_between_blocks():
    def draw(seed, **options):
        generator = torch.Generator().manual_seed(seed)
        return random_window_mask((3, 8), 8, (4, 4), 2, 0.5, generator=generator, **options)

    torch.manual_seed(0)
    first = draw(1)
    torch.manual_seed(1)
    assert torch.equal(first, draw(1))  # the global state plays no part
    assert not torch.equal(first, draw(2))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0, 0], first[0, 1])
    windows = first[..., window_order((4, 4), 2)].unflatten(-1, (4, 4))
    assert (windows == windows[..., :1, :]).all()  # spatial_repeat: all windows alike
    apart = draw(1, spatial_repeat=False)[..., window_order((4, 4), 2)].unflatten(-1, (4, 4))
    assert not (apart == apart[..., :1, :]).all()
    still = draw(1, rotate=False, shuffle=False)
    assert torch.equal(still, window_mask(8, (4, 4), 2, 0.5).expand_as(still))


@pytest.mark.parametrize(
    ("scale", "table"),
    [
        (1, [[0, 0, 0, 0, 2, 2, 2, 2], [1, 1, 1, 1, 3, 3, 3, 3], [2, 2, 2, 2, 4, 4, 4, 4], [3, 3, 3, 3, 0, 0, 0, 0]]),
        (2, [[0, 0, 0, 0, 2, 2, 3, 3], [1, 1, 1, 1, 3, 3, 4, 4], [1, 1, 2, 2, 4, 4, 4, 4], [2, 2, 3, 3, 0, 0, 0, 0]]),
    ],
)
def test_mixing_table_of_the_official_code(scale, table):
    tokens = torch.arange(1.0, 5)[None, :, None, None].expand(1, 4, 1, 8)
    assert torch.equal(mix_channels(tokens, 2, scale)[0, :, 0], torch.tensor(table, dtype=torch.float))


@given(st.integers(1, 5), st.integers(1, 7), st.integers(1, 20))
def test_mixing_touches_only_the_first_two_folds(num_frames, scale, channel_fold):
    tokens = torch.randn(2, num_frames, 3, 16)
    mixed, fold = mix_channels(tokens, channel_fold, scale), 16 // channel_fold
    assert mixed.shape == tokens.shape
    assert torch.equal(mixed[..., 2 * fold :], tokens[..., 2 * fold :])
    if channel_fold > 16:
        assert torch.equal(mixed, tokens)
    elif num_frames == 1:  # nobody to hear from
        assert not mixed[..., : 2 * fold].any()


@pytest.mark.parametrize("grid", [(7, 7), (4, 3), (0, 4)])
def test_a_grid_that_windows_do_not_tile_is_an_error(grid):
    with pytest.raises(ValueError, match=f"{grid[0]}x{grid[1]} patches"):
        check_grid(grid, 2)
    assert check_grid((14, 14), 2) == (14, 14)


# -- the block --------------------------------------------------------------------------------------


@pytest.fixture
def layer():
    torch.manual_seed(0)
    config = CLIPVisionConfig(hidden_size=32, intermediate_size=48, num_attention_heads=2)
    config._attn_implementation = "sdpa"
    return CLIPEncoderLayer(config).eval()


def run_block(layer, hidden, num_frames=4, window=2, rate=0.5, channel_fold=4, scales=(1, 2)):
    grid = (4, 4)
    mask = window_mask(num_frames, grid, window, rate)
    kept = kept_patches(mask, grid, window, kept_count(grid, window, rate))
    return space_time_block(CLIPEncoder.branches(layer), hidden, kept, channel_fold, scales)


@torch.no_grad()
@pytest.mark.parametrize("settings", [dict(rate=0), dict(window=1, rate=0.9), dict(window=4, rate=0, scales=[3])])
def test_all_patches_and_no_mixing_is_the_plain_block(layer, settings):
    hidden = torch.randn(8, 17, 32)
    plain = layer(hidden, None)
    torch.testing.assert_close(run_block(layer, hidden, channel_fold=33, **settings), plain, rtol=0, atol=2e-6)
    assert (run_block(layer, hidden, channel_fold=4, **settings) - plain).abs().max() > 1e-3


@torch.no_grad()
def test_without_mixing_frames_are_independent_but_the_block_is_not_plain(layer):
    hidden = torch.randn(8, 17, 32)
    before = run_block(layer, hidden, channel_fold=33)
    changed = hidden.clone()
    changed[1] += 1
    after = run_block(layer, changed, channel_fold=33)
    differs = (before != after).flatten(1).any(1)
    assert differs.tolist() == [False, True] + [False] * 6
    assert (before - layer(hidden, None)).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize(("scales", "reach"), [([1], 1), ([2], 2), ([1, 2], 2), ([3], 3)])
def test_one_block_reaches_as_far_as_its_largest_scale(layer, scales, reach):
    num_frames = 8
    hidden = torch.randn(num_frames, 17, 32)
    for source in (0, 3):
        changed = hidden.clone()
        changed[source] += 1
        outputs = [run_block(layer, value, num_frames, scales=scales) for value in (hidden, changed)]
        differs = (outputs[0] != outputs[1]).flatten(1).any(1).tolist()
        assert differs == [abs(frame - source) <= reach for frame in range(num_frames)]


@torch.no_grad()
def test_videos_of_a_batch_never_meet(layer):
    hidden = torch.randn(3, 4, 17, 32)
    out = run_block(layer, hidden.flatten(0, 1)).view_as(hidden)
    order = [2, 0, 1]
    assert torch.equal(run_block(layer, hidden[order].flatten(0, 1)).view_as(hidden), out[order])


@torch.no_grad()
def test_scales_are_averaged_before_the_shortcut(layer):
    """The temporal pass enters the output linearly, so the mean of two outputs is the output of two scales."""
    hidden = torch.randn(4, 17, 32)
    one, two, both = (run_block(layer, hidden, scales=scales) for scales in ([1], [2], [1, 2]))
    torch.testing.assert_close(both, (one + two) / 2, rtol=0, atol=1e-6)
    assert (one - two).abs().max() > 1e-3


@torch.no_grad()
def test_a_mask_for_every_video(layer):
    """Different masks for two copies of a video give what each mask gives alone."""
    hidden = torch.randn(4, 17, 32)
    masks = random_window_mask((2,), 4, (4, 4), 2, 0.5, generator=torch.Generator().manual_seed(3))
    kept = kept_patches(masks, (4, 4), 2, 8)
    together = space_time_block(CLIPEncoder.branches(layer), hidden.repeat(2, 1, 1), kept, 4, [1]).view(2, 4, 17, 32)
    for video in range(2):
        alone = space_time_block(CLIPEncoder.branches(layer), hidden, kept[video], 4, [1])
        torch.testing.assert_close(together[video], alone, rtol=0, atol=1e-6)
    assert (together[0] - together[1]).abs().max() > 1e-3
