"""Frames by time: bit for bit those of a full decode, whatever is skipped, sought or read in parts."""

from __future__ import annotations

import hashlib
import json
import random
import warnings
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from hf_zsar.processing import video_seeking, video_timeline
from hf_zsar.processing.video_container import MediaFile
from hf_zsar.processing.video_processing_zsar import ZSARVideoProcessor
from hf_zsar.processing.video_reading import VideoReadError, VideoReadWarning, open_video
from hf_zsar.processing.video_sources import media_source
from tests.processing.conftest import SYNTHETIC
from tests.processing.test_video_sources import BareFile
from tests.videos import frame_number, repeat_video, sequential_frames, write_video


def shown_at(times: np.ndarray, time: float) -> int:
    """The definition: the last frame at or before `time` (to the microsecond), else the first."""
    return max((index for index, each in enumerate(times) if each <= time + 1e-6), default=0)


def fingerprint(picture: np.ndarray) -> bytes:
    """Of the pixels; whole videos of pictures would fill the memory."""
    return hashlib.blake2b(np.ascontiguousarray(picture)).digest()


def assert_exact(path: Path, rounds: int = 4, seed: int = 0) -> None:
    truth = [fingerprint(picture) for _, picture in sequential_frames(path)]
    rng = random.Random(seed)
    with open_video(path, as_stored=True) as reader:
        times = reader.timestamps
        assert len(times) == len(truth)
        assert times[0] == 0 and (np.diff(times) >= 0).all() and reader.duration > times[-1]
        asked = [[(place + 0.5) * reader.duration / 8 for place in range(8)], list(times[:9])]
        asked += [
            [rng.uniform(-0.1, 1.1) * reader.duration for _ in range(rng.choice([1, 3, 9]))] for _ in range(rounds)
        ]
        for wanted in asked:
            clip = reader.read_at(wanted)
            assert len(clip) == len(clip.timestamps) == len(clip.indices) == len(wanted)
            for time, index, pixels in zip(wanted, clip.indices, clip.frames, strict=True):
                assert index == shown_at(times, time), (path.name, time)
                assert fingerprint(pixels.numpy()) == truth[index], (path.name, time, index)


def ok_files(folder: Path, key: str) -> list[Path]:
    rows = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))[key]
    return [folder / row["file"] for row in rows if row.get("expect", "ok") == "ok"]


@pytest.mark.parametrize("name", SYNTHETIC)
def test_sparse_frames_equal_a_full_decode(synthetic, name):
    assert_exact(synthetic(name))


@pytest.mark.parametrize("name", SYNTHETIC)
def test_frames_come_in_order_of_presentation(synthetic, name):
    with open_video(synthetic(name)) as reader:
        numbers = [frame_number(pixels) for _, pixels in reader.iter_frames()]
    assert numbers == list(range(SYNTHETIC[name].get("num_frames", 48)))


@pytest.mark.parametrize("part", range(4))
def test_real_clips_equal_a_full_decode(clips_dir, part):
    for path in ok_files(clips_dir, "clips")[part::4]:
        assert_exact(path, rounds=1)


def test_hard_files_equal_a_full_decode(hard_clips_dir):
    for path in ok_files(hard_clips_dir, "files"):
        assert_exact(path, rounds=2)


# How much is decoded ---------------------------------------------------------------------------------------------


@pytest.fixture
def decoded(monkeypatch) -> list:
    """Packets that went through a decoder; None stands for getting out what was still inside."""
    packets: list = []
    plain = video_seeking.MediaFile.decode

    def counted(self, packet):
        packets.append(packet)
        return plain(self, packet)

    monkeypatch.setattr(video_seeking.MediaFile, "decode", counted)
    return packets


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "hevc.mp4", "vp9.webm", "mpeg4.avi", "av1.mp4", "mjpeg.avi"])
def test_only_the_neighborhood_of_a_frame_is_decoded(synthetic, decoded, name):
    with open_video(synthetic(name)) as reader:
        clip = reader.read_at([26.5 / 24])
        assert frame_number(clip.frames[0]) == 26
    most = 1 if name.startswith("mjpeg") else 16
    assert len([packet for packet in decoded if packet is not None]) <= most, "key frames stand at every 12th frame"


@pytest.mark.parametrize("name", ["h264_intra_refresh.mp4", "mpeg4_b.avi", "animated.gif", "h264_raw.h264"])
def test_where_a_jump_proves_nothing_decoding_starts_at_the_start(synthetic, decoded, name):
    with open_video(synthetic(name)) as reader:
        clip = reader.read_at([reader.duration * 40.5 / 48])
    assert frame_number(clip.frames[0]) == 40
    assert len(decoded) >= 40


def test_pictures_that_nothing_refers_to_are_skipped_in_h264_only(synthetic, monkeypatch):
    seen: dict[str, set] = {}
    plain = video_seeking.MediaFile.decode
    for name in ("one_gop.mp4", "mpeg4.avi", "hevc.mp4"):

        def watched(self, packet, name=name):
            seen.setdefault(name, set()).add(str(self.codec.skip_frame))
            return plain(self, packet)

        monkeypatch.setattr(video_seeking.MediaFile, "decode", watched)
        with open_video(synthetic(name)) as reader:
            reader.read_at([1.9])
    assert seen == {"one_gop.mp4": {"NONREF", "DEFAULT"}, "mpeg4.avi": {"DEFAULT"}, "hevc.mp4": {"DEFAULT"}}


def test_an_unproven_plan_gives_way_to_sequential_decoding(synthetic, monkeypatch):
    monkeypatch.setattr(video_seeking, "opens_decoding", lambda media, packet: False)
    with open_video(synthetic("h264.mp4")) as reader:
        clip = reader.read_at([0.0, 1.0, 1.99])
    assert [frame_number(pixels) for pixels in clip.frames] == [0, 24, 47]


# Long files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("h264.mp4", "mp4"), ("h264.mp4", "mkv"), ("vp9.webm", "webm"), ("mpeg4.avi", "avi")],
)
def test_long_files_are_read_at_both_ends_only(synthetic, tmp_path, monkeypatch, name, suffix):
    long = repeat_video(synthetic(name), tmp_path / f"long.{suffix}", 40)
    with open_video(long) as whole:
        assert whole.info.exact
        expected = whole.read_at([3.21, 40.0, whole.duration - 0.01])
        duration, count = whole.duration, whole.info.num_frames
    monkeypatch.setattr(video_timeline, "LONG_PACKETS", 100)
    monkeypatch.setattr(video_timeline, "LONG_BYTES", 1000)
    read: list = []
    plain = video_seeking.MediaFile.packets

    def counted(self):
        for packet in plain(self):
            read.append(packet)
            yield packet

    monkeypatch.setattr(video_seeking.MediaFile, "packets", counted)
    with open_video(long) as reader:
        assert reader.duration == pytest.approx(duration, abs=1e-9)
        clip = reader.read_at([3.21, 40.0, reader.duration - 0.01])
        assert len(read) < 200, "most of the 1920 packets need not be read"
        assert reader.info.exact == (suffix == "avi"), "the index of an AVI lists every frame"
        assert reader.info.num_frames in (None, count)
        if suffix != "webm":  # whose times are rounded to milliseconds at every repetition
            assert clip.indices == expected.indices
        assert clip.timestamps == pytest.approx(expected.timestamps)
        assert (clip.frames == expected.frames).all()
        assert len(reader.timestamps) == count and reader.info.exact, "asking for all times reads through the file"


# Key frames --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "vp9.webm", "mpeg4.avi", "hevc.mp4"])
def test_keyframe_mode_gives_the_nearest_key_frames(synthetic, decoded, name):
    with open_video(synthetic(name)) as reader:
        exact = reader.read_at([0.0, 0.5, 1.5])
        decoded.clear()
        clip = reader.read_at([0.1, 0.6, 1.3], mode="keyframe")
    assert [frame_number(pixels) for pixels in clip.frames] == [0, 12, 36] == clip.indices
    assert (clip.frames == exact.frames).all(), "a key frame decoded alone is the same picture"
    assert len([packet for packet in decoded if packet is not None]) == 3


@pytest.mark.parametrize("name", ["one_gop.mp4", "animated.gif"])
def test_keyframe_mode_without_key_frames_to_choose_is_exact(synthetic, name):
    with open_video(synthetic(name)) as reader:
        clip = reader.read_at([0.5 * reader.duration], mode="keyframe")
    assert frame_number(clip.frames[0]) == 24


def test_unknown_mode(synthetic):
    with open_video(synthetic("h264.mp4")) as reader, pytest.raises(ValueError, match="exact or keyframe"):
        reader.read_at([0.0], mode="fast")


# Clock and numbers -------------------------------------------------------------------------------------------------


def test_variable_rate_goes_by_time(synthetic):
    with open_video(synthetic("variable_rate.mp4")) as reader:
        assert reader.timestamps == pytest.approx(np.array(SYNTHETIC["variable_rate.mp4"]["pts"]) / 100)
        clip = reader.read_at([0.0999, 0.1, 1.39, 1.4, 2.72])
    assert [frame_number(pixels) for pixels in clip.frames] == [0, 1, 11, 12, 29]


def test_times_count_from_the_first_frame(synthetic):
    with open_video(synthetic("h264.ts")) as reader:  # its clock starts at 1.4 s
        assert reader.timestamps[0] == 0
        assert [frame_number(p) for p in reader.read_at([0.0, 1.0]).frames] == [0, 24]


def test_frames_by_number(synthetic):
    with open_video(synthetic("h264.mkv")) as reader:
        clip = reader.read_indices([47, 0, 13, 13])
        assert [frame_number(pixels) for pixels in clip.frames] == [47, 0, 13, 13] == clip.indices
        for wrong in (48, -1):
            with pytest.raises(VideoReadError, match=f"no frame {wrong}"):
                reader.read_indices([wrong])


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_threads_change_nothing(synthetic, threads):
    path = synthetic("h264_open_gop.mp4")
    with open_video(path, thread_count=1) as reader:
        expected = reader.read_at(np.linspace(0, 2, 9))
    with open_video(path, thread_count=threads) as reader:
        assert (reader.read_at(np.linspace(0, 2, 9)).frames == expected.frames).all()


def test_info(synthetic):
    with open_video(synthetic("mpeg4.avi")) as reader:
        info = reader.info
    assert (info.num_frames, info.width, info.height, info.exact) == (48, 160, 128, True)
    assert (info.duration, info.fps, info.rotation) == (pytest.approx(2.0), pytest.approx(24.0), 0)
    assert (info.codec, info.container) == ("mpeg4", "avi")


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("h264.mp4", [0, 512, 256, None, 4000], [0, 512, 512, 1024, 4000]),
        ("mpeg4.avi", [1, 3, 2, 5, 4], [1, 2, 3, 4, 5]),
        ("h264_raw.h264", [None] * 3, [0, 50000, 100000]),
    ],
)
def test_times_never_fall(synthetic, monkeypatch, name, given, expected):
    """A clock that steps back is held; the guessed clock of an AVI is sorted; no clock counts frames."""
    media = MediaFile(media_source(synthetic(name)))
    monkeypatch.setattr(media, "_raw_frames", lambda: iter([SimpleNamespace(pts=each) for each in given]))
    assert [time for time, _ in media.frames()] == expected
    media.close()


# Pictures as a viewer sees them --------------------------------------------------------------------------------------

TURN = {0: (1, 0, 0, 1), 90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), 270: (0, 1, -1, 0)}


def matrix(a: int, b: int, c: int, d: int) -> list[int]:
    return [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]


@pytest.mark.parametrize("degrees", TURN)
def test_rotation_is_applied(tmp_path, degrees):
    path = write_video(tmp_path / "turned.mp4", 6, display_matrix=matrix(*TURN[degrees]))
    with open_video(path, as_stored=True) as reader:
        stored = reader.read_at([0.1]).frames[0].numpy()
    with open_video(path) as reader:
        seen = reader.read_at([0.1]).frames[0].numpy()
        assert reader.info.rotation == degrees
        assert (reader.info.height, reader.info.width) == seen.shape[:2]
    assert np.array_equal(seen, np.rot90(stored, degrees // 90)), "counter-clockwise"


def test_rotation_agrees_with_ffmpeg(hard_clips_dir):
    """The manifest names FFmpeg's own angle, -180..180 counter-clockwise."""
    rows = json.loads((hard_clips_dir / "manifest.json").read_text(encoding="utf-8"))["files"]
    turned = [row for row in rows if row["expect"] == "ok" and row["pyav"].get("rotation")]
    for row in turned:
        with open_video(hard_clips_dir / row["file"]) as reader:
            assert reader.info.rotation == row["pyav"]["rotation"] % 360, row["file"]
            assert (reader.info.width > reader.info.height) == (
                (row["pyav"]["width"] > row["pyav"]["height"]) == (reader.info.rotation % 180 == 0)
            )


@pytest.mark.parametrize(("turn", "expected"), [((-1, 0, 0, 1), np.fliplr), ((1, 0, 0, -1), np.flipud)])
def test_mirrored_pictures(tmp_path, turn, expected):
    path = write_video(tmp_path / "mirrored.mp4", 3, display_matrix=matrix(*turn))
    with open_video(path, as_stored=True) as stored, open_video(path) as reader:
        assert np.array_equal(reader.read_at([0]).frames[0], expected(stored.read_at([0]).frames[0].numpy()))


@pytest.mark.parametrize(
    ("aspect", "shape"), [("2/1", (128, 320)), ("1/2", (256, 160)), ("200/201", (128, 160)), ("100/1", (128, 160))]
)
def test_pixels_are_made_square(tmp_path, aspect, shape):
    from fractions import Fraction

    path = write_video(tmp_path / "wide.mp4", 3, aspect=Fraction(aspect))
    with open_video(path) as reader:
        frames = reader.read_at([0.0, 0.1]).frames
        assert tuple(frames.shape[1:3]) == shape == (reader.info.height, reader.info.width)
        assert [frame_number(pixels) for pixels in frames] == [0, 2]
    with open_video(path, as_stored=True) as reader:
        assert tuple(reader.read_at([0.0]).frames.shape[1:3]) == (128, 160)


def test_an_alpha_channel_is_dropped(tmp_path):
    path = write_video(tmp_path / "alpha.mov", 3, codec="qtrle", pix_fmt="argb")
    with open_video(path) as reader:
        frames = reader.read_at([0.0, 0.1]).frames
    assert frames.shape[-1] == 3
    assert [frame_number(pixels) for pixels in frames] == [0, 2]


# Damage ------------------------------------------------------------------------------------------------------------


def cut(path: Path, target: Path, share: float) -> Path:
    data = path.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


@pytest.mark.parametrize("name", ["mpeg4.avi", "h264.mkv", "h264.ts", "vp9.webm"])
def test_a_cut_file_gives_what_is_there(synthetic, tmp_path, name):
    path = cut(synthetic(name), tmp_path / name, 0.6)
    with warnings.catch_warnings(record=True) as caught, open_video(path) as reader:
        warnings.simplefilter("always")
        numbers = [frame_number(pixels) for pixels in reader.read_at(np.linspace(0, reader.duration, 9)[:-1]).frames]
        reader.read_at([0.0])
    assert len([each for each in caught if issubclass(each.category, VideoReadWarning)]) <= 1
    assert numbers == sorted(numbers) and 10 <= numbers[-1] <= 40
    if name.endswith("avi"):
        assert "holds" in str(caught[0].message) and "declares 48" in str(caught[0].message)


def test_one_warning_names_the_file_and_the_damage(synthetic, tmp_path):
    path = write_video(tmp_path / "front.mp4", container_options={"movflags": "faststart"})
    path = cut(path, tmp_path / "cut.mp4", 0.7)
    with pytest.warns(VideoReadWarning) as caught, open_video(path) as reader:
        before = reader.duration
        reader.read_at([0.0, before])
        reader.read_at([0.0])
    assert len(caught) == 1
    assert "cut.mp4" in str(caught[0].message) and "ends early" in str(caught[0].message)
    assert before < 2.0, "only the part that is there counts"


def test_frames_are_spread_over_the_part_that_decodes(tmp_path):
    """The packets of a cut file may reach further than what decodes: the last ones lack what they refer to."""
    path = write_video(tmp_path / "front.mp4", 96, container_options={"movflags": "faststart"}, gop=250)
    shortened = 0
    for share in (0.5, 0.55, 0.6, 0.65, 0.7):
        cut(path, tmp_path / "cut.mp4", share)
        with pytest.warns(VideoReadWarning), open_video(tmp_path / "cut.mp4") as reader:
            before = reader.duration
            last = reader.read_at([before]).timestamps[0]
            assert reader.duration == pytest.approx(last + 1 / 24, abs=0.01)
            shortened += reader.duration < before
        with pytest.warns(VideoReadWarning) as caught:
            clip = ZSARVideoProcessor().sample(tmp_path / "cut.mp4")
        assert len(caught) == 1
        expected = [int((place + 0.5) * (last * 24 + 1) / 8 + 0.05) for place in range(8)]
        numbers = [frame_number(picture) for picture in clip.frames]
        assert numbers[:7] == expected[:7]
        assert expected[7] - 3 <= numbers[7] <= expected[7], "a frame near the cut may be missing"
    assert shortened


def test_a_file_that_starts_between_key_frames(synthetic, tmp_path):
    """What cannot be decoded at the start is not part of the video."""
    data = synthetic("h264.ts").read_bytes()
    start = len(data) // 8 // 188 * 188
    (tmp_path / "middle.ts").write_bytes(data[start:])
    with warnings.catch_warnings(), open_video(tmp_path / "middle.ts") as reader:
        warnings.simplefilter("ignore", VideoReadWarning)
        frames = list(reader.iter_frames())
        assert frame_number(frames[0][1]) == 12, "the first key frame that is there"
        assert len(reader.timestamps) == len(frames) == 36
        assert [frame_number(picture) for picture in reader.read_at([0.0, 1.0]).frames] == [12, 36]


def test_concealed_damage_is_told(synthetic, tmp_path):
    with av.open(str(synthetic("mpeg4.avi"))) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(synthetic("mpeg4.avi").read_bytes())
    for place, size in packets[3:]:
        data[place + 8 + size // 2 : place + 8 + size // 2 + 12] = b"\xff" * 12
    (tmp_path / "rot.avi").write_bytes(data)
    with pytest.warns(VideoReadWarning, match="concealed|undecodable"), open_video(tmp_path / "rot.avi") as reader:
        assert len(reader.read_at(np.linspace(0, 1.9, 8))) == 8


def test_a_damaged_packet_is_noticed_without_decoding_it(synthetic, tmp_path):
    path = synthetic("one_gop.mp4")
    with av.open(str(path)) as container:
        entry = container.streams.video[0].index_entries[30]
    data = bytearray(path.read_bytes())
    data[entry.pos : entry.pos + 4] = b"\xff" * 4
    (tmp_path / "rot.mp4").write_bytes(data)
    with pytest.warns(VideoReadWarning, match="rot.mp4"), open_video(tmp_path / "rot.mp4") as reader:
        assert len(reader.read_at([0.0])) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"just some text, twenty times over. " * 20, "not a readable video"),
        (b"\x00\x00\x00\x20ftypisom" + bytes(3000), "clip.mp4"),
        (b"#EXTM3U\n#EXTINF:1,\nother.ts\n", "not a readable video"),
        (b"ffconcat version 1.0\nfile other.mp4\n", "not a readable video"),
    ],
)
def test_no_video(tmp_path, content, message):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoReadError, match=message) as caught:
        open_video(path)
    assert "clip.mp4" in str(caught.value)


def test_hostile_sizes_do_not_hang_or_crash(synthetic, tmp_path):
    """Single bytes overwritten all over a small file: a frame or an error, never anything else."""
    data = synthetic("h264.mp4").read_bytes()
    rng = random.Random(0)
    outcomes = set()
    for trial in range(60):
        broken = bytearray(data)
        for _ in range(rng.choice([1, 4, 40])):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        path = tmp_path / f"{trial}.mp4"
        path.write_bytes(broken)
        try:
            with warnings.catch_warnings(), open_video(path) as reader:
                warnings.simplefilter("ignore", VideoReadWarning)
                reader.read_at([0.0, 1.0])
            outcomes.add("frames")
        except VideoReadError:
            outcomes.add("error")
    assert outcomes == {"frames", "error"}


WAYS_TO_READ = {
    "facts": lambda source: open_video(source).info,
    "at once": lambda source: open_video(source).read_at([0.0, 0.5]),
    "key frames": lambda source: open_video(source).read_at([0.0], mode="keyframe"),
    "windows": lambda source: list(open_video(source).windows(0.5)),
    "iteration": lambda source: list(open_video(source).iter_frames()),
    "live windows": lambda source: list(open_video(BareFile(source.read_bytes())).windows(0.5)),
    "live iteration": lambda source: list(open_video(BareFile(source.read_bytes())).iter_frames()),
}


@pytest.mark.parametrize("way", WAYS_TO_READ)
@pytest.mark.parametrize("suffix", ["mkv", "avi"])
def test_a_file_of_which_no_frame_decodes_is_no_empty_video(tmp_path, suffix, way):
    path = write_video(tmp_path / f"a.{suffix}", 12, fps=12, codec="mpeg4")
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    content = path.read_bytes()
    for packet in packets:
        content = content.replace(packet, bytes(len(packet)))
    path.write_bytes(content)
    with pytest.raises(VideoReadError, match="no frame can be decoded"):
        WAYS_TO_READ[way](path)
