"""Pictures that change size on the way, codecs without a decoder, several video streams in one file."""

from __future__ import annotations

import io
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from hf_zsar.processing.video_processing_zsar import ZSARVideoProcessor
from hf_zsar.processing.video_reader import copy_picture
from hf_zsar.processing.video_reading import VideoReadError, VideoReadWarning, open_video
from tests.processing.test_video_sources import BareFile
from tests.videos import frame_number, frame_picture, write_video


PART = 24
VP = {"deadline": "realtime", "cpu-used": "8"}
CHANGES = {
    "browser recording.webm": {"codec": "libvpx", "options": VP, "bit_rate": 500_000},
    "vp9.webm": {"codec": "libvpx-vp9", "options": VP, "bit_rate": 500_000},
    "h264.ts": {"codec": "libx264"},
    "h264.mkv": {"codec": "libx264", "options": {"bf": "0", "x264-params": "repeat-headers=1"}},
    "mpeg2.ts": {"codec": "mpeg2video"},
    "motion.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
}


def changing(path: Path, sizes: list[tuple[int, int]], codec: str, pix_fmt: str = "yuv420p", **options) -> Path:
    """A second of frames of each size (height, width), numbered from 0, in one stream."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=PART)
        stream.height, stream.width, stream.pix_fmt = *sizes[0], pix_fmt
        packets = []
        for part, (height, width) in enumerate(sizes):
            encoder = av.CodecContext.create(codec, "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, pix_fmt
            encoder.time_base, encoder.framerate, encoder.gop_size = Fraction(1, PART), PART, 12
            encoder.bit_rate, encoder.options = options.get("bit_rate", 2_000_000), options.get("options", {})
            for number in range(part * PART, (part + 1) * PART):
                frame = av.VideoFrame.from_ndarray(frame_picture(number, height, width), format="rgb24")
                frame.pts = number
                packets += encoder.encode(frame)
            packets += encoder.encode(None)
        for packet in packets:
            packet.stream, packet.time_base = stream, Fraction(1, PART)
            output.mux(packet)
    return path


@pytest.mark.parametrize("sizes", [[(64, 80), (128, 160)], [(128, 160), (96, 64), (128, 160)]], ids=["grows", "turns"])
@pytest.mark.parametrize("name", CHANGES)
def test_all_pictures_have_the_size_of_the_first(tmp_path, name, sizes):
    path = changing(tmp_path / name, sizes, **CHANGES[name])
    seconds, shape = len(sizes), (*sizes[0], 3)
    wanted = [(place + 0.5) * seconds / 6 for place in range(6)]
    with warnings.catch_warnings(record=True) as caught, open_video(path) as reader:
        warnings.simplefilter("always")
        late = reader.read_at([seconds - 1.2])  # the first that is asked for has another size than the first there is
        assert tuple(late.frames.shape[1:]) == shape == (late.info.height, late.info.width, 3)
        clip = reader.read_at(np.array(wanted) + reader.clock_tick)
        assert tuple(clip.frames.shape[1:]) == shape
        numbers = [frame_number(picture) for picture in clip.frames]
        assert numbers == clip.indices == [int(time * PART + 0.01) for time in wanted]
        windows = [each.clip.frames[0] for each in reader.windows(seconds / 6, num_frames=1)]
        assert [frame_number(picture) for picture in windows] == numbers
        assert {tuple(picture.shape) for _, picture in reader.iter_frames()} == {shape}
        assert tuple(reader.read_at(wanted, mode="keyframe").frames.shape[1:]) == shape
    (what,) = [str(each.message) for each in caught if "size changes" in str(each.message)]
    assert f"on the way, to {sizes[1][1]}x{sizes[1][0]}; all pictures are scaled to the size of the first" in what
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VideoReadWarning)
        with open_video(BareFile(path.read_bytes())) as stream:
            live = [each.clip.frames[0] for each in stream.windows(seconds / 6, num_frames=1)]
        assert (np.stack(live[:6]) == np.stack(windows)).all()
        assert ZSARVideoProcessor(num_frames=4, size=32, crop_size=32)(path)["pixel_values_videos"].shape[1] == 4


def test_a_turned_picture_is_scaled_as_it_is_seen(tmp_path):
    """The container turns all pictures by 90 degrees; the size of the first counts as it is shown."""
    upright = changing(tmp_path / "upright.mkv", [(64, 80), (128, 160)], **CHANGES["h264.mkv"])
    with av.open(str(upright)) as source, av.open(str(tmp_path / "turned.mp4"), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        stream.set_display_matrix([0, -(1 << 16), 0, 1 << 16, 0, 0, 0, 0, 1 << 30])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    with (
        pytest.warns(VideoReadWarning, match="size of the first, 64x80"),
        open_video(tmp_path / "turned.mp4") as reader,
    ):
        frames = reader.read_at([0.5, 1.5]).frames
        assert reader.info.rotation in (90, 270) and tuple(frames.shape) == (2, 80, 64, 3)
        assert [frame_number(np.rot90(each, -reader.info.rotation // 90)) for each in frames] == [12, 36]


def test_colors_that_cannot_be_converted_are_told(tmp_path):
    path = write_video(tmp_path / "a.mp4", 6, options={"x264-params": "colormatrix=smpte2085"})
    with pytest.warns(VideoReadWarning, match="colors cannot be converted"), open_video(path) as reader:
        assert [frame_number(picture) for picture in reader.read_at([0.0, 0.2]).frames] == [0, 4]


def test_a_picture_of_another_size_has_no_place():
    with pytest.raises(VideoReadError, match=r"a.mp4: the picture size changes from \(4, 6, 3\) to \(1, 1, 3\)"):
        copy_picture("a.mp4", np.ones((1, 1, 3), np.uint8), np.zeros((4, 6, 3), np.uint8))


def test_a_file_of_one_size_is_not_warned_of(tmp_path):
    """Whatever its header says: the first picture decides."""
    data = bytearray(write_video(tmp_path / "a.mp4", 6, height=128, width=160).read_bytes())
    place = data.index(b"avc1", data.index(b"stsd")) + 28
    data[place : place + 4] = (320).to_bytes(2, "big") + (256).to_bytes(2, "big")
    with warnings.catch_warnings(), open_video(bytes(data)) as reader:
        warnings.simplefilter("error")
        assert tuple(reader.read_at([0.1, 0.2]).frames.shape[1:]) == (128, 160, 3)
        assert (reader.info.width, reader.info.height) == (160, 128)


# Decoders ----------------------------------------------------------------------------------------------------------


def encoded(container: str, codec: str = "libx264") -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=container) as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(5):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame_picture(number, 48, 64), format="rgb24")))
        output.mux(stream.encode(None))
    return out.getvalue()


@pytest.mark.parametrize(
    ("container", "codec", "known", "unknown", "name"),
    [
        ("mp4", "libx264", b"avc1", b"zzzz", "zzzz"),
        ("mov", "libx264", b"avc1", b"\x00q\xffz", r"\\x00q\\xffz"),
        ("matroska", "libx264", b"V_MPEG4/ISO/AVC", b"V_OF/TOMORROW/2", "V_OF/TOMORROW/2"),
        ("webm", "libvpx", b"V_VP8", b"V_VPX", "V_VPX"),
        ("avi", "mpeg4", b"FMP4", b"ZYX9", "ZYX9"),
        ("asf", "wmv2", b"WMV2", b"WMVX", "WMVX"),
    ],
)
def test_a_codec_without_a_decoder_is_named(container, codec, known, unknown, name):
    data = encoded(container, codec).replace(known, unknown)
    for source in (data, io.BytesIO(data)):
        with pytest.raises(VideoReadError, match=f"no decoder for its video codec, {name}") as caught:
            open_video(source)
        assert "audio" not in str(caught.value)


def test_without_a_name_it_still_is_no_decoder():
    data, place = bytearray(encoded("flv", "flv")), 13
    while place + 11 < len(data):
        if data[place] == 9:
            data[place + 11] |= 15
        place += 15 + int.from_bytes(data[place + 1 : place + 4], "big")
    with pytest.raises(VideoReadError) as caught:
        open_video(bytes(data))
    assert "audio only" not in str(caught.value)


def two_streams(path: Path, **dispositions) -> Path:
    with av.open(str(path), "w") as output:
        streams = [output.add_stream(codec, rate=25) for codec in ("mpeg4", "libx264")]
        for stream, size in zip(streams, [(48, 64), (128, 160)], strict=True):
            stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for number in range(10):
            for stream in streams:
                picture = frame_picture(number, stream.height, stream.width)
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        for stream in streams:
            output.mux(stream.encode(None))
    return path


def test_the_first_of_several_video_streams_is_read(tmp_path):
    path = two_streams(tmp_path / "two.mkv")
    with warnings.catch_warnings(), open_video(path) as reader:
        warnings.simplefilter("error")
        assert reader.info.codec == "mpeg4" and reader.info.width == 64


def test_the_first_that_can_be_decoded_is_read_and_the_other_named(tmp_path):
    path = two_streams(tmp_path / "two.mkv")
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/ASP", b"V_MPEG4/ISO/XYZ"))
    words = "no decoder for its video codec, V_MPEG4/ISO/XYZ; another video stream is read"
    with pytest.warns(VideoReadWarning, match=words), open_video(path) as reader:
        assert frame_number(reader.read_at([0.2]).frames[0]) == 5
        assert reader.info.codec == "h264"


def test_a_cover_picture_is_no_video(tmp_path):
    with av.open(str(tmp_path / "song.mp4"), "w") as output:
        sound = output.add_stream("aac", rate=8000)
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        output.mux(cover.encode(av.VideoFrame.from_ndarray(frame_picture(0, 48, 64), format="rgb24")))
        output.mux(cover.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        output.mux([*sound.encode(silence), *sound.encode(None)])
    with pytest.raises(VideoReadError, match=r"no video stream \(audio only and a cover picture\)"):
        open_video(tmp_path / "song.mp4")
