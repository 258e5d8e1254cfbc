"""Resizing, cropping and normalizing: Pillow's and transformers' results, official offsets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hf_zsar.processing.video_processing_zsar import CLIP_MEAN, CLIP_STD, ZSARVideoProcessor
from hf_zsar.processing.video_transforms import channels_first, crop, crop_offsets, normalize, resize, target_size
from tests.videos import frame_picture


PIL_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def natural_frames(height: int, width: int, count: int = 2) -> torch.Tensor:
    """Pictures with structure at all scales."""
    rng = np.random.default_rng(height * width)
    frames = [frame_picture(number, height, width).astype(int) for number in range(count)]
    noisy = [(frame + rng.integers(-25, 26, frame.shape)).clip(0, 255).astype(np.uint8) for frame in frames]
    return torch.from_numpy(np.stack(noisy))


def with_pillow(frames: torch.Tensor, resample: str) -> torch.Tensor:
    """The CLIP recipe of the official code, picture by picture: short side 256, center 224, normalize."""
    pixels = []
    for frame in frames:
        picture = Image.fromarray(frame.numpy())
        height, width = target_size(picture.height, picture.width, {"shortest_edge": 256})
        picture = picture.resize((width, height), PIL_FILTERS[resample])
        left, top = round((width - 224) / 2), round((height - 224) / 2)
        picture = np.asarray(picture.crop((left, top, left + 224, top + 224)), dtype=np.float32)
        pixels.append((picture / 255 - np.array(CLIP_MEAN)) / np.array(CLIP_STD))
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("resample", ["bicubic", "bilinear"])
@pytest.mark.parametrize("shape", [(240, 320), (256, 340), (360, 204), (720, 1280), (64, 720), (100, 90), (257, 341)])
def test_pixel_values_are_those_of_pillow(shape, resample):
    frames = natural_frames(*shape)
    ours = ZSARVideoProcessor(resample=resample)(frames, do_sample_frames=False)["pixel_values_videos"][0]
    assert ours.shape == (2, 3, 224, 224) and ours.dtype == torch.float32 and ours.is_contiguous()
    difference = (ours - with_pillow(frames, resample)).abs()
    one_gray_level = 1 / 255 / min(CLIP_STD)
    assert difference.max() < 1.001 * one_gray_level and difference.mean() < 1e-3


@given(height=st.integers(1, 3000), width=st.integers(1, 3000), short=st.integers(1, 600))
def test_the_short_side_gets_its_size_and_the_ratio_is_kept(height, width, short):
    new_height, new_width = target_size(height, width, {"shortest_edge": short})
    assert min(new_height, new_width) == short
    assert (new_height <= new_width) == (height <= width) or new_height == new_width
    exact = short * max(height, width) / min(height, width)
    assert exact - 1 < max(new_height, new_width) <= exact


def test_target_size_as_torchvision():
    """torchvision and the official code cut the long side off: int(short * long / short_before)."""
    assert target_size(240, 320, {"shortest_edge": 256}) == (256, 341)
    assert target_size(1280, 720, {"shortest_edge": 256}) == (455, 256)
    assert target_size(30, 40, {"height": 7, "width": 9}) == (7, 9)


def test_without_antialiasing_the_arithmetic_is_float():
    """The STDD and E2E recipes: bilinear, align_corners=False, no antialiasing, not rounded to gray levels."""
    frames = channels_first(natural_frames(120, 200))
    ours = resize(frames, {"shortest_edge": 64}, "bilinear", antialias=False)
    official = torch.nn.functional.interpolate(frames.float() / 255, (64, 106), mode="bilinear", align_corners=False)
    assert ours.dtype == torch.float32
    assert torch.allclose(ours / 255, official, atol=1e-6)
    smooth = resize(frames, {"shortest_edge": 64}, "bilinear", antialias=True)
    assert (ours - smooth).abs().max() > 10, "antialiasing makes a difference"


def test_stdd_normalizes_before_resizing_which_is_the_same():
    frames = channels_first(natural_frames(120, 200))
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (CLIP_MEAN, CLIP_STD))
    official = torch.nn.functional.interpolate(
        (frames.float() / 255 - mean) / std, (224, 373), mode="bilinear", align_corners=False
    )
    top, left = -(-(224 - 224) // 2), -(-(373 - 224) // 2)
    official = official[..., top : top + 224, left : left + 224]
    processor = ZSARVideoProcessor(size=224, resample="bilinear", antialias=False, crop_rounding="ceil")
    ours = processor(channels_last(frames), do_sample_frames=False)["pixel_values_videos"][0]
    assert torch.allclose(ours, official, atol=1e-5)


def channels_last(frames: torch.Tensor) -> torch.Tensor:
    return frames.permute(0, 2, 3, 1)


@pytest.mark.parametrize(("rounding", "left"), [("round", 58), ("floor", 58), ("ceil", 59)])
def test_half_pixels_of_the_center_crop(rounding, left):
    assert crop_offsets(256, 341, (224, 224), rounding=rounding) == [(16, left)]
    assert (
        crop_offsets(256, 455, (224, 224), rounding=rounding)[0][1]
        == {"round": 116, "floor": 115, "ceil": 116}[rounding]
    )


def test_three_crops_along_the_longer_side():
    assert crop_offsets(256, 341, (224, 224), 3) == [(16, 0), (16, 58), (16, 116)]
    assert crop_offsets(341, 256, (224, 224), 3) == [(0, 16), (58, 16), (116, 16)]
    frames = channels_first(natural_frames(256, 341))
    crops = crop(frames, (224, 224), 3)
    assert crops.shape == (3, 2, 3, 224, 224)
    assert (crops[1] == frames[..., 16:240, 58:282]).all()
    with pytest.raises(ValueError, match="1 or 3"):
        crop_offsets(256, 341, (224, 224), 2)


def test_small_pictures_are_padded_with_black():
    crops = crop(torch.full((1, 3, 5, 8), 200, dtype=torch.uint8), (7, 6))
    assert crops.shape == (1, 1, 3, 7, 6)
    assert (crops[0, 0, :, 0] == 0).all() and (crops[0, 0, :, 6] == 0).all() and (crops[0, 0, :, 1:6] == 200).all()


def test_normalizing_is_the_formula():
    frames = torch.randint(0, 256, (2, 4, 3, 5, 6), dtype=torch.uint8)
    expected = (frames.double() / 255 - torch.tensor(CLIP_MEAN).view(3, 1, 1)) / torch.tensor(CLIP_STD).view(3, 1, 1)
    assert torch.allclose(normalize(frames, 1 / 255, CLIP_MEAN, CLIP_STD).double(), expected, atol=1e-6)
    assert (normalize(frames, None, None, None) == frames.float()).all()
    assert torch.allclose(normalize(frames, 0.5, None, None), frames * 0.5)


def test_resizing_to_the_same_size_changes_nothing():
    frames = channels_first(natural_frames(40, 50))
    assert resize(frames, {"shortest_edge": 40}) is frames


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_devices(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    frames = channels_first(natural_frames(60, 70)).to(device)
    pixels = normalize(
        crop(resize(frames, {"shortest_edge": 32}, antialias=False), (24, 24))[0], 1 / 255, CLIP_MEAN, CLIP_STD
    )
    assert pixels.device.type == device and pixels.shape == (2, 3, 24, 24)
