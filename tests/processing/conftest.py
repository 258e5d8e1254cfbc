"""Synthetic videos of many codecs and containers, made once per test run."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from tests.videos import write_video


X265 = "log-level=none:pools=1:frame-threads=1:keyint=12"

# name -> options of `write_video`; 48 frames with a key frame every 12, unless they say otherwise.
SYNTHETIC: dict[str, dict] = {
    "h264.mp4": {},
    "h264.mkv": {},
    "h264.ts": {},
    "h264.flv": {},
    "h264.avi": {},
    "h264_raw.h264": {},
    "h264_fragmented.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "h264_open_gop.mp4": {"options": {"x264-params": "open-gop=1:keyint=12:bframes=3"}},
    "h264_intra_refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}},
    "h264_interlaced.mp4": {"options": {"x264-params": "tff=1"}},
    "h264_no_b.mkv": {"options": {"bf": "0"}},
    "h264_lossless.mp4": {"options": {"qp": "0"}, "pix_fmt": "yuv444p"},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": X265}},
    "hevc_open_gop.mkv": {"codec": "libx265", "options": {"x265-params": X265 + ":open-gop=1"}},
    "hevc_10bit.mp4": {"codec": "libx265", "options": {"x265-params": X265}, "pix_fmt": "yuv420p10le"},
    "av1.mp4": {"codec": "libsvtav1", "options": {"svtav1-params": "lp=1", "preset": "10", "crf": "20"}},
    "vp8.webm": {"codec": "libvpx", "bit_rate": 500_000},
    "vp9.webm": {"codec": "libvpx-vp9", "bit_rate": 500_000, "options": {"cpu-used": "8", "deadline": "realtime"}},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg4_b.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "mpeg4_b.mp4": {"codec": "mpeg4", "options": {"bf": "2"}},
    "mpeg4_raw.m4v": {"codec": "mpeg4", "container": "m4v"},
    "mpeg2_b.ts": {"codec": "mpeg2video", "options": {"bf": "2"}, "fps": 25},
    "mpeg2_b.mpg": {"codec": "mpeg2video", "options": {"bf": "2"}, "fps": 25},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "ffv1.mkv": {"codec": "ffv1"},
    "wmv2.wmv": {"codec": "wmv2", "bit_rate": 500_000},
    "flv1.flv": {"codec": "flv", "bit_rate": 500_000},
    "animated.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "one_frame.mp4": {"num_frames": 1},
    "one_gop.mp4": {"gop": 250},
    "variable_rate.mp4": {
        "num_frames": 30,
        "pts": [*range(0, 100, 10), *range(100, 200, 20), *range(200, 275, 5)],
        "time_base": Fraction(1, 100),
    },
}


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`synthetic(name)` is the path of one of the videos in `SYNTHETIC`, made when first asked for."""
    folder = tmp_path_factory.mktemp("synthetic")

    def made(name: str) -> Path:
        path = folder / name
        return path if path.exists() else write_video(path, **SYNTHETIC[name])

    return made
