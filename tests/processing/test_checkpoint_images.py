"""The processor of a method on a published model: size, mean and std are the checkpoint's, whatever file says them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from transformers import CLIPModel, CLIPProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import hf_zsar
from hf_zsar import METHODS
from tests.tiny_models import tiny_clip_config, tiny_clip_tokenizer


MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]


def image_processor(size: int) -> CLIPImageProcessorPil:
    sizes = dict(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    return CLIPImageProcessorPil(**sizes, image_mean=MEAN, image_std=STD, resample=2)


def processor_of(folder, **fields):
    return hf_zsar.load(folder, method="actionclip", **fields)[1]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """`checkpoint(size)` is the folder of a tiny CLIP for pictures of that size; without an image processor."""

    def made(size: int):
        folder = tmp_path_factory.mktemp("clip")
        fields = {key: value for key, value in tiny_clip_config().items() if key != "model_type"}
        fields["vision_config"] = {**fields["vision_config"], "image_size": size}
        CLIPModel(CLIPModel.config_class(**fields)).save_pretrained(folder)
        tiny_clip_tokenizer().save_pretrained(folder)
        return folder

    return made


@pytest.mark.parametrize("size", [48, 336])
@pytest.mark.parametrize("layout", ["preprocessor_config", "processor_config", "old"])
def test_size_mean_and_std_are_the_checkpoints(checkpoint, size, layout):
    folder = checkpoint(size)
    if layout == "processor_config":
        CLIPProcessor(image_processor(size), tiny_clip_tokenizer()).save_pretrained(folder)
        assert not (folder / "preprocessor_config.json").exists()
    else:
        image_processor(size).save_pretrained(folder)
    if layout == "old":  # as the first checkpoints were saved
        path = folder / "preprocessor_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "size": size, "crop_size": size}))
    video = processor_of(folder, num_frames=3).video_processor
    assert video.size == {"shortest_edge": size} and video.crop_size == {"height": size, "width": size}
    assert (video.image_mean, video.image_std, video.resample, video.num_frames) == (MEAN, STD, "bilinear", 3)


def test_pixels_are_those_of_the_image_processor(checkpoint):
    folder = checkpoint(48)
    images = image_processor(48)
    images.save_pretrained(folder)
    frames = np.random.default_rng(0).integers(0, 255, (4, 60, 90, 3), dtype=np.uint8)
    found = processor_of(folder, num_frames=4)(videos=frames)["pixel_values_videos"][0]
    expected = np.stack(images(list(frames))["pixel_values"])
    assert np.abs(found.numpy() - expected).max() < 0.03


@pytest.mark.parametrize("method", ["actionclip", "dasti", "stdd"])
def test_every_method_takes_its_own_options_and_the_towers_length(checkpoint, method):
    folder = checkpoint(48)
    tokenizer = tiny_clip_tokenizer()
    tokenizer.model_max_length = int(1e30)
    tokenizer.save_pretrained(folder)
    image_processor(48).save_pretrained(folder)
    options = dict(processor={"prompt_templates": ["a {}"]}, video_processor={"crop_size": 32})
    processor = hf_zsar.load(folder, method=method, **options)[1]
    assert type(processor) is METHODS[method].processor_class and processor.prompt_templates == ["a {}"]
    assert processor.text_limit == 77 and processor.video_processor.crop_size == {"height": 32, "width": 32}


def test_a_square_size_is_not_cropped(checkpoint):
    folder = checkpoint(48)
    settings = {"size": {"height": 48, "width": 48}, "image_mean": MEAN, "image_std": STD, "do_center_crop": None}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    processor = processor_of(folder)
    frames = np.zeros((9, 60, 90, 3), dtype=np.uint8)
    assert processor(videos=frames)["pixel_values_videos"].shape[-2:] == (48, 48)


def test_a_file_that_describes_nothing_is_refused(checkpoint):
    folder = checkpoint(48)
    (folder / "preprocessor_config.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="preprocessor_config.json holds no JSON object"):
        processor_of(folder)
    with pytest.raises(OSError, match="nowhere"):
        processor_of(folder / "nowhere")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(OSError, match="preprocessor_config.json"):
        processor_of(folder)


def test_frames_of_another_size_than_the_towers_are_said(checkpoint, caplog):
    folder = checkpoint(48)
    image_processor(48).save_pretrained(folder)
    model, processor = hf_zsar.load(folder, method="actionclip")
    frames = np.zeros((9, 60, 90, 3), dtype=np.uint8)
    model.encode_videos(**processor(videos=frames))
    assert "image tower" not in caplog.text
    model.encode_videos(**processor(videos=frames, size=40, crop_size=40))
    assert "Frames of (40, 40) are not of the image tower's size" in caplog.text
