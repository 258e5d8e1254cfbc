"""Broken clips end in frames or in a [`VideoReadError`], never in a crash, a hang or another exception."""

from __future__ import annotations

import json
import sys

import pytest

from tests.processing.mutation import ALLOWED, Watched, broken_clips, run


@pytest.mark.slow
def test_two_thousand_broken_clips(capsys):
    figures = run(2000)
    with capsys.disabled():
        print(json.dumps(figures, indent=1))
    assert figures["faults"] == []
    assert sum(figures["outcomes"].values()) == 2000 and set(figures["outcomes"]) == set(ALLOWED)
    assert figures["most MB"] < 2500


SOME = ["h264.mp4", "vp8.webm", "mpeg2_b.ts", "mpeg4.avi", "animated.gif"]


def test_some_broken_clips(synthetic):
    figures = run(12, seed=1, sources=[synthetic(name) for name in SOME])
    assert figures["faults"] == [] and sum(figures["outcomes"].values()) == 12


def test_the_same_seed_breaks_the_same_way(synthetic, tmp_path):
    sources, contents = [synthetic(name) for name in SOME], []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        contents.append([path.read_bytes() for path in broken_clips(3, 7, tmp_path / name, sources)])
    assert contents[0] == contents[1] and len(set(contents[0])) == 3


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("import os, sys; sys.stdin.readline(); os.abort()", "crash (exit status -6)"),
        ("import sys, time; sys.stdin.readline(); time.sleep(60)", "hang"),
        ("import sys; sys.stdin.readline(); print('[\"read\", 1, 0.5]', flush=True)", "read"),
    ],
)
def test_a_crash_and_a_hang_are_noticed(code, outcome):
    watched = Watched([sys.executable, "-c", code], hang_seconds=5.0 if outcome != "hang" else 0.5)
    for _ in range(2):
        assert watched.ask("a.mp4")[0] == outcome
        watched.close()
