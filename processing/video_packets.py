"""Looking into H.264 and HEVC packets: which of them decoding can start from without a trace of what came before."""

from __future__ import annotations

from collections.abc import Iterator

import av

from .video_container import MediaFile


# Enough of a unit to see its kind and a recovery point message.
HEAD = 64


def opens_decoding(media: MediaFile, packet: av.Packet) -> bool:
    """Whether every frame shown from `packet` on decodes as if decoding had begun at the start of the file."""
    if not packet.is_keyframe:
        return False
    if media.codec.name == "h264":
        return any(_h264_opens(unit) for unit in nal_units(media, packet))
    if media.codec.name == "hevc":
        # Intra random access pictures: IDR, BLA and CRA. The leading pictures of a CRA are shown before it.
        return any(16 <= (unit[0] >> 1 & 63) <= 21 for unit in nal_units(media, packet))
    return True


def has_length_prefixes(media: MediaFile) -> bool:
    """Whether `well_formed` has something to check."""
    return _prefix_size(media) > 0


def well_formed(media: MediaFile, packet: av.Packet) -> bool:
    """Whether the length-prefixed units of a packet fill it exactly."""
    size = _prefix_size(media)
    data, place = memoryview(packet), 0
    while place + size < len(data):
        place += size + int.from_bytes(data[place : place + size], "big")
    return place == len(data)


def nal_units(media: MediaFile, packet: av.Packet) -> Iterator[bytes]:
    """The heads of the NAL units of an H.264 or HEVC packet, length-prefixed (mp4, Matroska) or with start codes."""
    size = _prefix_size(media)
    if size:
        data, place = memoryview(packet), 0
        while place + size < len(data):
            length = int.from_bytes(data[place : place + size], "big")
            if length:
                yield bytes(data[place + size : place + size + min(length, HEAD)])
            place += size + length
        return
    for unit in bytes(packet).split(b"\x00\x00\x01")[1:]:
        if unit:
            yield unit[:HEAD]


def _prefix_size(media: MediaFile) -> int:
    """Bytes of the length before each unit, 0 for start codes or another codec."""
    extra = media.codec.extradata or b""
    if media.codec.name == "h264" and len(extra) > 6 and extra[0] == 1:
        return extra[4] % 4 + 1
    if media.codec.name == "hevc" and len(extra) > 22 and extra[0] == 1:
        return extra[21] % 4 + 1
    return 0


def _h264_opens(unit: bytes) -> bool:
    kind = unit[0] & 31
    return kind == 5 or (kind == 6 and exact_recovery_point(unit[1:]))


def exact_recovery_point(payload: bytes) -> bool:
    """Whether an SEI message holds a recovery point with no delay and an exact match (H.264, D.2.8)."""
    payload = payload.replace(b"\x00\x00\x03", b"\x00\x00")
    place = 0
    while place + 2 < len(payload):
        kind, place = _sei_number(payload, place)
        length, place = _sei_number(payload, place)
        if kind == 6:
            # recovery_frame_cnt is an Exp-Golomb number, whose 0 is a single set bit; exact_match_flag follows.
            return payload[place : place + 1] >= b"\xc0"
        place += length
    return False


def _sei_number(payload: bytes, place: int) -> tuple[int, int]:
    value = 0
    while place < len(payload) and payload[place] == 255:
        value, place = value + 255, place + 1
    return value + (payload[place] if place < len(payload) else 0), place + 1
