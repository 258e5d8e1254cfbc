"""The plan behind sparse decoding, on imagined streams of every order, and the looks into H.264 and HEVC packets."""

from __future__ import annotations

from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_zsar.processing import video_container, video_seeking, video_timeline
from hf_zsar.processing.video_container import MediaFile
from hf_zsar.processing.video_packets import exact_recovery_point, has_length_prefixes, opens_decoding, well_formed
from hf_zsar.processing.video_reading import open_video
from hf_zsar.processing.video_seeking import NotExact, SparseDecoder, frames_at, split_targets
from hf_zsar.processing.video_sources import media_source
from tests.videos import frame_number, repeat_video


class ImaginedFile:
    """A file of packets in decoding order and a decoder that skips, delays and complains as told.

    packets: (pts, dts, is key, is referred to, is discarded)
    """

    format = "mov"
    damage: list[str]

    def __init__(self, packets, delay=0, broken=(), silent=(), corrupt=()):
        self.all = [
            SimpleNamespace(pts=pts, dts=dts, is_keyframe=key, referred=referred, is_discard=discard)
            for pts, dts, key, referred, discard in packets
        ]
        self.delay, self.broken, self.silent, self.corrupt = delay, set(broken), set(silent), set(corrupt)
        self.damage, self.untouched, self.fed, self.place, self.inside = [], True, [], 0, []
        self.clock_jumps = 0
        self.codec = SimpleNamespace(name="h264", skip_frame="DEFAULT", has_b_frames=True, codec=None)
        self.source = SimpleNamespace(seekable=True)
        self.time_base = 1
        keys = sorted((packet.dts, number) for number, packet in enumerate(self.all) if packet.is_keyframe)
        self.stream = SimpleNamespace(start_time=self.all[0].pts)
        self.index = _Entries(self.all)
        self.keys = keys

    def packets(self):
        self.untouched = False
        while self.place < len(self.all):
            self.place += 1
            yield self.all[self.place - 1]

    def seek(self, ticks):
        """As mp4 does: to the last key frame shown at or before `ticks`."""
        found = [n for n, packet in enumerate(self.all) if packet.is_keyframe and packet.pts <= ticks]
        self.untouched, self.inside, self.place = False, [], max(found, default=0)
        return True

    def rewind(self):
        self.place, self.inside, self.untouched = 0, [], True

    def decode(self, packet):
        if packet is None:
            out, self.inside = sorted(self.inside, key=lambda each: each.pts), []
            return out
        skipped = self.codec.skip_frame == "NONREF" and not packet.referred
        self.fed.append((packet.pts, skipped))
        if packet.pts in self.broken:
            self.damage.append("broken")
        if not skipped and not packet.is_discard and packet.pts not in self.silent:
            corrupt = packet.pts in self.corrupt
            self.inside.append(SimpleNamespace(pts=packet.pts, pict_type=None, is_corrupt=corrupt))
        out = []
        while len(self.inside) > self.delay:
            self.inside.sort(key=lambda each: each.pts)
            out.append(self.inside.pop(0))
        return out

    def frames(self):
        for packet in self.packets():
            for frame in self.decode(packet):
                yield frame.pts, frame
        for frame in self.decode(None):
            yield frame.pts, frame


class _Entries(list):
    def __init__(self, packets):
        super().__init__(SimpleNamespace(timestamp=each.dts, is_keyframe=each.is_keyframe) for each in packets)

    def search_timestamp(self, ticks, backward, any_frame):
        places = [n for n, entry in enumerate(self) if entry.is_keyframe or any_frame]
        if backward:
            return max((n for n in places if self[n].timestamp <= ticks), default=-1)
        return min((n for n in places if self[n].timestamp >= ticks), default=-1)


@st.composite
def streams(draw):
    """Groups of pictures in any decoding order that a decoder with bounded reordering can show."""
    packets, start = [], draw(st.integers(-5, 5))
    for _ in range(draw(st.integers(1, 4))):
        size = draw(st.integers(1, 9))
        gaps = draw(st.lists(st.integers(1, 4), min_size=size, max_size=size))
        times = [start + sum(gaps[:n]) for n in range(size)]
        order = [0] + draw(st.permutations(range(1, size)))
        referred = draw(st.lists(st.booleans(), min_size=size, max_size=size))
        # Decoding times: as late as possible, but before every later packet is shown.
        shown = [times[n] for n in order]
        decoded = [min(shown[k:]) - 1 for k in range(size)]
        packets += [(shown[k], decoded[k], k == 0, k == 0 or referred[k], False) for k in range(size)]
        start += sum(gaps)
    return packets


@given(packets=streams(), data=st.data())
def test_the_plan_finds_every_frame_and_skips_only_what_nobody_needs(packets, data):
    times = sorted(packet[0] for packet in packets)
    targets = sorted(data.draw(st.lists(st.integers(times[0], times[-1] + 5), min_size=1, max_size=12)))
    expected = [max(time for time in times if time <= target) for target in targets]
    media = ImaginedFile(packets, delay=data.draw(st.integers(0, 3)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video_seeking, "opens_decoding", lambda media, packet: packet.is_keyframe)
        found = [time for time, _ in SparseDecoder(media).frames_at(targets)]
    assert found == expected
    assert not any(skipped for time, skipped in media.fed if time in expected)
    assert len(media.fed) <= len(packets), "nothing is decoded twice"


GOP = [
    (0, -1, True, True, False),
    (3, 0, False, True, False),
    (1, 0, False, False, False),
    (2, 1, False, False, False),
]


def planned(media, targets, opens=lambda media, packet: packet.is_keyframe):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video_seeking, "opens_decoding", opens)
        return [time for time, _ in SparseDecoder(media).frames_at(targets)]


@pytest.mark.parametrize(
    ("media", "reason"),
    [
        (ImaginedFile(GOP, broken=[3]), "damaged data"),
        (ImaginedFile(GOP, corrupt=[3]), "a damaged picture"),
        (ImaginedFile(GOP, silent=[2]), "gave no frame"),
        (ImaginedFile([(0, 5, True, True, False), *GOP[1:]]), "without proper times"),
        (ImaginedFile([(0, -1, False, True, False), *GOP[1:]]), "no key frame"),
        (ImaginedFile([(0, -1, True, True, True), (9, 5, False, True, False)]), "no frame at or before"),
    ],
)
def test_whatever_is_not_as_expected_ends_the_plan(media, reason):
    with pytest.raises(NotExact, match=reason):
        planned(media, [2])


def test_a_failed_plan_is_made_up_for_without_losing_or_repeating_a_target():
    media = ImaginedFile(GOP + [(t + 10, d + 10, *rest) for t, d, *rest in GOP], delay=2, silent=[12])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video_seeking, "opens_decoding", lambda media, packet: packet.is_keyframe)
        found = [time for time, _ in frames_at(media, [0, 1, 2, 11, 12, 13])]
    assert found == [0, 1, 2, 11, 11, 13], "12 decodes to nothing, so 11 is still shown"


def test_discarded_packets_are_decoded_but_never_shown():
    media = ImaginedFile([(0, -1, True, True, True), *GOP[1:]])
    assert planned(media, [1, 2]) == [1, 2]
    assert (0, True) in media.fed or (0, False) in media.fed


def test_an_earlier_key_frame_is_used_when_the_nearest_proves_nothing():
    packets = GOP + [(t + 10, d + 10, *rest) for t, d, *rest in GOP]
    media = ImaginedFile(packets)
    assert planned(media, [11], opens=lambda media, packet: packet.pts == 0) == [11]
    assert len(media.fed) > 4


@pytest.mark.parametrize(
    ("name", "options"),
    [("dash.mp4", {"movflags": "dash+frag_keyframe+empty_moov+global_sidx"}), ("long.ts", {}), ("long.flv", {})],
)
def test_jumps_where_the_index_is_partial_or_missing(synthetic, tmp_path, monkeypatch, name, options):
    """Fragmented mp4 with a segment index lists its frames piece by piece; a transport stream never does."""
    monkeypatch.setattr(video_timeline, "LONG_PACKETS", 100)
    monkeypatch.setattr(video_timeline, "LONG_BYTES", 1000)
    path = repeat_video(synthetic("h264.mp4"), tmp_path / name, 60, container_options=options)
    fed = []
    plain = MediaFile.decode
    monkeypatch.setattr(MediaFile, "decode", lambda self, packet: (fed.append(packet), plain(self, packet))[1])
    with open_video(path) as reader:
        clip = reader.read_at([10.0, 50.0, 110.02])
    assert [frame_number(picture) for picture in clip.frames] == [0, 0, 0]
    assert clip.timestamps == pytest.approx([10.0, 50.0, 110.0], abs=0.02)
    assert len(fed) < 300, "most of the 2880 frames need not be decoded"


# Side by side ------------------------------------------------------------------------------------------------------


def opened(path, **options) -> MediaFile:
    return MediaFile(media_source(path), **options)


def test_targets_are_split_where_key_frames_lie_between(synthetic, monkeypatch):
    monkeypatch.setattr(video_seeking, "SPLIT_PIXELS", 0)
    media = opened(synthetic("h264.mp4"))
    targets = [frame * media.frame_step for frame in (0, 3, 13, 20, 30, 47)]
    assert split_targets(media, targets, 1) == [targets]
    two = split_targets(media, targets, 2)
    assert len(two) == 2 and sum(two, []) == targets
    four = split_targets(media, targets, 4)
    assert 2 <= len(four) <= 4 and sum(four, []) == targets
    for left, right in zip(four, four[1:], strict=False):
        keys = [media.index.search_timestamp(t, backward=True, any_frame=False) for t in (left[-1], right[0])]
        assert keys[0] < keys[1], "a part begins with a key frame of its own"
    media.close()
    alone = opened(synthetic("one_gop.mp4"))
    assert split_targets(alone, targets, 4) == [targets]
    alone.close()


def test_little_work_is_not_split(synthetic):
    media = opened(synthetic("h264.mp4"))
    assert len(split_targets(media, [0, 20 * media.frame_step], 4)) == 1
    media.close()


@pytest.mark.parametrize("mode", ["exact", "keyframe"])
@pytest.mark.parametrize("form", ["path", "bytes", "file object"])
@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "hevc.mp4", "mpeg4.avi", "vp9.webm"])
def test_decoding_side_by_side_gives_the_same_frames(synthetic, monkeypatch, name, form, mode):
    times = np.linspace(0, 1.99, 11)
    with open_video(synthetic(name), thread_count=1) as reader:
        expected = reader.read_at(times, mode)
    monkeypatch.setattr(video_seeking, "SPLIT_PIXELS", 0)
    monkeypatch.setattr(video_seeking, "SPLIT_KEY_PIXELS", 0)
    monkeypatch.setattr(video_seeking, "SPLIT_KEYS", 2)
    opens = []
    plain = MediaFile.__init__
    monkeypatch.setattr(MediaFile, "__init__", lambda self, *a, **k: (opens.append(1), plain(self, *a, **k))[1])
    path = synthetic(name)
    source = {"path": path, "bytes": path.read_bytes(), "file object": path.open("rb")}[form]
    with open_video(source, thread_count=3) as reader:
        clip = reader.read_at(times, mode)
    assert (clip.frames == expected.frames).all() and clip.indices == expected.indices
    assert (len(opens) > 1) == (form != "file object"), "a file object cannot be opened twice"


def test_frame_threads_are_drained_after_every_read(synthetic, monkeypatch):
    """What is left in a decoder when its file is closed is what deadlocks."""
    fed, drained = [], []
    plain = MediaFile.decode

    def watched(self, packet):
        fed.append(len(drained))
        return plain(self, packet)

    monkeypatch.setattr(MediaFile, "decode", watched)
    drain = video_container.drain
    monkeypatch.setattr(video_container, "drain", lambda codec: (drained.append(codec), drain(codec)))
    with open_video(synthetic("one_gop.mp4"), thread_count=2) as reader:
        for number in range(3):
            reader.read_at([0.5 + number / 10])
            assert len(drained) == number + 1 and fed[-1] == number, "after the last packet, and each time"
        with pytest.raises(TypeError):
            reader.read_at([0.5, object()])
    with open_video(synthetic("one_gop.mp4"), thread_count=2) as reader:
        monkeypatch.setattr(MediaFile, "pixels", lambda *_: 1 / 0)
        drained.clear()
        with pytest.raises(ZeroDivisionError):
            reader.read_at([0.5])
        assert drained, "also when something goes wrong"


def test_frame_threads_are_left_for_passes_that_may_stop(synthetic, monkeypatch):
    """Frame threads, which must be drained, serve whole reads only."""
    kinds = []
    plain = MediaFile.decode

    def watched(self, packet):
        kinds.append(str(self.codec.thread_type))
        return plain(self, packet)

    monkeypatch.setattr(MediaFile, "decode", watched)
    with open_video(synthetic("one_gop.mp4"), thread_count=2) as reader:
        expected = reader.read_at([0.5, 1.5])
        assert set(kinds) == {"ThreadType.FRAME"}
        kinds.clear()
        next(reader.windows(0.5))
        next(reader.iter_frames())
        assert set(kinds) == {"ThreadType.SLICE"}
        assert (reader.read_at([0.5, 1.5]).frames == expected.frames).all()
    kinds.clear()
    with open_video(synthetic("one_gop.mp4"), thread_count=1) as reader:
        assert (reader.read_at([0.5, 1.5]).frames == expected.frames).all()
    assert set(kinds) == {"ThreadType.SLICE"}


# Packets -----------------------------------------------------------------------------------------------------------


def key_packets(path) -> tuple[MediaFile, list[av.Packet]]:
    media = opened(path)
    return media, [packet for packet in media.packets() if packet.is_keyframe]


@pytest.mark.parametrize(
    ("name", "opening"),
    [
        ("h264.mp4", [True] * 4),
        ("h264.ts", [True] * 4),
        ("h264_open_gop.mp4", [True] * 4),
        ("h264_intra_refresh.mp4", [True, False, False, False]),
        ("hevc.mp4", [True] * 4),
        ("hevc_open_gop.mkv", [True] * 4),
        ("vp9.webm", [True] * 4),
    ],
)
def test_which_key_frames_decoding_may_start_from(synthetic, name, opening):
    media, packets = key_packets(synthetic(name))
    assert [opens_decoding(media, packet) for packet in packets] == opening
    media.close()


@pytest.mark.parametrize("name", ["h264.mp4", "h264.ts", "hevc.mp4", "hevc_open_gop.mkv"])
def test_other_frames_never_open(synthetic, name):
    media = opened(synthetic(name))
    others = [packet for packet in media.packets() if not packet.is_keyframe]
    assert others and not any(opens_decoding(media, packet) for packet in others)
    for packet in others:
        packet.is_keyframe = True
    assert not any(opens_decoding(media, packet) for packet in others), "whatever the container claims"
    media.close()


@pytest.mark.parametrize(
    ("payload", "exact"),
    [
        (b"\x06\x01\xc4", True),  # recovery_frame_cnt 0, exact_match_flag 1
        (b"\x06\x01\x84", False),  # not an exact match
        (b"\x06\x01\x44", False),  # recovery_frame_cnt 1
        (b"\x05\x02\xff\xff\x06\x01\xc4", True),  # behind another message
        (b"\x05\xff\x03" + bytes([0xAA]) * 258 + b"\x06\x01\xc4", True),  # behind a long one
        (b"\x00\x01\x80", False),
        (b"\x06", False),
        (b"", False),
    ],
)
def test_recovery_points(payload, exact):
    assert exact_recovery_point(payload) == exact


@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mp4", "hevc_open_gop.mkv"])
def test_well_formed_packets(synthetic, name):
    media = opened(synthetic(name))
    assert has_length_prefixes(media)
    packets = list(media.packets())
    assert all(well_formed(media, packet) for packet in packets)
    data = bytearray(bytes(packets[5]))
    data[0] ^= 0x01
    assert not well_formed(media, av.Packet(bytes(data)))
    assert not well_formed(media, av.Packet(bytes(packets[5])[:-1]))
    media.close()


@pytest.mark.parametrize("name", ["h264.ts", "vp9.webm", "mpeg4.avi"])
def test_nothing_to_check_without_length_prefixes(synthetic, name):
    media = opened(synthetic(name))
    assert not has_length_prefixes(media)
    media.close()


def test_numbers_survive(synthetic):
    with open_video(synthetic("h264_open_gop.mp4")) as reader:
        assert [frame_number(p) for p in reader.read_indices(range(48)).frames] == list(range(48))
