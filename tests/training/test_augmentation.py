"""Augmentations: the same for all frames of a clip, within their ranges, and drawn from the generator alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_zsar.training.augmentation import (
    MULTI_SCALES,
    ClipAugmentation,
    luma,
    multi_scale_box,
    random_resized_box,
    rotate_hue,
)


CROPPINGS = ("random_resized", "multi_scale", "short_side", "center")
sizes = st.integers(8, 90)


def clip(height=40, width=56, frames=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (frames, height, width, 3), dtype=torch.uint8, generator=generator)


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, st.sampled_from(CROPPINGS), st.integers(0, 2**32 - 1), st.integers(1, 48))
def test_any_clip_gives_the_asked_square_and_the_seed_decides(height, width, cropping, seed, size):
    augmentation = ClipAugmentation(
        size=size, cropping=cropping, short_side=(size, size + 9), grayscale=0.3, jitter=0.5
    )
    frames = clip(height, width)
    result = augmentation(frames, np.random.default_rng(seed))
    assert result.shape == (3, 3, size, size) and result.dtype == torch.uint8
    assert torch.equal(result, augmentation(frames, np.random.default_rng(seed)))


@pytest.mark.parametrize("cropping", CROPPINGS)
def test_all_frames_of_a_clip_are_treated_alike(cropping):
    augmentation = ClipAugmentation(size=24, cropping=cropping, short_side=(24, 40), grayscale=0.5, jitter=1.0)
    frames = clip(frames=1).expand(4, -1, -1, -1)
    for seed in range(10):
        result = augmentation(frames, np.random.default_rng(seed))
        assert all(torch.equal(result[0], frame) for frame in result)


@settings(max_examples=200, deadline=None)
@given(sizes, sizes, st.integers(0, 2**32 - 1))
def test_boxes_lie_in_the_picture_and_keep_area_and_aspect(height, width, seed):
    generator = np.random.default_rng(seed)
    area, aspect = (0.2, 0.9), (0.75, 4 / 3)
    top, left, h, w = random_resized_box(height, width, area, aspect, generator)
    assert 0 <= top <= height - h and 0 <= left <= width - w and min(h, w) > 0
    fallback = h == w == min(height, width)
    slack = (1 + 1 / h) * (1 + 1 / w)  # whole pixels
    assert fallback or area[0] / slack <= h * w / (height * width) <= area[1] * slack
    assert fallback or aspect[0] / slack <= w / h <= aspect[1] * slack
    top, left, h, w = multi_scale_box(height, width, generator)
    assert 0 <= top <= height - h and 0 <= left <= width - w
    scales = [int(min(height, width) * scale) for scale in MULTI_SCALES]
    assert any(h == scales[i] and w == scales[j] for i in range(4) for j in range(4) if abs(i - j) <= 1)


def test_multi_scale_visits_all_places_and_scales():
    boxes = {multi_scale_box(96, 96, np.random.default_rng(seed)) for seed in range(3000)}
    small = int(96 * 0.66)
    assert len({box[:2] for box in boxes if box[2:] == (small, small)}) == 13
    assert len({box[2:] for box in boxes}) == 10


def test_short_side_is_drawn_from_its_range():
    """A picture of its column numbers shows by its slope how far it was enlarged."""
    ramp = torch.arange(0, 256, 4, dtype=torch.uint8).repeat(64, 1)[None, ..., None].expand(2, -1, -1, 3)
    augmentation = ClipAugmentation(size=64, cropping="short_side", short_side=(64, 128), flip=0.0)
    slopes = []
    for seed in range(100):
        row = augmentation(ramp, np.random.default_rng(seed))[0, 0, 32].float()
        slopes.append(((row[48] - row[16]) / 32 / 4).item())
    assert min(slopes) < 0.56 and max(slopes) > 0.94
    assert all(0.45 < slope < 1.05 for slope in slopes)


def test_center_crop_without_resizing_is_exact():
    frames = clip(40, 56)
    result = ClipAugmentation(size=40, cropping="center", short_side=(40, 40), flip=0.0)(
        frames, np.random.default_rng(0)
    )
    assert torch.equal(result, frames.permute(0, 3, 1, 2)[..., 8:48])


def test_flip_mirrors_as_often_as_it_should():
    base = dict(size=40, cropping="center", short_side=(40, 40))
    frames, plain = clip(40, 40), clip(40, 40).permute(0, 3, 1, 2)
    flipped = [
        torch.equal(ClipAugmentation(**base, flip=0.3)(frames, np.random.default_rng(seed)), plain.flip(-1))
        for seed in range(400)
    ]
    assert 0.2 < sum(flipped) / 400 < 0.4
    assert torch.equal(ClipAugmentation(**base, flip=1.0)(frames, np.random.default_rng(0)), plain.flip(-1))


def test_colors():
    base = ClipAugmentation(size=40, cropping="center", short_side=(40, 40), flip=0.0)
    gray = dataclasses.replace(base, grayscale=1.0)(clip(40, 40), np.random.default_rng(0))
    assert torch.equal(gray[:, 0], gray[:, 1]) and torch.equal(gray[:, 0], gray[:, 2])
    none = dataclasses.replace(base, jitter=1.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
    difference = (
        none(clip(40, 40), np.random.default_rng(0)).int() - base(clip(40, 40), np.random.default_rng(0)).int()
    )
    assert difference.abs().max() <= 1
    brighter = dataclasses.replace(base, jitter=1.0, brightness=0.5, contrast=0.0, saturation=0.0, hue=0.0)
    flat = torch.full((1, 40, 40, 3), 100, dtype=torch.uint8)
    values = {int(brighter(flat, np.random.default_rng(seed))[0, 0, 0, 0]) for seed in range(50)}
    assert len(values) > 20 and min(values) >= 50 and max(values) <= 150


def test_hue_turns_red_to_green_and_leaves_grays():
    red = torch.tensor([255.0, 0, 0]).view(1, 3, 1, 1)
    torch.testing.assert_close(
        rotate_hue(red, 2 * np.pi / 3).flatten(), torch.tensor([0.0, 255, 0]), atol=1e-3, rtol=0
    )
    gray = torch.full((1, 3, 2, 2), 77.0)
    torch.testing.assert_close(rotate_hue(gray, 1.0), gray)
    assert luma(gray).flatten().tolist() == pytest.approx([77.0] * 4)


@pytest.mark.parametrize(
    ("field", "value"), [("cropping", "random"), ("flip", 1.5), ("grayscale", -0.1), ("jitter", 2), ("size", 0)]
)
def test_wrong_values_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        ClipAugmentation(**{field: value})
