"""The small reader of exports with code gives the frames of the exact one, where clock and packets are in order."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_zsar.processing import optional_parts, video_reading
from hf_zsar.processing.limits import set_limits
from hf_zsar.processing.video_plain import PlainReader
from hf_zsar.processing.video_reading import VideoReadError, open_video
from hf_zsar.processing.video_sources import media_source
from tests.videos import frame_number, write_video


TIMES = [0.0, 0.31, 1.0, 1.72, 1.99, 5.0, 0.31]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    made = {name: write_video(folder / f"a.{name}", 20, fps=10) for name in ("mp4", "avi", "mkv", "mov")}
    damaged = folder / "damaged.avi"
    damaged.write_bytes(made["avi"].read_bytes()[: made["avi"].stat().st_size * 2 // 3])
    return {**made, "damaged": damaged}


def plain(source: object) -> PlainReader:
    return PlainReader(media_source(source))


@pytest.mark.parametrize("name", ["mp4", "avi", "mkv", "mov"])
def test_frames_are_those_of_the_exact_reader(clips: dict[str, Path], name: str) -> None:
    with open_video(clips[name]) as exact, plain(clips[name]) as small:
        expected, found = exact.read_at(TIMES), small.read_at(TIMES)
        assert torch.equal(found.frames, expected.frames)
        assert found.indices == expected.indices == [0, 3, 10, 17, 19, 19, 3]
        assert found.timestamps == pytest.approx(expected.timestamps, abs=1e-6)
        assert (small.info.num_frames, small.info.width, small.info.height) == (20, 160, 128)
        assert small.duration == pytest.approx(exact.duration, abs=1e-3)
        np.testing.assert_allclose(small.timestamps, exact.timestamps, atol=1e-6)
        assert [frame_number(frame) for _, frame in small.iter_frames()] == list(range(20))


def test_bytes_are_read_as_a_file_is(clips: dict[str, Path]) -> None:
    data = clips["mp4"].read_bytes()
    expected = plain(clips["mp4"]).read_at(TIMES).frames
    for source in (data, io.BytesIO(data)):
        assert torch.equal(plain(source).read_at(TIMES).frames, expected)


def test_a_file_that_breaks_off_gives_what_there_is(clips: dict[str, Path]) -> None:
    found = plain(clips["damaged"]).read_at([0.0, 1.9])
    assert frame_number(found.frames[0]) == 0 and 0 < frame_number(found.frames[1]) < 19


def test_what_cannot_be_read_is_refused(clips: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "text.mp4"
    broken.write_text("no video")
    with pytest.raises(VideoReadError, match="text.mp4: not a readable video"):
        plain(broken)
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXTINF:1,\n{clips['mp4']}\n#EXT-X-ENDLIST\n")
    with pytest.raises(VideoReadError, match="not a readable video"):
        plain(playlist)


def test_limits_hold(clips: dict[str, Path]) -> None:
    for name in ("picture_pixels", "decoded_pixels", "clip_pixels"):
        before = set_limits(**{name: 128 * 160 * 2 if name != "picture_pixels" else 100})
        try:
            with pytest.raises(VideoReadError, match=name):
                plain(clips["mp4"]).read_at(TIMES)
        finally:
            set_limits(**{name: getattr(before, name)})


def test_without_the_other_files_it_takes_their_place(clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an export: files are read; a URL, a pipe or an archive says what is missing."""
    for module in (optional_parts, video_reading):
        monkeypatch.setattr(module, "part", lambda name: None)
    with open_video(clips["mp4"]) as reader:
        assert isinstance(reader, PlainReader)
        assert frame_number(reader.read_at([1.0]).frames[0]) == 10
    for source in ("http://example.org/a.mp4", {"path": "zip://a.mp4::b.zip"}, iter([np.zeros((4, 4, 3), np.uint8)])):
        with pytest.raises(VideoReadError, match="pip install hf-zsar|no such file"):
            open_video(source)
