"""What a few bytes, a configuration or an argument may ask for: refused in words before it is allocated or begun."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from hf_zsar.processing import video_transforms
from hf_zsar.processing.frame_sampling import SAMPLERS
from hf_zsar.processing.limits import limits, set_limits
from hf_zsar.processing.video_container import MediaFile
from hf_zsar.processing.video_processing_zsar import ZSARVideoProcessor
from hf_zsar.processing.video_reading import VideoReadError, open_video
from tests.videos import frame_picture, write_video


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = limits()
    yield
    set_limits(**asdict(before))


def gif(width: int, height: int, frames: int = 8) -> bytes:
    """A few bytes that stand for pictures of any size, of which each frame paints one pixel."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"\x21\xf9\x04\x04\x0a\0\0\0\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return head + frames * frame + b";"


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (gif(65535, 1), "picture_ratio"),
        (gif(1, 65535), "picture_ratio"),
        (gif(60000, 500), "picture_ratio"),
        (gif(65535, 65535), "picture_pixels"),
        (gif(9000, 4500), "picture_pixels"),
        (png(20000, 10000), "picture_pixels"),
    ],
)
def test_files_that_ask_for_monstrous_pictures(data, words):
    with pytest.raises(VideoReadError, match=words):
        ZSARVideoProcessor(num_frames=8)(data)


def test_one_call_raises_the_limits_of_pictures():
    set_limits(picture_ratio=1000)
    assert ZSARVideoProcessor(num_frames=2, size=16, crop_size=16)(gif(2000, 3)) is not None
    set_limits(picture_pixels=5000)
    with pytest.raises(VideoReadError, match="2000x3, so many pixels: 6,000, more than picture_pixels allows"):
        open_video(gif(2000, 3))


def test_pixels_that_are_not_square_make_no_monster(tmp_path):
    path = write_video(tmp_path / "strip.mp4", 2, height=64, width=640, aspect=Fraction(16))
    with open_video(path) as reader:
        assert (reader.info.width, reader.info.height) == (640, 64)


def size_changes(folder: Path, height: int, width: int) -> Path:
    """A video whose second picture is larger; a tiny one of one gray takes any size."""
    path = folder / "grows.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number, size in enumerate([(48, 64), (height, width)]):
            codec = av.CodecContext.create("mjpeg", "w")
            codec.width, codec.height, codec.pix_fmt, codec.time_base = size[1], size[0], "yuvj420p", Fraction(1, 25)
            frame = av.VideoFrame.from_ndarray(np.zeros((*size, 3), np.uint8), format="rgb24")
            frame.pts = number
            for packet in [*codec.encode(frame), *codec.encode(None)]:
                packet.stream, packet.time_base = stream, Fraction(1, 25)
                output.mux(packet)
    return path


def test_a_picture_that_turns_monstrous_on_the_way_is_not_decoded(tmp_path):
    set_limits(picture_pixels=100_000)
    path = size_changes(tmp_path, 600, 800)
    with pytest.warns(UserWarning, match="undecodable"), open_video(path) as reader:
        assert tuple(reader.read_at([0.0, 0.04]).frames.shape) == (2, 48, 64, 3)
    set_limits(picture_pixels=1_000_000)
    with pytest.warns(UserWarning, match="size changes on the way, to 800x600"), open_video(path) as reader:
        assert tuple(reader.read_at([0.0, 0.04]).frames.shape) == (2, 48, 64, 3)


# Clips -------------------------------------------------------------------------------------------------------------


class Decoder:
    """As torchcodec's: says much, decodes nothing."""

    class metadata:
        width, height, num_frames, duration_seconds = 4000, 4000, 10**6, 10**5

    def get_frames_at(self, _: list) -> None:
        raise AssertionError("asked for before it was refused")

    get_frames_played_at = get_frames_at


CLIPS: dict[str, Callable] = {
    "a file": lambda path: open_video(path).read_at(np.arange(40) / 24),
    "all frames of a file": lambda path: ZSARVideoProcessor(do_sample_frames=False)(path),
    "an array": lambda _: open_video(np.zeros((50, 128, 160, 3), np.uint8), fps=1).read_at(np.arange(40)),
    "a list of one picture": lambda _: open_video([Image.new("RGB", (160, 128))] * 40),
    "a list of one array": lambda _: open_video([np.zeros((128, 160, 3), np.uint8)] * 40),
    "an array that repeats its memory": lambda _: open_video(np.broadcast_to(np.uint8(0), (40, 128, 160, 3))),
    "a tensor that repeats its memory": lambda _: open_video(torch.zeros(1, 3, 1, 1).expand(40, 3, 128, 160)),
    "views of an array": lambda _: open_video(
        np.lib.stride_tricks.as_strided(np.zeros(128 * 160 * 3 + 40, np.uint8), (40, 128, 160, 3), (1, 480, 3, 1))
    ),
    "a decoder": lambda _: open_video(Decoder()).read_at([0.0]),
    "a decoder by number": lambda _: open_video(Decoder()).read_indices([0]),
    "the frames of a window": lambda path: next(open_video(path).windows(2.0, num_frames=40)),
    "windows that overlap": lambda path: next(open_video(path).windows(1.0, 0.05, num_frames=8)),
    "windows of a camera": lambda _: next(
        open_video(itertools.repeat(np.zeros((128, 160, 3), np.uint8)), fps=10).windows(60.0, 1.0, num_frames=2)
    ),
}


@pytest.mark.parametrize("name", CLIPS)
def test_a_clip_is_held_to_its_pixels(synthetic, name):
    set_limits(clip_pixels=30 * 128 * 160)
    with pytest.raises(VideoReadError, match="more than clip_pixels allows"):
        CLIPS[name](synthetic("h264.mp4"))
    if not name.startswith("a decoder"):
        set_limits(clip_pixels=100 * 128 * 160)
        CLIPS[name](synthetic("h264.mp4"))


def test_frames_that_are_there_need_no_leave():
    set_limits(clip_pixels=1000)
    frames = torch.zeros(9, 3, 30, 40, dtype=torch.uint8)
    assert len(open_video(frames).read_at(range(9))) == len(open_video(frames[::2]).read_at(range(5))) + 4 == 9


def test_decoding_ends_at_its_limit(synthetic):
    set_limits(decoded_pixels=30 * 128 * 160)
    with open_video(synthetic("one_gop.mp4")) as reader:
        assert len(reader.read_at([0.5])) == 1
        with pytest.raises(VideoReadError, match=r"one_gop\.mp4: too much to decode.*decoded_pixels"):
            list(reader.iter_frames())
    with open_video(synthetic("h264.mkv").open("rb")) as file, pytest.raises(VideoReadError, match="decoded_pixels"):
        list(file.windows(0.1))


# Numbers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"num_frames": 10**9},
        {"num_frames": 1000, "num_views": 1000},
        {"fps": 1e9, "sampling_options": {"max_frames": 10**9}},
        {"fps": 1e300, "sampling_options": {"max_frames": 10**9}},
        {"sampling": "bike_dense", "num_views": 10**8},
        {"sampling": "slowfast", "num_frames": 10**8},
    ],
)
def test_more_frames_than_a_clip_may_have(synthetic, options):
    with pytest.raises(ValueError, match="clip_frames"):
        ZSARVideoProcessor(**options)(synthetic("h264.mp4"))


def test_every_sampler_is_held_to_the_frames_of_a_clip():
    set_limits(clip_frames=7)
    for name, sampler in SAMPLERS.items():
        options = {"fps": 4.0} if name == "fps" else {}
        if sampler.is_random:
            options["generator"] = 0
        with pytest.raises(ValueError, match="clip_frames"):
            sampler(30, 8, **options)


@pytest.mark.parametrize("options", [{"size": 10**6}, {"size": (10**6, 10)}, {"crop_size": 10**6}, {"num_crops": 3}])
@pytest.mark.parametrize("antialias", [True, False])
def test_pictures_are_not_resized_or_cropped_to_anything(options, antialias):
    set_limits(value_pixels=2 * 256 * 448 - 1)
    with pytest.raises(ValueError, match="value_pixels"):
        ZSARVideoProcessor(num_frames=2, antialias=antialias, **options)(np.zeros((2, 256, 448, 3), np.uint8))


def test_large_clips_become_floats_one_by_one(monkeypatch):
    frames = torch.from_numpy(np.stack([frame_picture(number, 64, 80) for number in range(3)])).permute(0, 3, 1, 2)
    expected = video_transforms.resize(frames, {"shortest_edge": 24}, antialias=False)
    monkeypatch.setattr(video_transforms, "FLOAT_AT_ONCE", 1000)
    assert (video_transforms.resize(frames, {"shortest_edge": 24}, antialias=False) == expected).all()


@pytest.mark.parametrize(("window", "stride"), [(1e-6, None), (1.0, 1e-9), (0.5, 1e-300), (1e-5, 1e-5)])
def test_a_file_has_no_million_windows(synthetic, window, stride):
    with open_video(synthetic("h264.mp4")) as reader, pytest.raises(VideoReadError, match="more than windows allows"):
        reader.windows(window, stride)


def test_a_stream_has_no_million_windows_at_a_time():
    pictures = itertools.repeat(np.zeros((8, 8, 3), np.uint8))
    with open_video(pictures, fps=30) as reader, pytest.raises(VideoReadError, match="more than windows allows"):
        reader.windows(1e12, 1.0)


def test_a_long_video_may_have_more_windows_where_they_are_wanted(tmp_path):
    path = write_video(tmp_path / "slow.mp4", 4, pts=[0, 3000, 6000, 9000], time_base=Fraction(1, 1))
    set_limits(windows=8000)
    with open_video(path) as reader:
        with pytest.raises(VideoReadError, match="windows of 1 s, every 1 s: 9,001, more than windows allows"):
            reader.windows(1.0)
        set_limits(windows=9001)
        assert sum(1 for _ in reader.windows(1.0, num_frames=1)) == 9001


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_lengths_and_times_are_numbers(synthetic, bad):
    with open_video(synthetic("h264.mp4")) as reader:
        with pytest.raises(ValueError, match="must be positive"):
            reader.windows(bad)
        with pytest.raises(ValueError, match="must be positive"):
            reader.windows(1.0, bad)
        with pytest.raises(VideoReadError, match="is not a time"):
            reader.read_at([bad])


def test_an_index_of_more_frames_than_bytes_is_refused(synthetic, monkeypatch):
    """A few bytes can claim millions of frames, which would be looked at one by one."""
    monkeypatch.setattr(MediaFile, "index", range(10**9))
    with pytest.raises(VideoReadError, match="its index lists more frames than it has bytes"):
        open_video(synthetic("h264.mp4"))
