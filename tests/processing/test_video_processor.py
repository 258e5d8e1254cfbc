"""The video processor: options, batches, views, sampling, saving and loading."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.image_utils import PILImageResampling

from hf_zsar.processing.frame_sampling import SAMPLERS
from hf_zsar.processing.video_processing_zsar import ZSARVideoProcessor
from hf_zsar.processing.video_reading import VideoReadError, VideoReadWarning, open_video
from tests.videos import frame_number, frame_picture, write_video


SMALL = {"size": 40, "crop_size": 32}


@pytest.fixture
def processor() -> ZSARVideoProcessor:
    return ZSARVideoProcessor(**SMALL, num_frames=4)


def frames_of(count: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.stack([frame_picture(number, height, width) for number in range(count)])


# What comes out ----------------------------------------------------------------------------------------------------


def test_defaults_are_those_of_clip():
    pixels = ZSARVideoProcessor()(frames_of(20))["pixel_values_videos"]
    assert pixels.shape == (1, 8, 3, 224, 224) and pixels.dtype == torch.float32


def test_one_video_or_a_list_of_any_lengths_and_sizes(processor, synthetic):
    alone = [processor(synthetic(name))["pixel_values_videos"] for name in ("h264.mp4", "mpeg4.avi")]
    frames = frames_of(3, 50, 90)
    batch = processor([synthetic("h264.mp4"), str(synthetic("mpeg4.avi")), frames])["pixel_values_videos"]
    assert batch.shape == (3, 4, 3, 32, 32)
    assert (batch[:1] == alone[0]).all() and (batch[1:2] == alone[1]).all()
    assert (batch[2:] == processor(frames)["pixel_values_videos"]).all()


def test_what_counts_as_one_video(processor):
    frames = frames_of(5)
    expected = processor(frames)["pixel_values_videos"]
    pictures = [Image.fromarray(frame) for frame in frames]
    for one in (pictures, list(frames), torch.from_numpy(frames), [frames], [pictures]):
        assert (processor(one)["pixel_values_videos"] == expected).all()
    batch = np.stack([frames, frames])
    for several in (batch, torch.from_numpy(batch), [frames, frames], [pictures, pictures]):
        assert processor(several)["pixel_values_videos"].shape == (2, 4, 3, 32, 32)


def test_numpy_output(processor):
    pixels = processor(frames_of(5), return_tensors="np")["pixel_values_videos"]
    assert isinstance(pixels, np.ndarray) and pixels.shape == (1, 4, 3, 32, 32)


def test_metadata_names_the_frames(processor, synthetic):
    result = processor([synthetic("h264.mp4"), frames_of(5)], return_metadata=True, num_views=2)
    file, array = result["video_metadata"]
    assert result["pixel_values_videos"].shape == (2, 2, 4, 3, 32, 32)
    assert file["indices"] == [[3, 15, 27, 39], [9, 21, 33, 45]]
    assert np.allclose(file["timestamps"], np.array(file["indices"]) / 24)
    assert file["name"] == str(synthetic("h264.mp4")) and (file["num_frames"], file["width"]) == (48, 160)
    assert array["name"] == "array" and array["fps"] is None and len(array["indices"]) == 2
    json.dumps(result["video_metadata"])


def test_sample_gives_the_same_frames_as_pictures(processor, synthetic):
    clip = processor.sample(synthetic("h264.mp4"), num_views=2)
    metadata = processor(synthetic("h264.mp4"), num_views=2, return_metadata=True)["video_metadata"][0]
    assert clip.frames.dtype == torch.uint8 and clip.frames.shape == (8, 128, 160, 3)
    assert [frame_number(picture) for picture in clip.frames] == clip.indices == sum(metadata["indices"], [])


def test_the_steps_one_by_one_are_the_whole(processor, synthetic):
    clip = processor.sample(synthetic("h264.mp4"))
    cropped = processor.resize_crop(clip.frames)
    assert cropped.shape == (1, 4, 3, 32, 32) and cropped.dtype == torch.uint8
    assert (processor.normalize(cropped[0]) == processor(synthetic("h264.mp4"))["pixel_values_videos"][0]).all()


def test_views_come_view_after_view_and_crop_after_crop(processor, synthetic):
    pixels = processor(synthetic("h264.mp4"), num_views=2, num_crops=3)["pixel_values_videos"]
    assert pixels.shape == (1, 6, 4, 3, 32, 32)
    clip = processor.sample(synthetic("h264.mp4"), num_views=2)
    for view in range(2):
        crops = processor.resize_crop(clip.frames[4 * view : 4 * view + 4], num_crops=3)
        for number in range(3):
            assert (pixels[0, 3 * view + number] == processor.normalize(crops[number])).all()


def test_presampled_frames_are_taken_as_they_are(processor, synthetic):
    frames = frames_of(11)
    pixels = processor(frames, do_sample_frames=False, return_metadata=True)
    assert pixels["pixel_values_videos"].shape == (1, 11, 3, 32, 32)
    assert pixels["video_metadata"][0]["indices"] == [list(range(11))]
    assert processor(synthetic("h264.mp4"), do_sample_frames=False)["pixel_values_videos"].shape[1] == 48


def test_square_sizes_without_crop(processor):
    pixels = processor(frames_of(4), size={"height": 20, "width": 30}, do_center_crop=False)["pixel_values_videos"]
    assert pixels.shape == (1, 4, 3, 20, 30)
    raw = processor(frames_of(4), do_resize=False, do_center_crop=False, do_rescale=False, do_normalize=False)
    assert (raw["pixel_values_videos"][0].permute(0, 2, 3, 1) == torch.from_numpy(frames_of(4))).all()


# Which frames ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_by_name(synthetic, name):
    processor = ZSARVideoProcessor(**SMALL, num_frames=4, sampling=name)
    result = processor(synthetic("h264.mp4"), generator=0, return_metadata=True, num_frames=4)
    sampler, options = SAMPLERS[name], {}
    if sampler.is_random:
        options["generator"] = 0
    if name.startswith("slowfast"):
        options["fps"] = 24.0
    with open_video(synthetic("h264.mp4")) as reader:
        if sampler.unit == "frames":
            expected = sampler(48, 4, **options)
        else:
            times = sampler(reader.duration, 4, **options)
            expected = [[int(time * 24 + 0.01) for time in row] for row in times]
    assert result["video_metadata"][0]["indices"] == np.asarray(expected).tolist()


def test_random_sampling_follows_its_generator(processor, synthetic):
    def drawn(generator):
        result = processor(synthetic("h264.mp4"), sampling="tsn_random", generator=generator, return_metadata=True)
        return result["video_metadata"][0]["indices"]

    assert drawn(1) == drawn(1) != drawn(2)
    assert drawn(torch.Generator().manual_seed(3)) == drawn(torch.Generator().manual_seed(3))
    with pytest.raises(ValueError, match="generator"):
        processor(synthetic("h264.mp4"), sampling="tsn_random")


def test_frames_per_second(processor, synthetic):
    assert processor(synthetic("h264.mp4"), fps=3)["pixel_values_videos"].shape[1] == 6
    by_default = ZSARVideoProcessor(**SMALL, fps=3)
    assert by_default(synthetic("h264.mp4"))["pixel_values_videos"].shape[1] == 6
    assert by_default(synthetic("h264.mp4"), num_frames=5)["pixel_values_videos"].shape[1] == 5
    with pytest.raises(ValueError, match="not both"):
        processor(synthetic("h264.mp4"), fps=3, num_frames=4)
    with pytest.raises(ValueError, match="different shapes"):
        processor([synthetic("h264.mp4"), synthetic("one_frame.mp4")], fps=3)


def test_sampling_options(processor, synthetic):
    result = processor(
        synthetic("h264.mp4"), sampling="dense", sampling_options={"clip_seconds": 0.5}, return_metadata=True
    )
    times = result["video_metadata"][0]["timestamps"][0]
    assert all(0.75 <= time <= 1.25 for time in times)
    with pytest.raises(ValueError, match="no option clip_second"):
        processor(synthetic("h264.mp4"), sampling="dense", sampling_options={"clip_second": 0.5})


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
@pytest.mark.parametrize("count", [16, 48, 80])
def test_a_center_between_two_frames_is_the_same_frame_in_every_container(tmp_path, suffix, count):
    """With 8 of 16 * k frames every segment center falls on the start of a frame; containers round that time."""
    from fractions import Fraction

    path = write_video(tmp_path / f"clip.{suffix}", count, fps=Fraction(30000, 1001))
    clip = ZSARVideoProcessor().sample(path)
    expected = [(2 * place + 1) * count // 16 for place in range(8)]
    assert [frame_number(picture) for picture in clip.frames] == expected == clip.indices
    assert ZSARVideoProcessor().sample(frames_of(count)).indices == expected, "and in an array"


def test_keyframe_mode(processor, synthetic):
    result = processor(synthetic("h264.mp4"), mode="keyframe", return_metadata=True)
    assert set(result["video_metadata"][0]["indices"][0]) <= {0, 12, 24, 36}
    exact = processor.sample(synthetic("h264.mp4"), mode="exact")
    assert exact.indices == [6, 18, 30, 42]


# Errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frame": 4}, "Unknown video option num_frame"),
        ({"num_frames": 0}, "num_frames must be a positive whole number"),
        ({"num_frames": 2.5}, "num_frames must be a positive whole number"),
        ({"num_views": -1}, "num_views must be a positive whole number"),
        ({"num_crops": 2}, "num_crops must be one of 1, 3"),
        ({"resample": "lanczos"}, "resample must be one of"),
        ({"mode": "fast"}, "mode must be one of exact, keyframe"),
        ({"crop_rounding": "up"}, "crop_rounding must be one of"),
        ({"sampling": "evenly"}, "Unknown sampling 'evenly'"),
        ({"size": {"longest_edge": 20}}, "A size is"),
        ({"size": 0}, "A size is"),
        ({"crop_size": {"height": 5}}, "A size is"),
        ({"image_mean": [0.5]}, "image_mean must be one or three numbers"),
        ({"fps": -1}, "fps must be positive"),
    ],
)
def test_meaningless_options(options, message):
    with pytest.raises(ValueError, match=message):
        ZSARVideoProcessor(**options)
    if "num_frame" not in options:
        with pytest.raises(ValueError, match=message):
            ZSARVideoProcessor()(frames_of(3), **options)


def test_reading_options_belong_to_the_call():
    with pytest.raises(ValueError, match="Unknown video option allow_private_urls"):
        ZSARVideoProcessor(allow_private_urls=True)


def test_the_broken_video_of_a_list_is_named(processor, synthetic, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"\x00" * 500)
    with pytest.raises(VideoReadError, match=r"broken\.mp4"):
        processor([synthetic("h264.mp4"), tmp_path / "broken.mp4"])
    with pytest.raises(VideoReadError, match="No videos"):
        processor([])


# Hard files --------------------------------------------------------------------------------------------------------


def test_hard_files_do_what_their_manifest_says(hard_clips_dir):
    processor = ZSARVideoProcessor()
    outcomes = {}
    rows = json.loads((hard_clips_dir / "manifest.json").read_text(encoding="utf-8"))["files"]
    for row in rows:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                pixels = processor(hard_clips_dir / row["file"])["pixel_values_videos"]
                assert pixels.shape == (1, 8, 3, 224, 224) and pixels.isfinite().all()
                outcome = "ok"
            except VideoReadError as error:
                assert row["file"] in str(error)
                outcome = "error"
        partial = [each for each in caught if issubclass(each.category, VideoReadWarning)]
        assert len(partial) <= 1 and all(row["file"] in str(each.message) for each in partial)
        outcomes[row["file"]] = "partial" if outcome == "ok" and partial else outcome
    expected = {row["file"]: row["expect"] for row in rows}
    wrong = {name: outcomes[name] for name, expect in expected.items() if expect not in ("any", outcomes[name])}
    assert not wrong
    assert {"ok", "partial", "error"} <= set(outcomes.values())


# Saving and loading ------------------------------------------------------------------------------------------------

CUSTOM = {
    "size": {"height": 20, "width": 30},
    "crop_size": {"height": 16, "width": 18},
    "resample": PILImageResampling.BILINEAR,
    "antialias": False,
    "crop_rounding": "ceil",
    "image_mean": (0.1, 0.2, 0.3),
    "image_std": 0.5,
    "num_frames": 3,
    "sampling": "dense",
    "sampling_options": {"clip_seconds": 1.0},
    "num_views": 2,
    "num_crops": 3,
    "mode": "keyframe",
    "do_rescale": False,
}


def test_saved_and_loaded(tmp_path):
    processor = ZSARVideoProcessor(**CUSTOM)
    assert processor.resample == "bilinear" and processor.image_std == [0.5, 0.5, 0.5]
    processor.save_pretrained(tmp_path)
    (file,) = tmp_path.iterdir()
    assert file.name == "video_preprocessor_config.json"
    settings = json.loads(file.read_text())
    assert settings["video_processor_type"] == "ZSARVideoProcessor" and settings["num_frames"] == 3
    loaded = ZSARVideoProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict() == settings
    assert ZSARVideoProcessor.from_dict(settings).to_dict() == settings
    assert ZSARVideoProcessor.from_json_file(file).to_dict() == settings
    assert ZSARVideoProcessor.from_pretrained(tmp_path, num_frames=5).num_frames == 5
    frames = frames_of(9)
    first, second = (each(frames)["pixel_values_videos"] for each in (processor, loaded))
    assert (first == second).all()


def test_loaded_out_of_a_nested_processor_config(tmp_path):
    nested = {"processor_class": "SomeProcessor", "video_processor": ZSARVideoProcessor(num_frames=5).to_dict()}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    assert ZSARVideoProcessor.from_pretrained(tmp_path).num_frames == 5


def test_an_unknown_saved_option_is_not_swallowed(tmp_path):
    settings = {**ZSARVideoProcessor().to_dict(), "frame_magic": 1}
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="frame_magic"):
        ZSARVideoProcessor.from_pretrained(tmp_path)


def test_options_of_one_instance_do_not_leak():
    first, second = ZSARVideoProcessor(), ZSARVideoProcessor()
    first.sampling_options["clip_seconds"] = 1.0
    first.size["shortest_edge"] = 7
    assert second.to_dict() == ZSARVideoProcessor().to_dict() != first.to_dict()


def test_changed_attributes_count(processor):
    processor.num_frames = 6
    assert processor(frames_of(9))["pixel_values_videos"].shape[1] == 6
    assert processor.to_dict()["num_frames"] == 6


def test_neither_torchvision_nor_torchcodec_is_needed(tmp_path):
    """In a process that cannot import them."""
    np.save(tmp_path / "frames.npy", frames_of(5))
    code = (
        "import sys\n"
        "for name in ('torchvision', 'torchcodec', 'decord', 'cv2'): sys.modules[name] = None\n"
        "import numpy as np\n"
        "from hf_zsar.processing.video_processing_zsar import ZSARVideoProcessor\n"
        f"frames = np.load({str(tmp_path / 'frames.npy')!r})\n"
        "print(tuple(ZSARVideoProcessor()(frames)['pixel_values_videos'].shape))\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=root)
    assert done.stdout.strip() == "(1, 8, 3, 224, 224)", done.stderr
