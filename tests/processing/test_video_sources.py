"""Every form in which a video may come gives the same frames; everything else gives one clear error."""

from __future__ import annotations

import io
import pathlib
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image

from hf_zsar.processing.video_reading import VideoReadError, open_video
from hf_zsar.processing.video_sources import as_frames
from tests.videos import frame_number, frame_picture


TIMES = [0.1, 0.9, 1.7]


class Pipe(io.RawIOBase):
    """A file object that only reads forward."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, target) -> int:
        return self._inner.readinto(target)


class BareFile:
    """The least that is a file: no seek, no name."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(size)


ENCODED = {
    "str": str,
    "pathlib": lambda path: path,
    "bytes": lambda path: path.read_bytes(),
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "open file": lambda path: path.open("rb"),
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "pipe": lambda path: Pipe(path.read_bytes()),
    "bare file": lambda path: BareFile(path.read_bytes()),
    "dict of bytes": lambda path: {"path": None, "bytes": path.read_bytes()},
    "dict of both": lambda path: {"path": "elsewhere/gone.mp4", "bytes": path.read_bytes()},
    "dict of path": lambda path: {"path": str(path), "bytes": None},
}


@pytest.mark.parametrize("form", ENCODED)
@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "mpeg4_b.avi"])
def test_encoded_forms(synthetic, form, name):
    with open_video(synthetic(name)) as reader:
        expected = reader.read_at(TIMES)
    with open_video(ENCODED[form](synthetic(name))) as reader:
        clip = reader.read_at(TIMES)
        assert reader.duration == expected.info.duration
    assert (clip.frames == expected.frames).all()
    assert (clip.timestamps, clip.indices) == (expected.timestamps, expected.indices)


def test_a_file_object_stays_open_and_readable_again(synthetic):
    with synthetic("h264.mp4").open("rb") as file:
        for _ in range(2):
            with open_video(file) as reader:
                assert frame_number(reader.read_at([1.0]).frames[0]) == 24
        assert not file.closed


DECODED = {
    "array THWC": lambda frames: frames.numpy(),
    "array TCHW": lambda frames: frames.permute(0, 3, 1, 2).numpy(),
    "tensor THWC": lambda frames: frames,
    "tensor TCHW": lambda frames: frames.permute(0, 3, 1, 2),
    "float tensor": lambda frames: frames.double() / 255,
    "float array": lambda frames: (frames.permute(0, 3, 1, 2).float() / 255).numpy(),
    "PIL list": lambda frames: [Image.fromarray(frame.numpy()) for frame in frames],
    "PIL tuple": lambda frames: tuple(Image.fromarray(frame.numpy()) for frame in frames),
    "array list": lambda frames: list(frames.numpy()),
    "tensor list": lambda frames: list(frames.permute(0, 3, 1, 2)),
}


@pytest.mark.parametrize("form", DECODED)
def test_decoded_forms(form):
    frames = torch.stack([torch.from_numpy(frame_picture(number, 24, 40)) for number in range(9)])
    with open_video(DECODED[form](frames), fps=10) as reader:
        assert (reader.info.num_frames, reader.info.height, reader.info.width) == (9, 24, 40)
        clip = reader.read_at([0.0, 0.29, 0.3, 5.0])
        assert clip.indices == [0, 2, 3, 8] and clip.timestamps == pytest.approx([0.0, 0.2, 0.3, 0.8])
        assert clip.frames.dtype == torch.uint8 and (clip.frames == frames[clip.indices]).all()
        assert [frame_number(p) for _, p in reader.iter_frames()] == [frame_number(p) for p in frames]


def test_gray_and_palette_pictures_become_rgb():
    pictures = [Image.new(mode, (6, 4), 1) for mode in ("L", "P", "RGBA", "1", "CMYK")]
    with open_video(pictures) as reader:
        assert tuple(reader.read_at([0.0]).frames.shape) == (1, 4, 6, 3)


class TorchcodecStandIn:
    """The part of torchcodec's `VideoDecoder` that is used, over frames at 10 a second starting at 3 s."""

    def __init__(self, channels_first: bool) -> None:
        frames = torch.stack([torch.from_numpy(frame_picture(number, 24, 40)) for number in range(9)])
        self.data = frames.permute(0, 3, 1, 2) if channels_first else frames
        self.metadata = SimpleNamespace(
            begin_stream_seconds=3.0, end_stream_seconds=3.9, num_frames=9, width=40, height=24, codec="h264"
        )

    def get_frames_at(self, indices):
        return SimpleNamespace(
            data=self.data[indices], pts_seconds=torch.tensor(indices, dtype=torch.float64) / 10 + 3
        )

    def get_frames_in_range(self, start, stop):
        return self.get_frames_at(list(range(start, stop)))

    def get_frames_played_at(self, seconds):
        if not all(3.0 <= second < 3.9 for second in seconds):
            raise RuntimeError("Invalid pts in seconds")
        return self.get_frames_at([int((second - 3) * 10 + 1e-9) for second in seconds])


@pytest.mark.parametrize("channels_first", [True, False])
def test_an_open_decoder(channels_first):
    decoder = TorchcodecStandIn(channels_first)
    with open_video(decoder) as reader:
        assert reader.duration == pytest.approx(0.9) and reader.info.fps == pytest.approx(10)
        assert np.allclose(reader.timestamps, np.arange(9) / 10)
        assert reader.read_at([-1.0, 0.0, 0.35, 99.0]).indices == [0, 0, 3, 8]
        assert [frame_number(p) for p in reader.read_indices([2, 8]).frames] == [2, 8]
        assert len(list(reader.iter_frames())) == 9
        windows = list(reader.windows(0.4, num_frames=2))
        assert [window.clip.indices for window in windows] == [[1, 3], [5, 7], [8, 8]]


def test_an_empty_file_is_called_empty(tmp_path):
    (tmp_path / "a.mp4").touch()
    with pytest.raises(VideoReadError, match=r"a\.mp4: empty \(0 bytes\)"):
        open_video(tmp_path / "a.mp4")


def test_torchcodec_itself(synthetic):
    decoders = pytest.importorskip("torchcodec.decoders", exc_type=(ImportError, RuntimeError, OSError))
    with open_video(synthetic("h264.mp4")) as ours, open_video(decoders.VideoDecoder(synthetic("h264.mp4"))) as theirs:
        expected, clip = ours.read_at(TIMES), theirs.read_at(TIMES)
    assert (clip.frames == expected.frames).all() and clip.indices == expected.indices


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no/such/clip.mp4", "no/such/clip.mp4: no such file"),
        (pathlib.Path("."), "a folder"),
        (b"", "bytes: empty"),
        (b"no video at all", "bytes: not a readable video"),
        (io.BytesIO(), "BytesIO object: not a readable video"),
        ({}, "`bytes` or `path`"),
        ({"path": None, "bytes": None}, "`bytes` or `path`"),
        ({"path": "gone.mp4"}, "gone.mp4: no such file"),
        ([], "no frames"),
        ([1, 2], "int"),
        (["a.mp4", "b.mp4"], "str"),
        (3, "int"),
        (None, "NoneType"),
        (np.zeros((2, 4, 4), np.uint8), r"\[2, 4, 4\]"),
        (np.zeros((0, 4, 4, 3), np.uint8), "no frames"),
        (np.zeros((2, 4, 4, 4), np.uint8), r"\[2, 4, 4, 4\]"),
        (np.zeros((2, 4, 4, 3), np.int64), "int64"),
        (np.full((2, 4, 4, 3), 2.0), "0..1"),
        (np.full((2, 4, 4, 3), np.nan), "0..1"),
        (np.full((2, 4, 4, 3), "x"), "dtype"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)], "differ in size"),
        ([Image.new("RGB", (4, 4)), Image.new("RGB", (4, 5))], "differ in size"),
        ("concat:a.mp4|b.mp4", "no such file"),
        ("file:/etc/hostname", "no such file"),
    ],
)
def test_errors(source, message):
    with pytest.raises(VideoReadError, match=message):
        open_video(source)


def test_pipes_and_devices_by_name_cannot_block(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoReadError, match="a pipe or device"):
        open_video(tmp_path / "pipe.mp4")


def test_a_file_that_may_not_be_read(synthetic, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refused)
    with pytest.raises(VideoReadError, match=r"h264.mp4: cannot be read \(Permission denied"):
        open_video(str(synthetic("h264.mp4")))


def test_a_closed_file_object(synthetic):
    with synthetic("h264.mp4").open("rb") as file:
        pass
    with pytest.raises(VideoReadError, match="cannot be read"):
        open_video(file)


def test_a_file_object_is_read_from_its_start(synthetic):
    with synthetic("h264.mp4").open("rb") as file:
        file.seek(1000)
        with open_video(file) as reader:
            assert reader.info.num_frames == 48


def test_protocol_names_are_file_names(synthetic, tmp_path, monkeypatch):
    """A file may be called like a protocol of FFmpeg, and is read as a file."""
    (tmp_path / "concat:x").write_bytes(synthetic("h264.mp4").read_bytes())
    monkeypatch.chdir(tmp_path)
    with open_video("concat:x") as reader:
        assert reader.info.num_frames == 48


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nother.ts\n#EXT-X-ENDLIST\n"),
        ("list.ffconcat", "ffconcat version 1.0\nfile other.ts\n"),
    ],
)
def test_a_playlist_cannot_lead_to_other_files(synthetic, tmp_path, name, text):
    """FFmpeg follows these; a hostile one would name any file or address."""
    (tmp_path / "other.ts").write_bytes(synthetic("h264.ts").read_bytes())
    (tmp_path / name).write_text(text)
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.video, "left alone, FFmpeg reads the other file"
    for source in (tmp_path / name, text.encode()):
        with pytest.raises(VideoReadError, match="not a readable video"):
            open_video(source)


def test_closing_twice_and_after_an_error(synthetic):
    reader = open_video(synthetic("h264.mp4"))
    reader.close()
    reader.close()


def test_no_file_is_left_open(synthetic):
    folder = pathlib.Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("this system does not list open files")
    path = str(synthetic("h264.mp4"))

    def still_open() -> int:
        return sum(path == str(each.resolve()) for each in folder.iterdir() if each.exists())

    for _ in range(3):
        with open_video(path) as reader:
            reader.read_at(TIMES)
        assert still_open() == 0
    with pytest.raises(RuntimeError, match="stop"), open_video(path) as reader:
        raise RuntimeError("stop")
    assert still_open() == 0


FRAMES = np.arange(3 * 4 * 5 * 3, dtype=np.uint8).reshape(3, 4, 5, 3)


@pytest.mark.parametrize(
    "frames",
    [(FRAMES / 255).astype(">f4"), FRAMES.astype(">u1"), [(frame / 255).astype(">f8") for frame in FRAMES], FRAMES[:]],
    ids=["big-endian", "big-endian bytes", "a list of big-endian", "a view"],
)
def test_arrays_of_any_byte_order(frames):
    assert (as_frames(frames).numpy() == FRAMES).all()


@pytest.mark.parametrize(
    ("frames", "kind"),
    [
        (torch.from_numpy(FRAMES.copy()).to_sparse(), "sparse"),
        (torch.zeros(3, 4, 5, 3, device="meta"), "meta"),
        ([torch.zeros(4, 5, 3, device="meta")] * 2, "meta"),
        (torch.rand(3, 4, 5, 3).to(torch.complex64), "complex"),
        (FRAMES.astype(np.longdouble), "dtype float"),
        (np.zeros((3, 4, 5, 3), dtype=[("r", "u1")]), "dtype"),
        ([FRAMES[0], torch.rand(4, 5, 3)], "differ in type: torch.float32, torch.uint8"),
    ],
    ids=["sparse", "meta", "a list of meta", "complex", "long double", "records", "mixed"],
)
def test_arrays_without_plain_values_are_refused_in_words(frames, kind):
    with pytest.raises(VideoReadError, match=kind):
        as_frames(frames)
