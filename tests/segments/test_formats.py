"""Files of annotation tools: round trips, what foreign files look like, and what is refused in one line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_zsar.clips.lists import VideoDatasetError
from hf_zsar.clips.manifests import read_manifest
from hf_zsar.limits import set_limits
from hf_zsar.processing.text_files import TextFileError
from hf_zsar.segments.annotations import VideoSegments
from hf_zsar.segments.formats import FORMATS, read_segments, write_segments


FPS = 25.0
SCORES = ("activitynet", "label-studio", "fiftyone", "manifest", "csv")
FRAMES = ("label-studio", "cvat")
NAMES = ("label-studio", "manifest", "csv", "cvat", "elan")  # keep the name of the video, others its stem

labels = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp", "Zs", "Cs")), min_size=1).filter(
    lambda text: text == text.strip() and "-->" not in text
)
cuts = st.tuples(labels, st.integers(0, 10**7), st.integers(40, 10**6), st.integers(0, 1000))


def videos_of(rows, scored=True):
    segments = tuple(
        {
            "label": label,
            "start": start / 1000,
            "end": (start + length) / 1000,
            **({"score": score / 1000} if scored else {}),
        }
        for label, start, length, score in rows
    )
    return [VideoSegments("folder/a.mp4", segments, 11000.0, FPS, 640, 360)]


@pytest.mark.parametrize("format", FORMATS)
@given(rows=st.lists(cuts, min_size=1, max_size=6), scored=st.booleans())
def test_round_trips(format, rows, scored, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / f"trip{FORMATS[format].suffix}"
    wanted = videos_of(rows, scored)
    write_segments(wanted, path, format)
    (found,) = read_segments(path, format)
    if format in ("vtt", "srt"):
        assert found.video == "trip"
    else:
        assert found.video == ("folder/a.mp4" if format in NAMES else "a")
    assert len(found.segments) == len(rows)
    key = lambda each: (each["label"], each["start"], each["end"])  # noqa: E731 - ELAN sorts by tier
    for one, other in zip(sorted(wanted[0].segments, key=key), sorted(found.segments, key=key), strict=True):
        assert other["label"] == one["label"]
        slack = 1 / FPS if format in FRAMES else 1e-3
        assert other["start"] == pytest.approx(one["start"], abs=slack)
        assert other["end"] == pytest.approx(one["end"], abs=slack)
        assert other.get("score") == (one.get("score") if format in SCORES else None)


@pytest.mark.parametrize("format", [name for name, each in FORMATS.items() if each.many])
def test_several_videos(format, tmp_path):
    cut = {"label": "a", "start": 1.0, "end": 2.0}
    videos = [VideoSegments(f"{name}.mp4", (cut,), 9.0, FPS) for name in "xyz"]
    write_segments(videos, tmp_path / "all", format)
    assert [each.segments for each in read_segments(tmp_path / "all", format)] == [(cut,)] * 3
    if FORMATS[format].suffix == ".json":  # and is told from the others
        write_segments(videos, tmp_path / "all.json", format)
        assert len(read_segments(tmp_path / "all.json")) == 3


def test_one_video_a_file(tmp_path):
    with pytest.raises(ValueError, match="one video, there are 2"):
        write_segments(videos_of([]) * 2, tmp_path / "a.eaf")
    with pytest.raises(ValueError, match="no format"):
        write_segments(videos_of([]), tmp_path / "a.doc")
    assert list(tmp_path.iterdir()) == []


def test_frames_need_a_rate(tmp_path):
    video = VideoSegments("a.mp4", ({"label": "a", "start": 0.0, "end": 1.0},))
    for format in FRAMES:
        with pytest.raises(ValueError, match="say it with fps"):
            write_segments([video], tmp_path / "a", format)


def test_our_manifest_is_one(tmp_path):
    write_segments(
        videos_of([("b", 0, 100, 1), ("a", 50, 100, 1), ("b", 500, 100, 1)]), tmp_path / "m.json", "manifest"
    )
    manifest = read_manifest(tmp_path / "m.json")
    assert manifest.classes == ("a", "b") and manifest.labels_of == {"folder/a.mp4": ("b", "a")}


LABEL_STUDIO = [
    {
        "id": 7,
        "data": {"video": "/data/upload/1/x.mp4"},
        "annotations": [
            {
                "result": [
                    {"type": "choices", "value": {"choices": ["indoors"]}},
                    {
                        "type": "timelinelabels",
                        "from_name": "timelineLabels",
                        "to_name": "video",
                        "value": {"ranges": [{"start": 26, "end": 50}], "timelinelabels": ["Moving"]},
                    },
                ]
            }
        ],
        "predictions": [{"result": "not looked at, as people have the last word"}],
    }
]
CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><job><id>1</id></job></meta>
<track id="0" label="walk" source="manual">
<polygon frame="0" keyframe="1" outside="1" points="0,0;1,1"/><polygon frame="25" keyframe="1" outside="0"/>
<polygon frame="30" keyframe="1" outside="0"/><polygon frame="50" keyframe="1" outside="1"/>
<polygon frame="100" keyframe="1" outside="0"/></track></annotations>"""
ELAN = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="milliseconds"><MEDIA_DESCRIPTOR MEDIA_URL="file:///home/x.mp4"/></HEADER>
<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/>
<TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="2500"/></TIME_ORDER>
<TIER TIER_ID="waves" LINGUISTIC_TYPE_REF="t"><ANNOTATION>
<ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
<ANNOTATION_VALUE></ANNOTATION_VALUE>
</ALIGNABLE_ANNOTATION></ANNOTATION><ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a2" ANNOTATION_REF="a1">
<ANNOTATION_VALUE>note</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>"""
FOREIGN = {
    "label-studio": (json.dumps(LABEL_STUDIO), "/data/upload/1/x.mp4", [("Moving", 1.0, 2.0)]),
    "cvat": (CVAT, "x", [("walk", 1.0, 2.0), ("walk", 4.0, 4.04)]),
    "elan": (ELAN, "/home/x.mp4", [("waves", 1.0, 2.5)]),
    "fiftyone": (
        '{"classes": ["p", "q"], "labels": {"x": [{"label": 1, "support": [26, 50]}], "y": null}}',
        "x",
        [("q", 1.0, 2.0)],
    ),
    "activitynet": (
        '{"database": {"x": {"subset": "training", "annotations": [{"label": "l", "segment": [1, 2]}]}}}',
        "x",
        [("l", 1, 2)],
    ),
    "vtt": (
        "WEBVTT - title\n\nNOTE no cue\n\n00:01.000 --> 00:02.500 align:start\n<c.red>A &amp; B</c>\nthere\n",
        "x",
        [("A & B there", 1, 2.5)],
    ),
    "srt": (
        "1\r\n00:00:01,000 --> 00:01:02,500\r\nwalks\r\n\r\n2\r\n01:00:00,000 --> 01:00:01,000\r\nruns\r\n",
        "x",
        [("walks", 1, 62.5), ("runs", 3600, 3601)],
    ),
    "csv": ("Start;End;Label;Video\n1;2;walks;x\n", "x", [("walks", 1, 2)]),
    "manifest": (
        '{"clips": [{"file": "x", "label": "l", "segments": [{"label": "l", "start": 1, "end": 2}]}]}',
        "x",
        [("l", 1, 2)],
    ),
}


@pytest.mark.parametrize("format", FORMATS)
def test_files_of_others(format, tmp_path):
    text, video, cuts = FOREIGN[format]
    path = tmp_path / f"x{FORMATS[format].suffix}"
    path.write_text(text, encoding="utf-8", newline="")
    found = read_segments(path, fps=FPS)[0]
    assert found.video == video
    assert [(each["label"], each["start"], each["end"]) for each in found.segments] == [
        (label, pytest.approx(start), pytest.approx(end)) for label, start, end in cuts
    ]


BROKEN = {
    "activitynet": [
        '{"database": 3}',
        '{"results": {"v": [{"label": "a", "segment": [2, 1]}]}}',
        '{"results": {"v": [{"segment": [1, 2]}]}}',
        '{"results": {"v": [{"label": "a", "segment": [1]}]}}',
        '{"results": {"v": [{"label": "a", "segment": [1, NaN]}]}}',
        "[" * 5000,
    ],
    "label-studio": [
        "{}",
        "[3]",
        '[{"data": {}}]',
        '[{"data": {"video": "a", "fps": 0}}]',
        '[{"data": {"video": "a", "fps": 25}, "annotations": [3]}]',
        '[{"data": {"video": "a"}, "predictions": []}]',
    ],
    "fiftyone": [
        "{}",
        '{"labels": {"v": [{"label": 4, "timestamps": [1, 2]}]}}',
        '{"labels": {"v": [{"label": "a", "support": [1, 2]}]}}',
        '{"labels": {"v": [{"label": "a"}]}}',
        '{"labels": {"v": [{"label": true, "timestamps": [1, 2]}]}}',
    ],
    "manifest": ["{}", '{"clips": [{"label": "a"}]}', '{"clips": [{"file": "a", "segments": [3]}]}'],
    "csv": [
        "a,b\n1,2\n",
        "video,label,start,end\nx,l,a,2\n",
        'video,label,start,end\nx,l,"1,2\n',
        "video,label,start,end\nx,,1,2\n",
    ],
    "cvat": [
        "<a/>",
        "<annotations>",
        "<annotations><track label='a'><box frame='1'/></track></annotations>",
        "text",
        "<annotations><meta><task><fps>inf</fps></task></meta></annotations>",
    ],
    "elan": [
        "<a/>",
        "<ANNOTATION_DOCUMENT><TIER><ALIGNABLE_ANNOTATION ANNOTATION_ID='a'/></TIER></ANNOTATION_DOCUMENT>",
    ],
    "vtt": [
        "1\n00:00:01.000 --> 00:00:02.000\na\n",
        "WEBVTT\n\n1 --> 2\na\n",
        "WEBVTT\n\n00:00:02.000 --> 00:00:01.000\na\n",
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\n\n",
    ],
    "srt": ["00:00:01 --> 00:00:02\na\n", "00:00:61,000 --> 00:01:02,000\na\n"],
}


@pytest.mark.parametrize(("format", "text"), [(format, text) for format, texts in BROKEN.items() for text in texts])
def test_what_is_broken_is_refused_in_a_line(format, text, tmp_path):
    path = tmp_path / f"broken{FORMATS[format].suffix}"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TextFileError) as error:
        read_segments(path, format)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value) and len(str(error.value)) < 400


LAUGHS = """<?xml version="1.0"?><!DOCTYPE annotations [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>
<annotations><track label="&b;"/></annotations>"""
EXTERNAL = '<!DOCTYPE annotations SYSTEM "file:///etc/passwd"><annotations/>'


@pytest.mark.parametrize("text", [LAUGHS, EXTERNAL])
def test_xml_has_no_entities_of_its_own(text, tmp_path):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(TextFileError, match="document type"):
        read_segments(tmp_path / "a.xml", "cvat", fps=25)


def test_files_are_bounded(tmp_path):
    (tmp_path / "a.eaf").write_text(ELAN)
    before = set_limits(xml_bytes=100)
    try:
        with pytest.raises(TextFileError, match="xml_bytes"):
            read_segments(tmp_path / "a.eaf")
    finally:
        set_limits(**before)
    (tmp_path / "b.csv").write_text("video,label,start,end\nx," + "l" * 20_000 + ",1,2\n")
    with pytest.raises(TextFileError, match="text_characters"):
        read_segments(tmp_path / "b.csv")


def test_a_manifest_without_labels_is_none(tmp_path):
    write_segments([VideoSegments("a.mp4")], tmp_path / "m.json", "manifest")
    with pytest.raises(VideoDatasetError, match="non-empty"):
        read_manifest(tmp_path / "m.json")
