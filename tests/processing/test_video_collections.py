"""What is one video and what a collection of them: the same for the pipeline and the video processor."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hf_zsar import pipeline_zero_shot_video_classification as pipelines
from hf_zsar.processing.video_processing_zsar import ZSARVideoProcessor
from hf_zsar.processing.video_reading import VideoReadError, open_video
from hf_zsar.processing.video_sources import is_one_video


FRAME = np.zeros((4, 6, 3), np.uint8)
PICTURE = Image.fromarray(FRAME)


def test_pipeline_and_processor_share_the_definition():
    assert pipelines.is_one_video is ZSARVideoProcessor.is_one_video is is_one_video


ONE: dict[str, Any] = {
    "path": "a.mp4",
    "pathlib": Path("a.mp4"),
    "numpy string": np.str_("a.mp4"),
    "bytes": b"x",
    "memoryview": memoryview(b"x"),
    "row": {"path": "a.mp4", "bytes": None},
    "file": io.BytesIO(b"x"),
    "array": FRAME[None],
    "tensor": torch.from_numpy(FRAME)[None],
    "list of pictures": [PICTURE, PICTURE],
    "tuple of pictures": (PICTURE,),
    "list of frames": [FRAME, FRAME],
    "list of tensors": [torch.from_numpy(FRAME)],
    "decoder": SimpleNamespace(get_frames_played_at=None),
    "reader": SimpleNamespace(read_at=None),
}


def pandas_column(values: list) -> Any:
    return pytest.importorskip("pandas").Series(values)


def datasets_column(values: list) -> Any:
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_dict({"video": values})["video"]


class KeyDataset(torch.utils.data.Dataset):
    """As transformers': a length and items, no iterator."""

    def __init__(self, values: list) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, place: int) -> Any:
        return self.values[place]


COLLECTIONS: dict[str, Callable[[list], Any]] = {
    "list": list,
    "tuple": tuple,
    "generator": lambda values: (value for value in values),
    "iterator": iter,
    "map": lambda values: map(str, values),
    "dict values": lambda values: dict(enumerate(values)).values(),
    "array of strings": np.array,
    "array of objects": lambda values: np.array(values, dtype=object),
    "pandas.Series": pandas_column,
    "pandas.Series of strings": lambda values: pandas_column(values).astype("string"),
    "pandas.Series of categories": lambda values: pandas_column(values).astype("category"),
    "pandas.Index": lambda values: pytest.importorskip("pandas").Index(values),
    "pandas array": lambda values: pandas_column(values).array,
    "datasets.Column": datasets_column,
    "KeyDataset": KeyDataset,
    "generic series": lambda values: SimpleSeries(values),
}


class SimpleSeries(list):
    """A column of another library, with a shape and types of its own."""

    dtype = "String"

    @property
    def shape(self) -> tuple[int]:
        return (len(self),)


@pytest.mark.parametrize("name", ONE)
def test_one_video(name):
    assert is_one_video(ONE[name])


@pytest.mark.parametrize("name", COLLECTIONS)
def test_a_collection_is_read_one_by_one(synthetic, name):
    paths = [str(synthetic("h264.mp4")), str(synthetic("h264.mkv"))]
    assert not is_one_video(COLLECTIONS[name](paths))
    processor = ZSARVideoProcessor(num_frames=2, size=16, crop_size=16)
    expected = processor(paths)["pixel_values_videos"]
    assert expected.shape[0] == 2
    assert (processor(COLLECTIONS[name](paths))["pixel_values_videos"] == expected).all()


def test_rows_and_batches_of_arrays():
    processor = ZSARVideoProcessor(num_frames=2, size=4, crop_size=4)
    video = np.stack([FRAME] * 3)
    batches = [video[None], torch.from_numpy(video)[None], [video], [[PICTURE] * 3], pandas_column([video])]
    for batch in batches:
        assert not is_one_video(batch)
        assert processor(batch)["pixel_values_videos"].shape == (1, 2, 3, 4, 4)


NEITHER: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "number": lambda: 3,
    "float": lambda: 0.5,
    "numpy number": lambda: np.int64(3),
    "bool": lambda: True,
    "picture": lambda: PICTURE,
    "picture as array": lambda: FRAME,
    "picture as tensor": lambda: torch.from_numpy(FRAME),
    "numbers": lambda: np.arange(3),
    "tensor of numbers": lambda: torch.arange(3),
    "column of numbers": lambda: pandas_column([1, 2]),
    "gray picture": lambda: FRAME[..., 0],
    "array of nothing": lambda: np.array(None),
    "array of one string": lambda: np.array("a.mp4"),
    "table": lambda: pytest.importorskip("pandas").DataFrame({"video": ["a.mp4"]}),
    "data set": lambda: pytest.importorskip("datasets").Dataset.from_dict({"video": ["a.mp4"]}),
    "six axes": lambda: np.zeros((1, 1, 1, 2, 2, 3), np.uint8),
}


@pytest.mark.parametrize("name", NEITHER)
def test_neither_is_refused_at_once(name):
    with pytest.raises(ValueError, match="neither a video nor a collection of videos"):
        is_one_video(NEITHER[name]())
    with pytest.raises(VideoReadError, match="neither"):
        ZSARVideoProcessor()(NEITHER[name]())


def test_a_table_is_told_to_pass_a_column():
    for name in ("table", "data set"):
        with pytest.raises(ValueError, match="pass one of its columns"):
            is_one_video(NEITHER[name]())


def test_no_videos():
    for empty in ([], (), iter([]), np.array([], dtype=object), np.zeros((0, 2, 4, 4, 3), np.uint8)):
        with pytest.raises(VideoReadError, match="No videos"):
            ZSARVideoProcessor()(empty)


@pytest.mark.parametrize("wrong", [None, 3, PICTURE, float("nan"), ["a.mp4", "b.mp4"], {"video": "a.mp4"}])
def test_a_collection_of_something_else(wrong):
    with pytest.raises(VideoReadError):
        ZSARVideoProcessor()([wrong, "a.mp4"] if wrong is not PICTURE else iter([wrong]))


def test_frames_that_come_once_cannot_be_sampled_anywhere():
    with open_video(iter([FRAME])) as reader:
        with pytest.raises(VideoReadError, match="once and in order only"):
            reader.read_at([0.0])
        with pytest.raises(VideoReadError, match="once and in order only"):
            reader.timestamps  # noqa: B018


# Frames of other kinds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_pictures_of_eight_bits_are_converted(mode):
    picture = Image.new("RGB", (6, 4), (200, 200, 200)).convert(mode)
    frames = open_video([picture]).read_at([0.0]).frames
    assert tuple(frames.shape) == (1, 4, 6, 3)
    assert abs(int(frames.float().mean()) - (255 if mode == "1" else 200)) <= 60 * (mode in ("1", "P", "CMYK"))


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_pictures_of_more_bits_are_refused_as_arrays_are(mode):
    picture = Image.new(mode, (6, 4), 40_000)
    with pytest.raises(VideoReadError, match=f"more than 8 bits \\(mode {mode}\\)"):
        open_video([picture])
    with pytest.raises(VideoReadError, match="uint16"):
        open_video([np.full((4, 6, 3), 40_000, np.uint16)])


def test_pictures_of_floats_are_scaled_or_refused_as_arrays_are():
    half = Image.fromarray(np.full((4, 6), 0.5, np.float32))
    frames = open_video([half]).read_at([0.0]).frames
    assert (frames == open_video([np.full((4, 6, 3), 0.5)]).read_at([0.0]).frames).all()
    for wrong in (128.0, -1.0, float("nan")):
        with pytest.raises(VideoReadError, match=r"must lie in 0\.\.1"):
            open_video([Image.fromarray(np.full((4, 6), wrong, np.float32))])


def test_frames_of_different_types_are_refused():
    with pytest.raises(VideoReadError, match="differ in type"):
        open_video([FRAME, FRAME.astype(np.float32)])
    with pytest.raises(VideoReadError, match="differ in type"):
        open_video([PICTURE, Image.fromarray(np.zeros((4, 6), np.float32))])


def test_a_picture_that_does_not_decode(tmp_path):
    PICTURE.resize((60, 40)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    with pytest.raises(VideoReadError, match="no frames can be made of it"):
        open_video([Image.open(tmp_path / "a.png")])


VIDEO = np.zeros((2, 4, 6, 3), np.float32)


@pytest.mark.parametrize("kind", [">f4", ">f8", "<f4", ">f2"])
def test_floats_of_any_byte_order(kind):
    values = np.linspace(0, 1, 4 * 6 * 3, dtype=kind).reshape(1, 4, 6, 3)
    expected = open_video(values.astype(np.float32)).read_at([0.0]).frames
    assert (open_video(values).read_at([0.0]).frames == expected).all()
    assert (open_video(list(values)).read_at([0.0]).frames == expected).all()


STRANGE: dict[str, tuple[Callable[[], Any], str]] = {
    "big-endian integers": (lambda: VIDEO.astype(">u2"), "uint16"),
    "long double": (lambda: VIDEO.astype(np.longdouble), "dtype"),
    "complex": (lambda: VIDEO.astype(complex), "dtype complex128"),
    "bool": (lambda: VIDEO.astype(bool), "dtype bool"),
    "objects": (lambda: VIDEO.astype(object), "dtype object"),
    "records": (lambda: np.zeros((2, 4, 6, 3), [("a", "u1")]), "dtype"),
    "masked": (lambda: np.ma.masked_equal(VIDEO + np.eye(6, 3, dtype=np.float32), 1), "masked"),
    "meta": (lambda: torch.zeros(2, 4, 6, 3, device="meta"), "meta"),
    "sparse": (lambda: torch.zeros(2, 4, 6, 3).to_sparse(), "sparse_coo"),
    "list of sparse": (lambda: [torch.zeros(4, 6, 3).to_sparse()], "sparse_coo"),
    "compressed": (lambda: torch.zeros(4, 6).to_sparse_csr(), "sparse_csr"),
    "quantized": (lambda: torch.quantize_per_tensor(torch.zeros(2, 4, 6, 3), 0.1, 0, torch.quint8), "quantized"),
    "complex tensor": (lambda: torch.zeros(2, 4, 6, 3, dtype=torch.complex64), "complex64"),
    "bool tensor": (lambda: torch.zeros(2, 4, 6, 3, dtype=torch.bool), "bool"),
    "nested": (lambda: torch.nested.nested_tensor([torch.zeros(4, 6, 3)] * 2), "nested"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", STRANGE)
def test_arrays_and_tensors_that_are_no_plain_values(name):
    make, words = STRANGE[name]
    with pytest.raises(VideoReadError, match=words):
        open_video(make())
    with pytest.raises(VideoReadError):
        ZSARVideoProcessor()(make())
